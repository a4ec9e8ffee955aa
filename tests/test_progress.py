"""Passes over the whole corpus tell how far they are, and the command line shows it by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import write_jsonl

import lookahead_data as la
from lookahead_data.cli.show import Watcher

PASSES = [
    "looking for evaluation items",
    "looking for duplicates",
    "looking for near duplicates",
    "comparing near duplicates",
]
EVERYTHING: dict[str, Any] = {"dedup": "prompt", "near_dedup": 0.8}


class Ear(la.Listener):
    """Of each pass its name and size, and the rows and the size that it told."""

    def __init__(self) -> None:
        self.passes: list[list[Any]] = []
        self.rows: list[int] = []
        self.done = False

    def looking(self, what: str, size: int) -> None:
        self.passes.append([what, size, 0, 0])

    def looked(self, rows: int, size: int) -> None:
        self.passes[-1][2] += rows
        self.passes[-1][3] += size

    def advanced(self, rows: int, tokens: int, size: int) -> None:
        self.rows.append(rows)

    def finished(self) -> None:
        self.done = True


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [{"prompt": f"What is {at}?", "completion": f"It is {at}."} for at in range(50)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with path.open("a") as file:
        file.write("not json\n")
    return path


def test_each_pass_tells_all_that_it_reads(corpus: Path, tmp_path: Path) -> None:
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"text": "what is it that it is"}])
    more = {**EVERYTHING, "decontaminate": [evaluation], "unit_size": 500}
    ear = Ear()
    la.curate(corpus, listener=ear, keep={"other": 0.5}, where="turns > 0", **more)
    size = corpus.stat().st_size
    assert [told[0] for told in ear.passes] == ["choosing rows", *PASSES, "sampling rows"]
    bands_at = len(PASSES)
    for _, planned, rows, told in (*ear.passes[:bands_at], ear.passes[-1]):
        assert (rows, planned, told) == (51, size, size)
    _, bands, rows, told = ear.passes[bands_at]
    assert rows == 0
    assert bands == told > 1
    assert ear.done
    assert ear.rows == []
    ear = Ear()
    la.convert(corpus, tmp_path / "out", tokenizer="builtin", workers=1, listener=ear, **more)
    assert [told[0] for told in ear.passes] == PASSES
    assert sum(ear.rows) == 51


def test_a_terminal_shows_a_bar_for_each_pass(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with Watcher() as watcher:
        la.curate(corpus, listener=watcher, **EVERYTHING)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err).splitlines()
    for line, name in zip(lines[-len(PASSES[1:]) :], PASSES[1:], strict=True):
        assert name in line
        assert "100%" in line


def test_a_log_names_each_pass_once(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Watcher() as watcher:
        la.curate(corpus, listener=watcher, **EVERYTHING)
    assert capsys.readouterr().err.splitlines()[1:] == PASSES[1:]
    with Watcher(quiet=True) as watcher:
        la.curate(corpus, listener=watcher, **EVERYTHING)
    assert capsys.readouterr().err == ""
