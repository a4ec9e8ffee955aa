"""Which rows are converted: conditions, sampling, duplicates, near duplicates, contamination."""

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
import pyarrow as pa
import pytest
from helpers import conversation, read_jsonl, read_quarantine, read_rows, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.columns import MESSAGE
from lookahead_data.curation.classes import OPENINGS, is_refusal, refuses
from lookahead_data.curation.clusters import Components
from lookahead_data.curation.fields import FIELDS, field_lists, field_texts
from lookahead_data.curation.sampling import chances
from lookahead_data.curation.where import Condition
from lookahead_data.sink import publish
from lookahead_data.talk import Talk

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
]


def text(seed: int, words: int = 30) -> str:
    chosen = np.random.default_rng(seed).choice(WORDS, words)
    return " ".join(chosen) + f" {seed}"


ROWS = [{"prompt": text(at), "completion": text(1000 + at)} for at in range(60)]


def convert(source: Path, folder: Path, **changes: Any) -> la.Manifest:
    return la.convert(source, folder, **({"tokenizer": "builtin", "workers": 1} | changes))


def filtered(folder: Path) -> dict[int, str]:
    return {row["row"]: row["reason"] for row in read_quarantine(folder) if row["outcome"] == "filtered"}


def talk_of(rows: list[list[dict[str, str]]]) -> Talk:
    return Talk(pa.array(rows, pa.list_(MESSAGE)))


CONVERSATIONS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=5)), max_size=6
    ),
    max_size=6,
)


@given(rows=CONVERSATIONS)
def test_fields_of_conversations(rows: list[list[tuple[str, str]]]) -> None:
    talk = talk_of([[{"role": role, "content": said} for role, said in row] for row in rows])
    for field in FIELDS:
        expected = []
        for row in rows:
            last = max((at for at, (role, _) in enumerate(row) if role == "assistant"), default=len(row))
            part = {"prompt": row[:last], "completion": row[last : last + 1], "conversation": row}[field]
            expected.append([said for _, said in part])
        assert field_lists(talk, field).to_pylist() == expected
        assert field_texts(talk, field).to_pylist() == ["\n".join(parts) for parts in expected]


# -------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("len_chars(completion) > 3", [False, True, True]),
        ("len_words(prompt) = 2", [True, False, True]),
        ("turns > 2 or starts_with(prompt, 'b')", [False, True, False]),
        ("not regexp_like(conversation, '[0-9]')", [True, True, False]),
        ("true", [True, True, True]),
    ],
)
def test_conditions(condition: str, expected: list[bool]) -> None:
    talk = talk_of([conversation("two words", "abc"), conversation("b", "abcd"), conversation("a 1", "ääää")])
    assert Condition(condition).holds(talk).tolist() == expected


@pytest.mark.parametrize(
    "condition",
    ["", "nonsense(prompt)", "len_chars(answer) > 1", "prompt", "1", "len_words(turns) > 1", "prompt >"],
)
def test_what_is_no_condition_is_refused_before_the_work(condition: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(la.SettingsError, match="no condition") as refused:
        convert(source, tmp_path / "out", where=[condition])
    assert refused.value.where == "--where"
    assert not (tmp_path / "out").exists()


def test_each_condition_is_counted_by_its_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "p" * at, "completion": "c" * (20 - at)} for at in range(1, 20)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(source, tmp_path / "out", where=["len_chars(prompt) > 5", "len_chars(completion) > 5"])
    gone = filtered(tmp_path / "out")
    assert set(gone) == {*range(5), *range(14, 19)}
    assert manifest.totals["filtered"] == {"where": 10}
    assert manifest.totals["written"] == len(read_rows(tmp_path / "out")) == 9
    assert la.verify(tmp_path / "out", deep=100).ok


# ---------------------------------------------------------------------------------------- sampling


def test_openings_of_refusals_are_told_alike_one_by_one_and_together() -> None:
    said = [
        *OPENINGS,
        *(opening.upper() for opening in OPENINGS),
        "  I can’t help with that.",
        "\nI'm sorry, but no.",
        "I can help.",
        "He said: I cannot.",
        "Sorry to hear that! Here is what to do:",
        "",
        "Nein, das geht nicht.",
    ]
    together = refuses(pa.array(said, pa.large_string())).tolist()
    assert together == [is_refusal(one) for one in said]
    assert together == [True] * (2 * len(OPENINGS) + 2) + [False] * 5
    assert is_refusal("Nein, das geht nicht.", ["nein"])


def test_sampling_keeps_safety_and_its_share_of_the_rest(tmp_path: Path) -> None:
    rows = [
        {"prompt": text(at), "completion": ("I'm sorry, but I can't. " if at % 10 == 0 else "") + text(at, 5)}
        for at in range(2000)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(source, tmp_path / "out", keep={"other": 0.5})
    gone = filtered(tmp_path / "out")
    assert all(row % 10 for row in gone)
    assert abs(len(gone) - 900) < 5 * (1800 * 0.25) ** 0.5  # five standard deviations
    assert manifest.totals["safety_read"] == 200
    # The choice on a row is its own: others may come, and batches, files and workers change nothing.
    grown = write_jsonl(tmp_path / "grown.jsonl", [*ROWS, *rows])
    convert(grown, tmp_path / "grown", keep={"other": 0.5})
    later = {row - len(ROWS) for row in filtered(tmp_path / "grown") if row >= len(ROWS)}
    assert later == set(gone)
    convert(source, tmp_path / "seeded", keep={"other": 0.5}, seed=1)
    assert set(filtered(tmp_path / "seeded")) != set(gone)


def test_chances_are_even_and_those_of_equal_rows_equal() -> None:
    talk = talk_of([conversation(text(at % 5000), "a") for at in range(10000)])
    found = chances(talk, "prompt", 0)
    assert (found[:5000] == found[5000:]).all()
    counts = np.histogram(found[:5000], 10, (0, 1))[0]
    assert abs(counts - 500).max() < 5 * 450**0.5
    other = chances(talk, "prompt", 1)
    assert abs(np.corrcoef(found[:5000], other[:5000])[0, 1]) < 0.1


def test_conditions_pass_over_safety_unless_told_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "How?", "completion": "I can't."}, {"prompt": "How?", "completion": "So."}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    where = ["len_chars(completion) > 20"]
    convert(source, tmp_path / "exempt", where=where)
    convert(source, tmp_path / "not", where=where, exempt_safety=False)
    assert set(filtered(tmp_path / "exempt")) == {1}
    assert set(filtered(tmp_path / "not")) == {0, 1}


@pytest.mark.parametrize("shape", ["pairs", "messages"])
def test_refusals_can_go_without_a_preview(shape: str, tmp_path: Path) -> None:
    pairs = [("How?", "I can't help with that, sorry."), ("Why?", "Because it is so, and always was.")] * 20
    rows: list[dict[str, Any]] = [
        {"prompt": ask, "completion": say} if shape == "pairs" else {"messages": conversation(ask, say)}
        for ask, say in pairs
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(source, tmp_path / "out", preview_safety=False)
    assert manifest.totals["previews"] == 20
    assert manifest.totals["notes"] == {"safety_without_preview": 20}
    report = la.preview(source, tmp_path / "out.jsonl", tokenizer="builtin", preview_safety=False).report
    assert (report.previews, report.notes) == (20, Counter(safety_without_preview=20))
    assert [row == old for row, old in zip(read_jsonl(tmp_path / "out.jsonl"), rows, strict=True)] == [
        True,
        False,
    ] * 20


@pytest.mark.parametrize("keep", [{"nobody": 1.0}, {"other": 2}, {"other": -0.1}, {"other": "many"}])
def test_what_is_no_rate_is_refused(keep: dict[str, Any]) -> None:
    with pytest.raises(la.SettingsError, match="no rate"):
        la.Settings(keep=keep)


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


def test_contamination_is_left_out_or_only_reported(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[11]["prompt"] += " What, then, is the airspeed velocity of an unladen swallow in the month of May?"
    rows[12]["completion"] = "It is short, the item."
    items = [
        {
            "question": "what then is the airspeed velocity of an unladen swallow in the month of may",
            "answer": "11 m/s",
        },
        {"question": "Short, the item!", "answer": "yes"},
        {
            "question": "Nobody asks this one, ever, in this corpus or in any other that there may be",
            "answer": "no",
        },
    ]
    source, evaluation = (
        write_jsonl(tmp_path / "rows.jsonl", rows),
        write_jsonl(tmp_path / "eval.jsonl", items),
    )
    manifest = convert(source, tmp_path / "out", decontaminate=[evaluation])
    assert filtered(tmp_path / "out") == {11: "contaminated", 12: "contaminated"}
    assert manifest.document["curation"]["contamination"] == {
        "items": 3, "items_not_read": 0, "items_too_short": 0, "items_found": 2, "rows": 2, "left_out": True,
    }  # fmt: skip
    assert [entry["path"] for entry in manifest.document["evaluation"]] == [str(evaluation)]
    found = pl.read_parquet(tmp_path / "out" / "curation" / "contamination.parquet")
    assert found.select("row", "evaluation_row", "words", "whole").rows() == [
        (11, 0, 15, True),
        (12, 1, 3, True),
    ]
    told = [row["message"] for row in read_quarantine(tmp_path / "out")]
    assert told[1] == f"shares 3 words with row 1 of {evaluation}: short the item"
    reported = convert(source, tmp_path / "reported", decontaminate=[evaluation], contamination="report")
    assert reported.totals["filtered"] == {}
    assert reported.document["curation"]["contamination"]["rows"] == 2
    by_answer = convert(source, tmp_path / "answers", decontaminate=[evaluation], evaluation_field="answer")
    assert by_answer.document["curation"]["contamination"]["items"] == 3


def test_evaluation_items_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    class Hears(la.Listener):
        said: list[str] = []  # noqa: RUF012

        def warned(self, message: str) -> None:
            self.said.append(message)

    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    evaluation = tmp_path / "eval.jsonl"
    evaluation.write_text('{"prompt": "a b c", "completion": "d"}\nnot json\n')
    manifest = convert(source, tmp_path / "out", decontaminate=[evaluation], listener=Hears())
    found = manifest.document["curation"]["contamination"]
    assert (found["items"], found["items_not_read"]) == (1, 1)
    assert any(message.startswith(f"row 1 of {evaluation} cannot be looked for") for message in Hears.said)


def test_another_evaluation_set_is_another_job(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"question": "a b c d", "answer": "e"}])
    convert(source, tmp_path / "out", decontaminate=[evaluation])
    write_jsonl(evaluation, [{"question": "x y z", "answer": "e"}])
    with pytest.raises(la.OutputError, match="holds another job's output: evaluation"):
        convert(source, tmp_path / "out", decontaminate=[evaluation])
    with pytest.raises(la.InputError):
        convert(source, tmp_path / "other", decontaminate=[tmp_path / "nowhere.jsonl"])


# ------------------------------------------------------------------------------------------- whole


EVERYTHING: dict[str, Any] = {
    "where": ["len_words(prompt) > 3"],
    "dedup": "prompt",
    "near_dedup": 0.6,
    "keep": {"other": 0.8},
}


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
    )
    arguments = ["convert", str(source), "-o", str(tmp_path / "out"), "-q", *options(wanted)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert la.Manifest.load(tmp_path / "out").settings == wanted


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


def test_a_failure_at_any_publication_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"prompt": ROWS[4]["prompt"], "completion": "x"}])
    more: dict[str, Any] = {"decontaminate": [evaluation], "unit_size": 10_000, **EVERYTHING}
    convert(source, tmp_path / "golden", **more)

    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".jsonl")]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    golden, original = contents(tmp_path / "golden"), publish.commit
    publications = 0
    for failing in range(100):
        published: list[Path] = []

        def commit(temporary: Path, path: Path, published: list[Path] = published, at: int = failing) -> None:
            published.append(path)
            if len(published) == at + 1:
                raise la.OutputError("injected", where=str(path))
            original(temporary, path)

        out = tmp_path / f"out-{failing}"
        with monkeypatch.context() as patch:
            patch.setattr(publish, "commit", commit)
            try:
                convert(source, out, **more)
            except la.OutputError as error:
                assert error.problem == "injected"
            else:
                publications = failing
                break
        assert not (out / "manifest.json").exists()
        convert(source, out, **more)
        assert contents(out) == golden
        assert la.verify(out).ok
    assert publications > 12
