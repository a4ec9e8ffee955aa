"""What is left out is told with its tokens, warned of with its remedy, and can end the job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import PAIRS, write_jsonl
from listeners import Warnings

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.sink.losses import losses, percent

LONG = {"prompt": "Say it.", "completion": "As often as you like. " * 200}


def lengths(rows: list[dict[str, Any]], folder: Path, **changes: Any) -> dict[str, Any]:
    return dict(la.convert(rows, folder, tokenizer="builtin", **changes).totals)


def test_tokens_of_rows_that_are_too_long_are_exact(tmp_path: Path) -> None:
    whole = lengths([*PAIRS, LONG], tmp_path / "whole")
    heard = Warnings()
    manifest = la.convert(
        [*PAIRS, LONG], tmp_path / "cut", tokenizer="builtin", max_length=100, listener=heard
    )
    (loss,) = losses(manifest.totals, manifest.settings)
    assert (loss.outcome, loss.reason, loss.rows, loss.exact) == ("filtered", "overlength", 1, True)
    assert loss.tokens == whole["tokens"] - manifest.totals["tokens"]
    assert loss.share == pytest.approx(loss.tokens / whole["tokens"])
    (warning,) = heard.texts
    assert warning.startswith(f"filtered 1 row (overlength), {loss.tokens:,} tokens, ")
    assert "--overlength truncate" in warning
    packed = manifest.settings.replace(pack=100, profile="auto")
    assert "--overlength split" in losses(manifest.totals, packed)[0].remedy


def test_tokens_of_rows_that_were_not_encoded_are_estimated(tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": "a", "completion": ""}]
    heard = Warnings()
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = la.convert(source, tmp_path / "out", tokenizer="builtin", listener=heard)
    (loss,) = losses(manifest.totals, manifest.settings)
    assert (loss.outcome, loss.reason, loss.exact) == ("quarantined", "empty_answer", False)
    assert loss.tokens == round(manifest.totals["tokens"] / len(PAIRS))
    assert any("about" in text and "quarantine/" in text for text in heard.texts)


def test_what_was_asked_for_is_told_and_not_warned_of(tmp_path: Path) -> None:
    heard = Warnings()
    source = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 2)
    manifest = la.convert(source, tmp_path / "out", tokenizer="builtin", dedup="conversation", listener=heard)
    assert [loss.reason for loss in losses(manifest.totals, manifest.settings)] == ["duplicate"]
    assert not heard.texts


def test_shares_are_never_rounded_to_none_or_all() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.05, 0.94, 0.9999, 1)] == [
        "0 %", "0.01 %", "5 %", "94 %", "99.99 %", "100 %",
    ]  # fmt: skip


def test_the_command_line_tells_tokens_and_remedy(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*PAIRS, LONG])
    done = CliRunner().invoke(
        main, ["convert", str(source), "-o", str(tmp_path / "out"), "-t", "builtin", "--max-length", "100"]
    )
    assert done.exit_code == 0, done.output
    assert "  filtered    1 overlength, " in done.output and "% of all: raise --max-length" in done.output


def test_too_many_filtered_rows_end_with_status_3(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 2)
    command = [
        "convert",
        str(source),
        "-o",
        str(tmp_path / "out"),
        "-t",
        "builtin",
        "-q",
        "--dedup",
        "conversation",
    ]
    for allowed, status in (("10%", 3), (str(len(PAIRS) - 1), 3), (str(len(PAIRS)), 0), ("50%", 0), ("x", 2)):
        done = CliRunner().invoke(main, [*command, "--max-filtered", allowed])
        assert done.exit_code == status, done.output
    assert "--max-filtered" in done.output
    with pytest.raises(la.QuarantineError, match="rows are filtered"):
        la.convert(source, tmp_path / "two", tokenizer="builtin", dedup="conversation", max_filtered=0)


@pytest.mark.parametrize("rows", [[], [{"prompt": "a", "completion": ""}] * 5, PAIRS])
def test_a_job_without_a_row_ends_with_status_1_and_the_first_reasons(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    command = ["convert", str(source), "-o", str(tmp_path / "out"), "-t", "builtin", "--max-length", "3"]
    for _ in range(2):  # a folder that is complete already is told the same
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 1
        assert "no row was written" in done.output
        if rows:
            assert f"{source}, row 1: " in done.output and f"{source}, row 3: " in done.output
            assert f"{source}, row 4: " not in done.output
    assert la.Manifest.load(tmp_path / "out").totals["written"] == 0
    assert la.verify(tmp_path / "out").problems == ()


def test_packed_text_is_split_by_default_and_the_manifest_says_so(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"text": "word " * 100}, {"text": "One two."}])
    plain = {"tokenizer": "builtin", "mode": "none"}
    for changes, overlength in (
        ({"pack": 16}, "split"),
        ({}, "drop"),
        ({"pack": 16, "overlength": "drop"}, "drop"),
    ):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        manifest = la.convert(source, out, **plain, **changes)
        assert manifest.document["settings"]["overlength"] == overlength
        assert manifest.totals["written"] == (1 if changes.get("overlength") == "drop" else 2)
        assert la.verify(out, deep=5).problems == ()
    manifest = la.convert(PAIRS, tmp_path / "pairs", tokenizer="builtin", pack=512)
    assert manifest.document["settings"]["overlength"] == "drop"


def test_curate_tells_the_rows_that_cannot_be_read(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    empty = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": ""}]}
    odd = {"messages": [{"role": "user", "content": "Why?"}, {"role": "nobody-knows", "content": "So."}]}
    source = write_jsonl(tmp_path / "rows.jsonl", [good, odd, empty, good])
    done = CliRunner().invoke(main, ["curate", str(source), "-o", str(tmp_path / "rep"), "--dedup", "prompt"])
    assert done.exit_code == 0, done.output
    assert "1 duplicate would be left out" in done.output
    assert "1 empty_answer, 1 unknown_role: cannot be read" in done.output
    summary = json.loads((tmp_path / "rep/summary.json").read_text())
    assert summary["quarantined"] == {"empty_answer": 1, "unknown_role": 1}
    assert summary["left_out"] == {"duplicate": 1}
    report = la.curate(source, dedup="prompt", near_dedup=0.9)
    manifest = la.convert(source, tmp_path / "out", tokenizer="builtin", dedup="prompt", near_dedup=0.9)
    assert report.to_dict()["quarantined"] == manifest.totals["quarantined"]
    assert [(row["row"], row["reason"]) for row in report.verdicts.to_pylist()] == [
        (1, "unknown_role"),
        (2, "empty_answer"),
        (3, "duplicate"),
    ]
