"""Equality with other people's code, on real text and real tokenizers, through the public functions.

What each golden is, and where we differ on purpose, stands in the fidelity notes beside them: labels
leave out the white space after the end-of-turn token, and ids may differ where an assistant message
begins with white space.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import read_jsonl, read_rows

import lookahead_data as la
from lookahead_data.config import Settings
from lookahead_data.model.load import load_model
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

TOKENIZERS = ("llama2", "llama3_1", "qwen3")
LENGTHS = (1, 3, 6, 12)
CELLS = 89_676


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["reference", "char"])
def test_the_preview_of_every_answer(cut: str, shared: Path) -> None:
    corpus = shared / "data" / "gsm8k_train.jsonl"
    questions = [row["question"] for row in read_jsonl(corpus)]
    golden = pq.read_table(shared / "golden" / "preview_gsm8k_train.parquet")
    compared = 0
    for tokenizer in TOKENIZERS:
        for m in LENGTHS:
            done = la.preview(
                corpus,
                tokenizer=str(shared / "tokenizers" / tokenizer),
                preview_tokens=m,
                connector="",
                cut=cut,
            )
            cells = golden.column(f"{tokenizer}_m{m}").to_pylist()
            for question, cell, row in zip(questions, cells, done.rows, strict=True):
                if cut == "reference" or "\ufffd" not in cell:
                    assert row["question"] == question + cell
                    compared += 1
    assert compared == CELLS if cut == "reference" else 0 < compared <= CELLS


@pytest.mark.parametrize("tokenizer", ["llama3_1", "qwen3"])
@pytest.mark.parametrize("variant", ["vanilla", "real6", "virtual"])
def test_ids_and_labels_of_gsm8k(tokenizer: str, variant: str, shared: Path, tmp_path: Path) -> None:
    golden = pq.read_table(shared / "golden" / f"tokens_gsm8k_{tokenizer}_{variant}.parquet").to_pylist()
    rows = read_jsonl(shared / "data" / "gsm8k_train.jsonl")[: len(golden)]
    mode = {"vanilla": "none", "real6": "real", "virtual": "virtual"}[variant]
    loaded = load_tokenizer(str(shared / "tokenizers" / tokenizer))
    la.convert(rows, tmp_path / "out", tokenizer=loaded.name, mode=mode)
    written = read_rows(tmp_path / "out")
    assert len(written) == len(golden)
    for row, expected in zip(written, golden, strict=True):
        assert row["input_ids"] == expected["input_ids"]
        assert row["attention_mask"] == [1] * len(row["input_ids"])
        assert_same_labels(row["labels"], expected["labels"], row["input_ids"], loaded)


@pytest.mark.parametrize(
    ("name", "tokenizer", "template"),
    [
        ("chat_llama3_1", "llama3_1", None),
        ("chat_qwen3", "qwen3", None),
        ("chat_llama3_training", "llama3_1", "llama3_training.jinja"),
        ("chat_qwen2_5_training", "qwen3", "qwen2_5_training.jinja"),
    ],
)
def test_awkward_conversations(
    name: str, tokenizer: str, template: str | None, shared: Path, tmp_path: Path
) -> None:
    golden = pq.read_table(shared / "golden" / f"{name}.parquet").to_pylist()
    corpus = shared / "golden" / "conversations.jsonl"
    loaded = load_tokenizer(str(shared / "tokenizers" / tokenizer))
    chosen = str(shared / "golden" / "templates" / template) if template else "auto"
    rendering = load_model(
        Settings(tokenizer=loaded.name, chat_template=chosen), frozenset({"messages"})
    ).template
    assert rendering
    la.convert(corpus, tmp_path / "out", tokenizer=loaded.name, mode="none", chat_template=chosen)
    written = read_rows(tmp_path / "out")
    for row, expected, source in zip(written, golden, read_jsonl(corpus), strict=True):
        assert expected["error"] is None
        # Qwen's tokenizer normalizes to NFC, so its ids cannot tell what the text was before.
        written_text = unicodedata.normalize("NFC", loaded.decode(row["input_ids"]))
        assert written_text == unicodedata.normalize("NFC", expected["rendered"])
        assert rendering.render(source["messages"]) == expected["rendered"]
        answers = [m["content"] for m in source["messages"] if m["role"] == "assistant"]
        if any(answer[:1].isspace() for answer in answers):
            continue
        assert row["input_ids"] == expected["input_ids"]
        if expected["assistant_mask"]:
            ids, mask = row["input_ids"], expected["assistant_mask"]
            labels = [token if flag else -100 for token, flag in zip(ids, mask, strict=True)]
            assert_same_labels(row["labels"], labels, ids, loaded)


def assert_same_labels(
    mine: list[int], theirs: list[int], ids: list[int], tokenizer: LoadedTokenizer
) -> None:
    """Equal, but for white space right after an end-of-turn token, which they supervise."""
    for at, (left, right) in enumerate(zip(mine, theirs, strict=True)):
        if left != right:
            assert left == -100
            assert tokenizer.decode([ids[at]]).isspace()
            assert mine[at - 1] != -100
            assert tokenizer.decode([ids[at - 1]]) in tokenizer.special


def test_the_authors_script_is_replaced(shared: Path, tmp_path: Path) -> None:
    """`preview --format jsonl` gives its objects: same fields, same order, other fields untouched."""
    corpus = shared / "data" / "gsm8k_train.jsonl"
    rows = read_jsonl(corpus)[:300]
    rows = [{"id": at, "score": at / 7, **row, "tags": ["a", {"b": None}]} for at, row in enumerate(rows)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    golden = pq.read_table(shared / "golden" / "preview_gsm8k_train.parquet").column("llama2_m6").to_pylist()
    connector = " The answer begins with: "
    la.preview(
        source, tmp_path / "out.jsonl", tokenizer=str(shared / "tokenizers" / "llama2"), cut="reference"
    )
    for row, done, cell in zip(rows, read_jsonl(tmp_path / "out.jsonl"), golden, strict=False):
        assert list(done.items()) == list((row | {"question": row["question"] + connector + cell}).items())
    la.preview(source, tmp_path / "virtual.json", mode="virtual")
    phrase = "Let's solve this problem. "
    for row, done in zip(rows, json.loads((tmp_path / "virtual.json").read_text()), strict=True):
        changed = {"question": row["question"] + connector + phrase, "answer": phrase + row["answer"]}
        assert list(done.items()) == list((row | changed).items())
