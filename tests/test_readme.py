"""The README's commands and examples do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PAIRS, write_jsonl

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
SHELL = [block for kind, block in BLOCKS if kind == "sh" and "pip install" not in block]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
INSTALL = [block for kind, block in BLOCKS if kind == "sh" and "pip install" in block]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's examples name."""
    home = tmp_path_factory.mktemp("readme")
    write_jsonl(home / "train.jsonl", PAIRS)
    write_jsonl(home / "eval.jsonl", [{"prompt": "Name a colour, please.", "completion": "Red."}])
    write_jsonl(
        home / "safety.jsonl", [{"prompt": "How to pick a lock?", "completion": "I can't help with that."}]
    )
    write_jsonl(home / "texts.jsonl", [{"text": pair["completion"]} for pair in PAIRS])
    return home


@pytest.mark.parametrize("at", range(len(SHELL)))
def test_shell_commands_run(at: int, home: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SHELL[at]],
        cwd=home, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("at", range(len(PYTHON)))
def test_python_examples_run(at: int, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[at]], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_install_commands_install_what_is_there() -> None:
    project = (README.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert len(INSTALL) == 2
    for block in INSTALL:
        (install,) = [part for part in re.split(r"&&|\n", block) if "pip install" in part]
        target = shlex.split(install)[-1]
        extra = re.search(r"\[(\w+)\]", target)
        assert target.startswith(".")
        assert extra is None or f"{extra[1]} = [" in project


def test_the_picture_of_the_output_folder_is_true(home: Path) -> None:
    listed = next(block for kind, block in BLOCKS if kind == "text" and "manifest.json" in block)
    names = {line.split()[0] for line in listed.splitlines()[1:] if line.strip()}
    made = {path.relative_to(home / "out").as_posix() for path in (home / "out").rglob("*")}
    for name in names:
        pattern = re.escape(name.rstrip("/")).replace("00000", r"\d{5}")
        assert name.startswith("quarantine") or any(re.fullmatch(pattern, path) for path in made), name
