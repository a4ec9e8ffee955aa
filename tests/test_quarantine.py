"""Rows at fault: how many may be, and what happens at the first where none may."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import PAIRS, write_jsonl

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.errors import InputError, QuarantineError, SettingsError
from lookahead_data.numerals import quarantine_limit

BAD = [{"prompt": "a", "completion": " "}, {"prompt": "a"}]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", [*PAIRS, *BAD, *PAIRS])


def test_strict_stops_at_the_first_row_at_fault_and_names_it(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"line {len(PAIRS) + 1} \(byte \d+\) is at fault \(empty_answer\)"):
        la.convert(corpus, tmp_path / "out", tokenizer="builtin", strict=True)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))
    # What stops a job is no part of it: the same folder takes the job without.
    manifest = la.convert(corpus, tmp_path / "out", tokenizer="builtin")
    assert manifest.totals["quarantined"] == {"empty_answer": 1, "missing_field": 1}


def test_strict_is_about_faults_not_about_what_settings_leave_out(tmp_path: Path) -> None:
    manifest = la.convert(PAIRS, tmp_path / "out", tokenizer="builtin", strict=True, max_length=5)
    assert manifest.totals["filtered"]["overlength"] > 0


@pytest.mark.parametrize(
    ("allowed", "fits"), [(2, True), (1, False), ("2", True), ("50%", True), ("0.5%", False), (0, False)]
)
def test_too_many_rows_at_fault_are_told_when_the_folder_is_done(
    allowed: int | str, fits: bool, corpus: Path, tmp_path: Path
) -> None:
    def convert() -> la.Manifest:
        return la.convert(corpus, tmp_path / "out", tokenizer="builtin", max_quarantine=allowed)

    if fits:
        assert sum(convert().totals["quarantined"].values()) == 2
        return
    for _ in range(2):  # a folder that is complete already is told the same
        with pytest.raises(QuarantineError, match="2 of 10 rows") as caught:
            convert()
        assert caught.value.exit_status == 3
    assert la.Manifest.load(tmp_path / "out").totals["written"] == 2 * len(PAIRS)


def test_limits_are_rows_or_shares() -> None:
    assert quarantine_limit(7, 1000) == 7
    assert quarantine_limit(" 7 % ", 1000) == 70
    for nonsense in ("x", "", "-1", "1.5", "%", -1, 0.5):
        with pytest.raises(SettingsError, match="no number of rows"):
            quarantine_limit(nonsense, 1000)  # type: ignore[arg-type]


def test_the_command_ends_with_status_3(corpus: Path, tmp_path: Path) -> None:
    command = ["convert", str(corpus), "-o", str(tmp_path / "out"), "-t", "builtin", "-q"]
    assert CliRunner().invoke(main, [*command, "--max-quarantine", "1%"]).exit_code == 3
    assert CliRunner().invoke(main, [*command, "--max-quarantine", "all"]).exit_code == 2
    assert CliRunner().invoke(main, [*command, "--overwrite"]).exit_code == 0
    other = [*command[:3], str(tmp_path / "other"), *command[4:]]
    assert CliRunner().invoke(main, [*other, "--strict"]).exit_code == 1


def test_a_damaged_folder_is_not_taken_for_a_complete_one(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    golden = la.convert(corpus, out, tokenizer="builtin").document["shards"]
    (shard,) = (out / "data").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1])
    assert la.convert(corpus, out, tokenizer="builtin").document["shards"] == golden
    # A flipped byte is only found by reading all, which --overwrite has done.
    data = bytearray(shard.read_bytes())
    data[9] ^= 1
    shard.write_bytes(data)
    la.convert(corpus, out, tokenizer="builtin")
    assert not la.verify(out).ok
    la.convert(corpus, out, tokenizer="builtin", overwrite=True)
    assert la.verify(out).ok
    (rejects,) = (out / "quarantine").iterdir()
    rejects.write_text(rejects.read_text().replace("empty", "some other"))
    assert not la.verify(out).ok
    la.convert(corpus, out, tokenizer="builtin", overwrite=True)
    assert la.verify(out).ok
