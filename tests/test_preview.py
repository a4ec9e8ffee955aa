"""What is previewed, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, conversation, read_jsonl, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.config import CONNECTOR, PHRASE
from lookahead_data.errors import OutputError, SettingsError
from lookahead_data.model import heads as heads_module
from lookahead_data.model.engines import TokenizersEngine, choose_engine
from lookahead_data.model.heads import Heads, answer_heads, heads_of
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.stages.preview import preview_turns

ANSWERS = st.text(
    st.one_of(st.sampled_from(list("ab 12é👩‍👧́\n▁'")), st.characters(codec="utf-8", exclude_characters="\0")),
    min_size=1,
    max_size=20,
)
PROPERTY = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def previewed(rows: Any, **changes: Any) -> list[dict[str, Any]]:
    done = la.preview(rows, **({"tokenizer": "builtin"} | changes))
    assert done.report.read == done.report.written + done.report.quarantined.total()
    found: list[dict[str, Any]] = done.rows
    return found


@PROPERTY
@given(answer=ANSWERS, count=st.integers(1, 8))
def test_the_char_cut_is_the_shortest_prefix_that_covers_the_tokens(
    answer: str, count: int, any_tokenizer: LoadedTokenizer
) -> None:
    (head,) = answer_heads([answer], any_tokenizer, count)
    assert answer.startswith(head.text)
    (ids,) = any_tokenizer.encode_ids([answer])
    assert head.tokens == min(len(ids), count)
    assert head.whole == (len(ids) <= count)
    if head.whole:
        assert head.text == answer
        return
    # What the tokens stand for, as bytes; a cut character shows as U+FFFD or a few of them.
    shown = any_tokenizer.decode(ids[:count]).rstrip("\ufffd")
    if "\ufffd" not in shown and "\ufffd" not in answer and not any_tokenizer.sensitive:
        assert head.text.startswith(shown)
        assert len(head.text) - len(shown) <= 1


@PROPERTY
@given(answer=ANSWERS, count=st.integers(1, 8))
def test_both_cuts_agree_where_no_character_is_cut(answer: str, count: int, builtin: LoadedTokenizer) -> None:
    (char,) = answer_heads([answer], builtin, count)
    (reference,) = answer_heads([answer], builtin, count, cut="reference")
    # The reference takes a special token that an answer spells out for one.
    if "\ufffd" not in reference.text and not any(token in answer for token in builtin.special):
        assert char.text == reference.text


def test_a_character_that_is_cut_in_two_stays_whole(builtin: LoadedTokenizer) -> None:
    answer = "𝄞𝄞𝄞"
    assert len(builtin.encode_ids([answer])[0]) == 12
    texts = [answer_heads([answer], builtin, count)[0].text for count in (1, 3, 4, 5, 12)]
    assert texts == ["𝄞", "𝄞", "𝄞", "𝄞𝄞", "𝄞𝄞𝄞"]
    assert answer_heads([answer], builtin, 1, cut="reference")[0].text == "\ufffd"


def test_marks_that_normalization_composes_belong_to_their_letter(tmp_path: Path) -> None:
    document = json.loads(load_tokenizer("builtin")._json)
    document["normalizer"] = {"type": "NFC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(tmp_path))
    assert answer_heads(["e\u0301\u0323x!"], tokenizer, 1)[0].text.startswith("e\u0301")


def test_a_prepended_space_stands_for_no_character(llama_like: Path) -> None:
    tokenizer = load_tokenizer(str(llama_like))
    assert tokenizer.encode(["\nab cd"])[0].tokens[:2] == ["▁", "<0x0A>"]
    assert [answer_heads(["\nab cd"], tokenizer, count)[0].text for count in (1, 2)] == ["", "\n"]


def test_real_and_virtual() -> None:
    rows = [{"prompt": "Q", "completion": "one two three four five six seven eight"}]
    (real,) = previewed(rows, preview_tokens=3)
    assert real["prompt"].startswith("Q" + CONNECTOR + "one")
    assert real["completion"] == rows[0]["completion"]
    assert rows[0]["completion"].startswith(real["prompt"].removeprefix("Q" + CONNECTOR))
    (virtual,) = previewed(rows, mode="virtual", tokenizer=None)
    assert virtual == {"prompt": "Q" + CONNECTOR + PHRASE, "completion": PHRASE + rows[0]["completion"]}
    (own,) = previewed(rows, mode="virtual", phrase="P.", connector="→")
    assert own == {"prompt": "Q→P.", "completion": "P." + rows[0]["completion"]}


def test_short_answers(builtin: LoadedTokenizer) -> None:
    answer = "one two three"
    exact = len(builtin.encode_ids([answer])[0])
    rows = [{"prompt": "Q", "completion": answer}]
    for m in (exact, exact + 1):
        assert previewed(rows, preview_tokens=m)[0]["prompt"] == "Q" + CONNECTOR + answer
        assert previewed(rows, preview_tokens=m, short_answer="skip") == rows
        assert previewed(rows, preview_tokens=m, short_answer="drop") == []
    longer = previewed(rows, preview_tokens=exact - 1, short_answer="drop")
    assert longer[0]["prompt"] != "Q"
    report = la.preview(rows, tokenizer="builtin", preview_tokens=exact).report
    assert (report.whole_answers, report.previewed_tokens) == (1, exact)


def test_which_turns() -> None:
    messages = conversation("q1", "a1", "q2", "a2", system="s")
    assert preview_turns(messages, "last") == [4]
    assert preview_turns(messages, "first") == [2]
    assert preview_turns(messages, "all") == [2, 4]
    assert preview_turns(messages[2:3], "all") == []
    assert preview_turns([*messages, {"role": "assistant", "content": "a3"}], "last") == []
    rows = [{"messages": messages}]
    changed = previewed(rows, preview_turns="all", mode="virtual", phrase="P", connector="→")
    assert [m["content"] for m in changed[0]["messages"]] == ["s", "q1→P", "Pa1", "q2→P", "Pa2"]
    assert [m["content"] for m in rows[0]["messages"]] == ["s", "q1", "a1", "q2", "a2"]


def test_an_answer_without_a_user_before_it_is_left_and_counted() -> None:
    done = la.preview([{"messages": [{"role": "assistant", "content": "hello there"}]}], tokenizer="builtin")
    assert done.rows == [{"messages": [{"role": "assistant", "content": "hello there"}]}]
    assert done.report.notes == {"preview_without_user_message": 1}


SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alpaca with input": (
        {"instruction": "I", "input": "x", "output": "O", "id": 1},
        {"instruction": "I", "input": "x→P", "output": "PO", "id": 1},
    ),
    "alpaca without input": (
        {"instruction": "I", "input": "", "output": "O"},
        {"instruction": "I→P", "input": "", "output": "PO"},
    ),
    "sharegpt": (
        {"system": "s", "conversations": [{"from": "human", "value": "I"}, {"from": "gpt", "value": "O"}]},
        {"system": "s", "conversations": [{"from": "human", "value": "I→P"}, {"from": "gpt", "value": "PO"}]},
    ),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "I"}]}, {"role": "assistant", "content": "O"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "I→P"}]}, {"role": "assistant", "content": "PO"}]},
    ),
    "prompt and completion as messages": (
        {"prompt": conversation("I"), "completion": [{"role": "assistant", "content": "O"}]},
        {"prompt": conversation("I→P"), "completion": [{"role": "assistant", "content": "PO"}]},
    ),
    "a completion before its prompt": ({"answer": "O", "question": "I"}, {"answer": "PO", "question": "I→P"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name: str) -> None:
    row, expected = SHAPES[name]
    (changed,) = previewed([row], mode="virtual", phrase="P", connector="→")
    assert json.dumps(changed, ensure_ascii=False) == json.dumps(expected, ensure_ascii=False)


def test_tables_come_back_as_they_went_in(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "b"], "n": pa.array([1, None], pa.int16()), "completion": ["x", "y"]})
    changed = la.preview(table, mode="virtual", phrase="P", connector="→").rows
    assert changed.schema == table.schema
    assert changed.to_pydict() == {"prompt": ["a→P", "b→P"], "n": [1, None], "completion": ["Px", "Py"]}
    frame = la.preview(pl.from_arrow(table), mode="virtual", phrase="P", connector="→").rows
    assert isinstance(frame, pl.DataFrame)
    assert frame.to_dicts() == changed.to_pylist()
    pq.write_table(table, tmp_path / "in.parquet")
    la.preview(tmp_path / "in.parquet", tmp_path / "out.parquet", mode="virtual", phrase="P", connector="→")
    assert pq.read_table(tmp_path / "out.parquet").equals(changed)


def test_json_rows_of_many_kinds_become_one_parquet_file(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "n": 1}] * 1500 + [
        {"prompt": "a", "completion": "b", "n": 1.5, "x": "y"}
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    la.preview(source, tmp_path / "out.parquet", mode="virtual")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["prompt", "completion", "n", "x"]
    assert table.column("n").to_pylist()[-1] == 1.5
    assert table.column("x").null_count == 1500
    rows[3] = {**rows[3], "n": "text"}
    with pytest.raises(OutputError, match="do not fit one Parquet schema"):
        la.preview(write_jsonl(source, rows), tmp_path / "mixed.parquet", mode="virtual")
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.parquet"}


def test_json_lines_json_and_parquet_hold_the_same(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", PAIRS)
    for ending in ("jsonl", "json", "parquet"):
        la.preview(source, tmp_path / f"out.{ending}", tokenizer="builtin")
    lines = read_jsonl(tmp_path / "out.jsonl")
    assert lines == json.loads((tmp_path / "out.json").read_text())
    assert lines == pq.read_table(tmp_path / "out.parquet").to_pylist()
    la.preview([], tmp_path / "none.json", mode="virtual")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_rows_at_fault_stand_beside_the_file(tmp_path: Path) -> None:
    source = write_jsonl(
        tmp_path / "in.jsonl", [PAIRS[0], {"prompt": "a"}, {"prompt": "a", "completion": "b"}]
    )
    with source.open("ab") as file:
        file.write(b'{"prompt": "a", "completion": "b", "x": "\\ud800"}\nnonsense\n')
    la.preview(source, tmp_path / "out.jsonl", mode="virtual")
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2
    rejects = read_jsonl(tmp_path / "out.jsonl.quarantine.jsonl")
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (2, "missing_field"), (4, "lone_surrogate"), (5, "invalid_json"),
    ]  # fmt: skip
    with pytest.raises(OutputError, match="there already"):
        la.preview(source, tmp_path / "out.jsonl", mode="virtual")
    la.preview(write_jsonl(source, PAIRS), tmp_path / "out.jsonl", mode="virtual", overwrite=True)
    assert not (tmp_path / "out.jsonl.quarantine.jsonl").exists()


def test_no_file_that_nobody_named_is_touched(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl.quarantine.jsonl", PAIRS)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="there already"):
            la.preview(source, tmp_path / "p.jsonl", mode="virtual", overwrite=overwrite)
    assert read_jsonl(source) == PAIRS
    assert not (tmp_path / "p.jsonl").exists()


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", PAIRS)
    with pytest.raises(SettingsError, match="no tokenizer"):
        la.preview(source, tmp_path / "out.jsonl")
    with pytest.raises(SettingsError, match="mode none"):
        la.preview(source, tmp_path / "out.jsonl", mode="none")
    with pytest.raises(SettingsError, match="no format"):
        la.preview(source, tmp_path / "out.txt", mode="virtual")
    with pytest.raises(OutputError, match="one of the inputs"):
        la.preview(source, source, mode="virtual", overwrite=True)
    assert not (tmp_path / "out.jsonl").exists()


LONG = st.lists(
    st.sampled_from(
        [
            *"ab 1é漢👩‍\n\t'",
            " word",
            " another",
            "<|im_end|>",
            "e\u0301",
            "!!",
            " привет",
            "\u3000",
            "\xa0",
            " न",
            "“",
            "…",
        ]
    ),
    max_size=120,
)


@PROPERTY
@given(answers=st.lists(LONG.map("".join), max_size=5), count=st.integers(1, 9))
def test_many_heads_at_once_are_what_they_are_one_by_one(
    answers: list[str], count: int, any_tokenizer: LoadedTokenizer
) -> None:
    engine = TokenizersEngine(any_tokenizer)
    array = pa.array(["before", *answers], pa.large_string()).slice(1)
    heads = heads_of(array, any_tokenizer, engine, count)
    expected = Heads.of(answer_heads(answers, any_tokenizer, count))
    assert heads.texts.to_pylist() == expected.texts.to_pylist()
    assert heads.tokens.tolist() == expected.tokens.tolist()
    assert heads.whole.tolist() == expected.whole.tolist()


def test_real_heads_at_once(shared: Path) -> None:
    rows = read_jsonl(shared / "data" / "gsm8k_test.jsonl")
    answers = [row["answer"] for row in rows[:400]] + [row["question"] * 3 for row in rows[400:600]]
    for name in ("llama3_1", "qwen3"):
        tokenizer = load_tokenizer(str(shared / "tokenizers" / name))
        for count in (1, 6, 40):
            for engine in (TokenizersEngine(tokenizer), choose_engine("auto", tokenizer)):
                heads = heads_of(pa.array(answers, pa.large_string()), tokenizer, engine, count)
                expected = Heads.of(answer_heads(answers, tokenizer, count))
                assert heads.texts.equals(expected.texts)
                assert np.array_equal(heads.tokens, expected.tokens)
                assert np.array_equal(heads.whole, expected.whole)


@pytest.mark.parametrize("most", [0, 1 << 28])
def test_heads_are_the_same_in_32_and_64_bits(
    most: int, builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "IN_32_BITS", most)
    answers = ["", "short", "many words in a long answer " * 40, "漢字かな交じり文 " * 9]
    heads = heads_of(pa.array(answers, pa.large_string()), builtin, TokenizersEngine(builtin), 6)
    assert heads.to_list() == answer_heads(answers, builtin, 6)


@pytest.mark.parametrize(
    ("start", "most"),
    [("", 200), ("many-words-in-a-line-" * 5, 500), ("なんてながいことば" * 20, 1000)],
    ids=["words", "a long word", "an answer without spaces at first"],
)
def test_only_the_head_of_a_long_answer_is_encoded(start: str, most: int, builtin: LoadedTokenizer) -> None:
    class Counting(TokenizersEngine):
        size = 0

        def encode(self, texts: pa.LargeStringArray) -> Any:
            self.size += sum(map(len, texts.to_pylist()))
            return super().encode(texts)

    engine = Counting(builtin)
    answer = start + "many words in a long answer " * 2000  # more than is encoded at once
    heads = heads_of(pa.array([answer], pa.large_string()), builtin, engine, 6)
    assert heads.to_list() == answer_heads([answer], builtin, 6)
    assert 0 < engine.size < most
