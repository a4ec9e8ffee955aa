"""The README's commands, pasted in order into a bare shell, and its examples do what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
SHELL = [block for kind, block in BLOCKS if kind == "sh" and "pip install -e" not in block]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
INSTALL = [block for kind, block in BLOCKS if kind == "sh" and "pip install" in block]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which every command of the README has run, in order."""
    home = tmp_path_factory.mktemp("readme")
    # The environment that the first command would make is this one, so that nothing is installed again.
    (home / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "lookahead-data"):
        (home / ".venv" / "bin" / name).symlink_to(Path(sys.executable).parent / name)
    (home / ".venv" / "bin" / "activate").write_text(f'export PATH="{home}/.venv/bin:$PATH"\n')
    script = "".join(SHELL).replace("python3 -m venv .venv && ", "").replace(" && pip install '.[fast]'", "")
    assert "pip install" not in script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=home, env={"PATH": "/usr/bin:/bin", "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return home


def test_shell_commands_run_in_order_from_a_bare_shell(home: Path) -> None:
    named = {word for block in SHELL for word in re.findall(r"-o (\S+)", block)}
    assert named
    assert all((home / name).exists() for name in named)


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
