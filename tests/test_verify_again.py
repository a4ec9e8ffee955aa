"""`verify --deep` finds what no account tells, by converting rows again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forgery import Row, edit, forge, receipts, write_manifest
from helpers import PAIRS, write_jsonl

import lookahead_data as la
from lookahead_data.check.again import FEW, choose
from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile, Unit, fingerprint_of
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.receipts import Receipt


def double(rows: list[Row]) -> None:
    """Row 3 a second time, in place of a row that is as long but not the same."""
    rows[8] = rows[3]


def test_a_row_doubled_and_another_lost_is_found_by_converting_again(folder: Path) -> None:
    path = forge(folder, double)
    assert la.verify(folder).ok  # as long and as much supervised, and hashed anew: nothing else can tell
    found = la.verify(folder, deep=1000)
    (problem,) = found.problems
    assert (problem.where, problem.row) == (path, 8)
    assert "is converted again" in problem.what
    assert "row 8 of " in problem.what
    assert 8 < found.compared < found.rows


def test_counts_that_were_made_to_fit_are_found_by_converting_again(folder: Path) -> None:
    forge(folder, lambda rows: rows.pop(2), recount=True)
    found = la.verify(folder, deep=1000)
    assert any("is converted again" in problem.what for problem in found.problems)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("units", 4500, "units[0].stop is 4500, and planned again"),
        ("shape", "answer", "inputs[0].shape.output_field is"),
    ],
)
def test_a_plan_that_was_changed_with_all_its_fingerprints(
    key: str, value: object, words: str, folder: Path
) -> None:
    plan = json.loads((folder / "_job" / "plan.json").read_text())
    if key == "units":
        plan["units"][0]["stop"] = value
    else:
        plan["inputs"][0]["shape"]["output_field"] = value
    fingerprint = fingerprint_of(plan)
    (folder / "_job" / "plan.json").write_text(json.dumps(plan))
    for path in receipts(folder):
        edit(path, lambda document: document.update(fingerprint=fingerprint))
    write_manifest(folder)
    assert la.verify(folder).ok
    (problem,) = la.verify(folder, deep=1).problems
    assert problem.where == "_job/plan.json"
    assert words in problem.what


def test_what_the_receipt_counts_is_counted_again(folder: Path) -> None:
    forge(folder, lambda rows: None)

    def fix(document: dict[str, Any]) -> None:
        for counts in (document.get("counts"), document.get("totals"), document.get("units", [None])[0]):
            if counts:
                counts["previewed_tokens"] += 1

    edit(receipts(folder)[0], fix)
    write_manifest(folder)
    assert la.verify(folder).ok
    (problem,) = la.verify(folder, deep=1000).problems
    assert "its receipt says previewed_tokens" in str(problem)


def test_inputs_that_are_gone_or_changed_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    la.convert(path, tmp_path / "out", tokenizer="builtin")
    la.convert(PAIRS, tmp_path / "memory", tokenizer="builtin")

    def said(folder: str, ok: bool = True) -> str:
        found = la.verify(tmp_path / folder, deep=2)
        assert (found.ok, found.compared) == (ok, 0)
        (warning,) = found.warnings
        return warning

    assert "in memory" in said("memory")
    path.write_text(path.read_text().replace("Blue", "Grey"))
    assert "inputs[0].sha256 was" in said("out")
    path.unlink()
    assert "there is no such file" in said("out")
    write_jsonl(path, PAIRS)
    monkeypatch.setattr("lookahead_data.plan.versions", lambda: {"numpy": "0.1"})
    found = la.verify(tmp_path / "out", deep=2)
    assert (found.ok, found.compared) == (True, 2)
    assert any("made with numpy" in warning for warning in found.warnings)
    (tmp_path / "out" / "data" / "more").touch()
    assert "problems already" in said("out", ok=False)


def test_an_input_that_changes_meanwhile_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(file: InputFile) -> None:
        raise InputError("changed while the job was running", where=file.name)

    monkeypatch.setattr(InputFile, "check_unchanged", changed)
    (problem,) = la.verify(made, deep=1).problems
    assert "cannot be converted again" in problem.what
    assert "rows.jsonl: changed while" in problem.what


@pytest.mark.parametrize("rows", [1, 7, FEW, 100, 999, 5000, 10**9])
def test_the_sample_is_spread_over_the_units(rows: int) -> None:
    units = [Unit(index, 0, 0, 0, 0, 0) for index in range(50)]
    written = {unit.index: unit.index * 3 % 100 for unit in units}
    made = {
        index: Receipt(index, "", Counts(written=count), (), None, "tokenizers")
        for index, count in written.items()
    }
    chosen = list(choose(units, made, rows))
    assert [*choose(units, made, rows)] == chosen
    assert sum(count for _, count in chosen) == min(rows, sum(written.values()))
    assert all(count <= written[unit.index] for unit, count in chosen)
    assert len({unit.index for unit, _ in chosen}) == len(chosen)
    places = sorted(unit.index for unit, _ in chosen)
    if rows == 100:
        assert max(right - left for left, right in zip([0, *places], [*places, 50], strict=True)) <= 25
    if rows > sum(written.values()):
        assert places == list(range(50))
