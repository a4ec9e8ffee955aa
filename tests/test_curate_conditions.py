"""Rows are chosen one by one, by conditions on what they say and by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curated import ROWS, convert, filtered, talk_of, text
from helpers import conversation, convert_verified, read_rows, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.curation.fields import FIELDS, field_lists, field_texts
from lookahead_data.curation.sampling import chances
from lookahead_data.curation.where import Condition
from lookahead_data.model.tokenizer import load_tokenizer

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
    ["", "nonsense(prompt)", "prompt", "1", "len_words(turns) > 1", "prompt >"],
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


def test_conditions_count_tokens(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "Straße und Weg. " * at} for at in range(1, 30)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    tokenizer = load_tokenizer("builtin")
    fits = [len(tokenizer.encode_ids([row["completion"]])[0]) < 60 for row in rows]
    where = "len_tokens(completion) < 60 and len_tokens(prompt) = 1"
    manifest = convert_verified(source, tmp_path / "out", where=[where])
    assert 0 < manifest.totals["written"] == sum(fits) < len(rows)
    found = la.curate(source, where=[where], tokenizer="builtin")
    assert found.verdicts.column("row").to_pylist() == [at for at, fit in enumerate(fits) if not fit]
    with pytest.raises(la.SettingsError, match="tokenizer"):
        la.curate(source, where=[where])
    with pytest.raises(la.SettingsError, match="names 'answer'"):
        la.curate(source, where=["len_tokens(answer) < 5"], tokenizer="builtin")


def test_conditions_pass_over_safety_unless_told_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "How?", "completion": "I can't."}, {"prompt": "How?", "completion": "So."}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    where = ["len_chars(completion) > 20"]
    convert(source, tmp_path / "exempt", where=where)
    convert(source, tmp_path / "not", where=where, exempt_safety=False)
    assert set(filtered(tmp_path / "exempt")) == {1}
    assert set(filtered(tmp_path / "not")) == {0, 1}


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


@pytest.mark.parametrize("keep", [{"nobody": 1.0}, {"other": 2}, {"other": -0.1}, {"other": "many"}])
def test_what_is_no_rate_is_refused(keep: dict[str, Any]) -> None:
    with pytest.raises(la.SettingsError, match="no rate"):
        la.Settings(keep=keep)
