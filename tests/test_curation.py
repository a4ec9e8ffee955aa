"""Curation as a whole: what duplicates leave, `curate`, its account, and going on after stops."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from curated import ROWS, convert, filtered
from helpers import read_rows, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from publications import fail_at_each

import lookahead_data as la
from lookahead_data.curation.clusters import Components

# -------------------------------------------------------------------------------------- duplicates


def test_the_first_of_equal_rows_stays(tmp_path: Path) -> None:
    rows = [*ROWS[:10], {"prompt": ROWS[3]["prompt"], "completion": "other"}, ROWS[5], *ROWS[10:]]
    rows[20] = {
        "prompt": "  " + ROWS[0]["prompt"].replace(" ", "\n") + " ",
        "completion": ROWS[0]["completion"],
    }
    one, two = write_jsonl(tmp_path / "one.jsonl", rows), write_jsonl(tmp_path / "two.jsonl", ROWS[5:8])
    for dedup, expected in (("prompt", {10: 3, 11: 5, 20: 0}), ("conversation", {11: 5, 20: 0})):
        folder = tmp_path / dedup
        manifest = la.convert([one, two], folder, tokenizer="builtin", dedup=dedup)
        found = pl.read_parquet(folder / "curation" / "duplicates.parquet")
        told = {
            (Path(row["file"]).stem, row["row"]): (Path(row["first_file"]).stem, row["first_row"])
            for row in found.to_dicts()
        }
        assert told == {("one", at): ("one", first) for at, first in expected.items()} | {
            ("two", at): ("one", 5 + at) for at in range(3)
        }
        assert manifest.totals["filtered"] == {"duplicate": len(told)}
        assert manifest.document["curation"]["duplicates"] == {"rows": len(told), "by": dedup}
        assert la.verify(folder, deep=1000).ok
    convert(one, tmp_path / "strict", dedup="prompt", dedup_ignores=["form"])
    assert 20 not in filtered(tmp_path / "strict")


def test_who_says_it_counts(tmp_path: Path) -> None:
    said = ["You count apples.", "How many?", "Three of them."]
    roles = [("system", "user"), ("user", "user"), ("system", "user"), ("user", "system"), ("user", "user")]
    rows = [
        {"messages": [{"role": r, "content": c} for r, c in zip((*pair, "assistant"), said, strict=True)]}
        for pair in roles
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    for dedup, gone in (
        ("conversation", {2: 0, 4: 1}),
        ("prompt", {2: 0, 4: 1}),
        ("completion", dict.fromkeys(range(1, 5), 0)),
    ):
        found = la.curate(source, dedup=dedup).reports["duplicates"].to_pylist()
        assert {row["row"]: row["first_row"] for row in found} == gone


def test_what_says_nothing_is_no_duplicate(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"text": row["prompt"]} for row in ROWS])
    for dedup in ("prompt", "conversation"):
        manifest = convert(source, tmp_path / dedup, mode="none", dedup=dedup)
        assert manifest.totals["written"] == len(ROWS)


def test_near_duplicates_leave_one_of_each_cluster(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    for at in (7, 40):
        rows[at] = {"prompt": ROWS[2]["prompt"], "completion": ROWS[2]["completion"] + f" and more {at}"}
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(source, tmp_path / "out", near_dedup=0.7)
    assert filtered(tmp_path / "out") == {7: "near_duplicate", 40: "near_duplicate"}
    clusters = pl.read_parquet(tmp_path / "out" / "curation" / "near_duplicates.parquet")
    assert clusters["row"].to_list() == [2, 7, 40]
    assert clusters["survivor_row"].to_list() == [2, 2, 2]
    assert manifest.document["curation"]["near_duplicates"]["clusters"] == 1
    convert(
        source, tmp_path / "longest", near_dedup=0.7, near_dedup_keep="longest", near_dedup_verify="exact"
    )
    assert set(filtered(tmp_path / "longest")) == {2, 7}
    assert la.verify(tmp_path / "out", deep=1000).ok


# ------------------------------------------------------------------------------------------- whole


EVERYTHING: dict[str, Any] = {
    "where": ["len_words(prompt) > 3"],
    "dedup": "prompt",
    "near_dedup": 0.6,
    "keep": {"other": 0.8},
}


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), unit_size=st.integers(300, 4000))
def test_units_change_no_verdict(seed: int, unit_size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("units")
    rng = np.random.default_rng(seed)
    rows = [ROWS[at] for at in rng.integers(0, 30, 60)]
    rows = [{**row, "completion": row["completion"] + " again" * int(rng.integers(0, 2))} for row in rows]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"prompt": ROWS[4]["prompt"], "completion": "x"}])
    more: dict[str, Any] = {"decontaminate": [evaluation], **EVERYTHING}
    one = convert(source, tmp_path / "one", **more)
    several = convert(source, tmp_path / "several", unit_size=unit_size, **more)
    assert read_rows(tmp_path / "one") == read_rows(tmp_path / "several")
    assert filtered(tmp_path / "one") == filtered(tmp_path / "several")
    assert one.document["curation"] == several.document["curation"]
    totals = several.totals
    assert totals["read"] == totals["written"] + sum(totals["filtered"].values()) == 60
    assert la.verify(tmp_path / "several", deep=1000).ok


def test_what_was_found_is_not_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    folder = tmp_path / "out"
    convert(source, folder, dedup="prompt")
    whole = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    (folder / "manifest.json").unlink()
    for receipt in (folder / "_job" / "receipts").iterdir():
        receipt.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("lookahead_data.curating.exact_duplicates", None)  # would fail if it were called
        convert(source, folder, dedup="prompt")
    verdicts = next((folder / "_job" / "verdicts").glob("*.parquet"))
    (folder / "manifest.json").unlink()
    verdicts.write_bytes(verdicts.read_bytes()[:-1])
    convert(source, folder, dedup="prompt")
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == whole
    convert(source, folder, overwrite=True)
    assert not list((folder / "curation").glob("*"))


def test_the_command_line(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, ROWS[0]])
    arguments = [
        "convert", str(source), "-o", str(tmp_path / "out"), "-t", "builtin", "--dedup", "prompt", "--near-dedup", "0.9",
        "--where", "len_chars(completion) > 3", "--where", "turns = 2", "--keep", "other=1.0", "--json", "-q",
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["filtered"] == {"duplicate": 1}
    again = la.load_config(tmp_path / "out" / "manifest.json").settings
    assert la.Settings.from_dict(again).keep == {"other": 1.0}


# ------------------------------------------------------------------------------------------ curate


def test_curate_tells_what_convert_would_leave_out(tmp_path: Path) -> None:
    rows = [*ROWS[:30], *ROWS[5:8], {"prompt": "short", "completion": "x"}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"prompt": ROWS[4]["prompt"], "completion": "x"}])
    more: dict[str, Any] = {"decontaminate": [evaluation], **EVERYTHING}
    report = la.curate(source, tmp_path / "report", **more)
    convert(source, tmp_path / "out", **more)
    gone = filtered(tmp_path / "out")
    told = {row["row"]: row["reason"] for row in report.verdicts.to_pylist()}
    assert told == gone
    assert {"where", "sampled", "duplicate", "contaminated"} <= set(gone.values())
    assert report.to_dict()["left_out"] == dict(sorted(Counter(gone.values()).items()))
    written = pl.read_parquet(tmp_path / "report" / "verdicts.parquet")
    assert written.select("file", "row", "reason").rows() == [
        (str(source), row, reason) for row, reason in sorted(gone.items())
    ]
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "verdicts.parquet", "summary.json", "duplicates.parquet", "near_duplicates.parquet", "contamination.parquet",
    }  # fmt: skip
    assert la.curate(rows, **EVERYTHING).verdicts.num_rows == len(la.curate(source, **EVERYTHING).verdicts)


def test_curate_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(la.SettingsError, match="nothing is looked for"):
        la.curate(source, tmp_path / "out")
    la.curate(source, tmp_path / "out", dedup="prompt", near_dedup=0.5)
    with pytest.raises(la.OutputError, match="earlier report"):
        la.curate(source, tmp_path / "out", dedup="prompt")
    la.curate(source, tmp_path / "out", dedup="prompt", overwrite=True)
    assert not (tmp_path / "out" / "near_duplicates.parquet").exists()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(la.OutputError, match="not ours"):
        la.curate(source, tmp_path / "out", dedup="prompt", overwrite=True)


def test_verify_finds_reports_that_are_changed_missing_or_not_ours(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    folder = convert(source, tmp_path / "out", dedup="prompt").folder
    report = folder / "curation" / "duplicates.parquet"
    whole = report.read_bytes()
    assert la.verify(folder).ok
    for change, message in (
        (lambda: report.write_bytes(whole[:-1]), "was changed or damaged"),
        (report.unlink, "is missing"),
        (
            lambda: (report.write_bytes(whole), report.with_name("mine.parquet").write_bytes(whole)),
            "is not of this job",
        ),
    ):
        change()
        assert [message in problem.what for problem in la.verify(folder).problems] == [True]


def test_the_settings_can_be_told_as_options(tmp_path: Path) -> None:
    """`check` answers with a command that does the same to the rows."""
    from click.testing import CliRunner

    from lookahead_data.cli import main
    from lookahead_data.trainers.remedy import options

    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    wanted = la.Settings(
        tokenizer="builtin",
        keep={"other": 0.5},
        refusals=("Nein",),
        where=("turns > 1", "len_chars(prompt) > 2"),
        dedup_ignores=("case", "compat"),
        exempt_safety=False,
        template_args={"enable_thinking": False},
        overlength="drop",
    )
    arguments = ["convert", str(source), "-o", str(tmp_path / "out"), "-q", *options(wanted)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert la.Manifest.load(tmp_path / "out").settings.replace(unit_size=None) == wanted


# ------------------------------------------------------------------------------------------- stops


def killed_while_it_looks(source: str, out: str) -> None:
    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Components.link = kill  # type: ignore[method-assign]
    la.convert(source, out, tokenizer="builtin", workers=1, near_dedup=0.7)


def test_a_job_that_is_killed_while_it_looks_goes_on(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    out = tmp_path / "out"
    process = multiprocessing.get_context("spawn").Process(
        target=killed_while_it_looks, args=(str(source), str(out))
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = list((out / "_job").glob(".tmp-*"))
    assert any(path.is_dir() and list(path.rglob("*")) for path in left)
    manifest = convert(source, out, near_dedup=0.7)
    assert manifest.totals["filtered"] == {"near_duplicate": 5}
    assert not list((out / "_job").glob(".tmp-*"))
    assert la.verify(out).ok


@pytest.mark.slow
def test_a_failure_at_any_publication_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"prompt": ROWS[4]["prompt"], "completion": "x"}])
    more: dict[str, Any] = {"decontaminate": [evaluation], "unit_size": 10_000, **EVERYTHING}
    assert fail_at_each(lambda out: convert(source, out, **more), tmp_path, monkeypatch) > 12
