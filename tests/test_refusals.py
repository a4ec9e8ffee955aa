"""Which answers refuse: a labelled list in twelve languages, and what stands before the words."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers import SHARED, read_jsonl, write_jsonl

import lookahead_data as la
from lookahead_data.curation.grammars import GRAMMARS
from lookahead_data.curation.refusals import answer_text, is_refusal, refuses

LABELLED = [
    line.split("\t")
    for line in (Path(__file__).parent / "refusals.tsv").read_text(encoding="utf-8").splitlines()
]
"""Language, + for a refusal and - for what looks like one, and the opening of an answer; all written for this test."""

REFUSAL = "I can't help with that request."
ANSWER = "Here is how to boil an egg."


def told(texts: list[str | None], more: tuple[str, ...] = ()) -> list[bool]:
    return [bool(one) for one in refuses(pa.array(texts, pa.large_string()), more)]


def test_precision_and_recall_by_language() -> None:
    found = told([text for _, _, text in LABELLED])
    counts: dict[str, dict[tuple[str, bool], int]] = defaultdict(lambda: defaultdict(int))
    for (language, label, _), refusal in zip(LABELLED, found, strict=True):
        counts[language][label, refusal] += 1
    assert len(LABELLED) >= 300
    assert counts.keys() == GRAMMARS.keys()
    for language, count in counts.items():
        precision = count["+", True] / (count["+", True] + count["-", True])
        recall = count["+", True] / (count["+", True] + count["+", False])
        assert min(precision, recall) >= 0.9, (language, precision, recall)
        assert min(count["+", True], count["-", False]) >= 9


REASONING = [
    "<think>{}</think>\n\n",
    "<think>\n{}\n</think>",
    "<thinking>{}</thinking> ",
    "<reasoning>{}</reasoning>\n",
    "[THINK]{}[/THINK]",
    "{}\n</think>\n\n",
    "<think>\n\n</think>\n\n",
]


@pytest.mark.parametrize("form", REASONING)
def test_reasoning_before_the_answer_does_not_count(form: str) -> None:
    refusing, helping = form.format("I can't help with this."), form.format("I can help with this.")
    assert told([refusing + ANSWER, helping + ANSWER]) == [False, False]
    assert told([refusing + REFUSAL, helping + REFUSAL]) == [True, True]


def test_reasoning_that_never_ends_is_the_answer() -> None:
    import polars as pl

    texts = ["<think>I can't help", "<b>bold</b>", None, "", "a </think> b"]
    assert answer_text(pl.Series("text", texts)).to_list() == [
        "<think>I can't help",
        "<b>bold</b>",
        None,
        "",
        "b",
    ]


@pytest.mark.parametrize("turn", [{"content": REFUSAL}, {"content": "<think>Harm.</think>" + REFUSAL}, {"content": REFUSAL, "reasoning_content": "Yes."}])  # fmt: skip
def test_both_forms_of_reasoning_are_alike_in_a_corpus(turn: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", **turn}]}]
    report = la.curate(write_jsonl(tmp_path / "rows.jsonl", rows), keep={"safety": 0.0})
    assert report.to_dict()["left_out"] == {"sampled": 1}


@pytest.mark.parametrize(
    "before",
    ["**", "> ", "- ", "## ", "1. ", "🚫 ", "⚠️ ", "<p>", "<div class='x'>", "“", "\u200b", "(Sorry) ", "[Refusal] ", "*sighs* ", "Answer: ",
     "No. ", "Hmm, ", "Well... ", "Thank you for asking, but ", "I'm sorry, but ", "I understand how you feel. However, ", "Nope! "],
)  # fmt: skip
def test_what_stands_before_a_refusal(before: str) -> None:
    assert told([before + REFUSAL, before.replace("I'm sorry, but ", "") + ANSWER]) == [True, False]


def test_apostrophes_and_case_do_not_count() -> None:
    assert told([REFUSAL.upper(), REFUSAL.replace("'", "’"), REFUSAL.replace("'", "&#39;")]) == [True] * 3


def test_a_heading_is_a_sentence() -> None:
    assert told(["## I can't do this\n\nWriting such mails harms people.", "# Sorry\n\nI can help."]) == [
        True,
        False,
    ]


def test_further_openings() -> None:
    assert told(["**Nein danke**, das reicht.", "Nun, nein danke", None], ("NEIN danke",)) == [
        True,
        False,
        False,
    ]
    assert told(["Anything."], ("", "*")) == [False]


def test_empty_and_missing_answers_do_not_refuse() -> None:
    assert told(["", None, " ", "\n", "<", "[", "❤️"]) == [False] * 7
    assert told([]) == []
    assert not is_refusal(None)


@pytest.mark.skipif(not (SHARED / "safety").is_dir(), reason="needs ../shared/safety")
def test_refusals_and_answers_of_others() -> None:
    refusing = [row["completion"] for row in read_jsonl(SHARED / "safety/align_refusals.jsonl")]
    helping = [row["completion"] for row in read_jsonl(SHARED / "safety/align_harmless.jsonl")]
    assert sum(told(refusing)) >= 0.98 * len(refusing)
    assert sum(told(helping)) <= 0.01 * len(helping)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
def test_answers_to_sums_do_not_refuse() -> None:
    rows = read_jsonl(SHARED / "data/gsm8k_train.jsonl")
    assert not any(told([row["answer"] for row in rows] + [row["question"] for row in rows]))
