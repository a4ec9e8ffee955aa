"""Evaluation items are found where a search word by word finds them, and short ones are not looked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from curated import ROWS, convert, filtered
from helpers import read_quarantine, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.curation.contamination import SCHEMA, Contamination


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


# Few enough that no run of words stands in more places than are looked at.
said = st.lists(st.sampled_from(["a", "B", "c,"]), max_size=5).map(" ".join)


@given(st.lists(said, max_size=6), st.lists(said, max_size=3), st.integers(1, 4), st.integers(1, 6))
def test_items_are_found_as_word_by_word(texts: list[str], items: list[str], size: int, least: int) -> None:
    search = Contamination(large(items), size, least)
    batches = [(np.array([at + 10]), large([text])) for at, text in enumerate(texts)]
    found = search.find_all(batches)
    assert found.schema == SCHEMA
    lines = [tuple(line.values()) for line in found.to_pylist()]
    assert lines == slowly(texts, items, size, least)
    assert search.short.tolist() == [at for at, item in enumerate(items) if len(item.split()) < least]


def slowly(
    texts: list[str], items: list[str], size: int, least: int
) -> list[tuple[int, int, int, bool, str]]:
    lines = []
    for row, text in enumerate(texts):
        for at, item in enumerate(items):
            there, wanted = (said.lower().replace(",", "").split() for said in (text, item))
            if len(wanted) < max(1, least):
                continue
            runs = [
                there[start : start + count]
                for count in range(len(there), min(size, len(wanted)) - 1, -1)
                for start in range(len(there) - count + 1)
                if any(there[start : start + count] == wanted[b : b + count] for b in range(len(wanted)))
            ]
            if runs:
                run = runs[0]
                lines.append((row + 10, at, len(run), len(run) == len(wanted), " ".join(run)))
    return lines


def test_short_items_are_counted_and_told(tmp_path: Path) -> None:
    class Hears(la.Listener):
        said: list[str] = []  # noqa: RUF012

        def warned(self, message: str) -> None:
            self.said.append(message)

    rows = [{"prompt": "Is it so?", "completion": "Yes, it is so."}, {"prompt": "Why?", "completion": "Yes."}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    items = [{"text": text} for text in ("Yes", "it is", "it is so", "?!", "never said so")]
    evaluation = write_jsonl(tmp_path / "eval.jsonl", items)

    def found(**changes: int) -> la.CurationReport:
        return la.curate(source, decontaminate=[evaluation], listener=Hears(), **changes)

    usual = found()
    assert usual.reports["contamination"]["evaluation_row"].to_pylist() == [2]
    counts = usual.counts["contamination"]
    assert (counts["items"], counts["items_too_short"], counts["items_found"]) == (5, 3, 1)
    assert any(message.startswith("3 of 5 items are not looked for") for message in Hears.said)
    every = found(evaluation_min_words=1)
    assert every.reports["contamination"]["evaluation_row"].to_pylist() == [0, 1, 2, 0]
    assert every.counts["contamination"]["items_too_short"] == 1
    assert found(evaluation_min_words=4).verdicts.num_rows == 0


def test_no_least_number_of_words_is_refused() -> None:
    with pytest.raises(la.SettingsError, match="evaluation_min_words must be a whole number of at least 1"):
        la.Settings(evaluation_min_words=0)


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
    assert told[1] == f"shares 3 words with row 2 of {evaluation}: short the item"
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
    assert any(message.startswith(f"row 2 of {evaluation} cannot be looked for") for message in Hears.said)


def test_another_evaluation_set_is_another_job(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"question": "a b c d", "answer": "e"}])
    convert(source, tmp_path / "out", decontaminate=[evaluation])
    write_jsonl(evaluation, [{"question": "x y z", "answer": "e"}])
    with pytest.raises(la.OutputError, match="holds another job's output: evaluation"):
        convert(source, tmp_path / "out", decontaminate=[evaluation])
    with pytest.raises(la.InputError):
        convert(source, tmp_path / "other", decontaminate=[tmp_path / "nowhere.jsonl"])
