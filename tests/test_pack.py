"""Packed rows hold every document whole, each once, as best-fit decreasing places them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, read_rows, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.columns import schema
from lookahead_data.errors import SettingsError
from lookahead_data.sink.profiles import PROFILES, documents_of
from lookahead_data.sink.publish import sha256_of
from lookahead_data.stages import pack
from lookahead_data.stages.pack import BestFit, best_fit

Document = tuple[list[int], list[int]]


def obvious(lengths: list[int], capacity: int) -> list[int]:
    """Best-fit decreasing as it is told: how full each row becomes."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [left for left in room if left >= length]
        at = room.index(min(fitting)) if fitting else len(room)
        if not fitting:
            room.append(capacity)
        room[at] -= length
    return sorted(capacity - left for left in room)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n), max_size=60))))
def test_many_at_once_are_placed_as_one_by_one(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    rows = best_fit(np.array(lengths, np.int64), capacity)
    assert sorted(at for row in rows for at in row.tolist()) == list(range(len(lengths)))
    assert sorted(sum(lengths[at] for at in row) for row in rows) == obvious(lengths, capacity)


def batch_of(documents: list[Document]) -> pa.RecordBatch:
    columns = {"input_ids": [ids for ids, _ in documents], "labels": [labels for _, labels in documents]}
    return pa.RecordBatch.from_pydict(columns, schema=schema(("input_ids", "labels")))


def packed(documents: list[Document], capacity: int, cuts: list[int]) -> list[dict[str, Any]]:
    packer = BestFit(capacity)
    rows: list[dict[str, Any]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(documents)], strict=True):
        for batch in packer.add(batch_of(documents[start:stop])):
            rows += batch.to_pylist()
    for batch in packer.flush():
        rows += batch.to_pylist()
    assert packer.account.rows == len(rows)
    assert packer.account.tokens == sum(len(ids) for ids, _ in documents)
    assert packer.account.documents == len(documents)
    assert packer.account.balance == 0
    return rows


def unpacked(rows: list[dict[str, Any]]) -> list[Document]:
    found: list[Document] = []
    for row in rows:
        at = 0
        for length in row["document_lengths"]:
            found.append((row["input_ids"][at : at + length], row["labels"][at : at + length]))
            at += length
        assert at == len(row["input_ids"]) == len(row["labels"])
    return found


DOCUMENT = st.lists(st.integers(0, 99), min_size=1, max_size=25).map(
    lambda ids: (ids, [-100, *(i if i % 3 else -100 for i in ids[1:])])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(DOCUMENT, max_size=40), st.integers(2, 30), st.data())
def test_every_document_comes_out_once_whatever_the_batches(
    documents: list[Document], capacity: int, data: st.DataObject
) -> None:
    window = pack.WINDOW
    pack.WINDOW = 2
    try:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4)))
        rows = packed(documents, capacity, cuts)
        assert rows == packed(documents, capacity, [])
    finally:
        pack.WINDOW = window
    assert all(1 <= len(row["input_ids"]) <= capacity for row in rows)
    # A document longer than a row is cut, and nothing predicts the first token of a piece.
    pieces = [
        (ids[at : at + capacity], [-100, *labels[at + 1 : at + capacity]])
        for ids, labels in documents
        for at in range(0, len(ids), capacity)
    ]
    assert sorted(unpacked(rows)) == sorted(pieces)


@pytest.mark.parametrize("profile", [name for name in PROFILES if PROFILES[name].packed])
def test_a_packed_folder_holds_the_rows_of_an_unpacked_one(profile: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 40)
    options: dict[str, Any] = {"tokenizer": "builtin", "unit_size": 3000}
    flat = la.convert(path, tmp_path / "flat", **options)
    manifest = la.convert(path, tmp_path / "packed", pack=300, profile=profile, **options)
    rows = read_rows(tmp_path / "packed")
    found = sorted(document for row in rows for document in documents_of(row))
    assert found == sorted((row["input_ids"], row["labels"]) for row in read_rows(tmp_path / "flat"))
    assert all(len(row["input_ids"]) <= 300 for row in rows)
    totals = manifest.totals
    assert (totals["packed_rows"], totals["capacity"]) == (len(rows), 300 * len(rows))
    assert totals["packing_efficiency"] == round(totals["tokens"] / totals["capacity"], 4)
    for name in ("read", "written", "tokens", "supervised_tokens", "rows_hash"):
        assert totals[name] == flat.totals[name]
    assert la.verify(tmp_path / "packed", deep=1000).problems == ()
    seen, _ = la.inspect(tmp_path / "packed", rows=1)
    assert len(seen) == len(documents_of(rows[0]))
    assert [list(row.input_ids) for row in seen] == [ids for ids, _ in documents_of(rows[0])]


FLAWS: dict[str, tuple[str, Any, str]] = {
    "documents longer than the row": ("packed-trl", lambda row: row["seq_lengths"].append(1), "where its documents begin"),
    "a document of no tokens": ("packed-trl", lambda row: row["seq_lengths"].append(0), "where its documents begin"),
    "two documents taken for one": ("packed-trl", lambda row: row.update(seq_lengths=[sum(row["seq_lengths"][:2]), *row["seq_lengths"][2:]]), "documents of its shards have"),
    "a document that begins later": ("packed-hf", lambda row: row["position_ids"].__setitem__(0, 1), "where its documents begin"),
    "positions out of order": ("packed-hf", lambda row: row["position_ids"].__setitem__(2, 7), "where its documents begin"),
    "a document's first token supervised": ("packed-trl", lambda row: row["labels"].__setitem__(row["seq_lengths"][0], row["input_ids"][row["seq_lengths"][0]]), "is supervised, which nothing predicts"),
    "a start beyond the row": ("packed-megatron", lambda row: row["seq_start_id"].append(10**6), "where its documents begin"),
    "starts out of order": ("packed-megatron", lambda row: row["seq_start_id"].append(1), "where its documents begin"),
    "a mask that is neither": ("packed-megatron", lambda row: row["loss_mask"].__setitem__(3, 2), "neither 0 nor 1"),
    "a mask that looks across documents": ("packed-megatron", lambda row: row["loss_mask"].__setitem__(row["seq_start_id"][1] - 1, 1), "it predicts nothing"),
    "a mask that is too short": ("packed-megatron", lambda row: row["loss_mask"].pop(), "loss_mask"),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAWS)
def test_flaws_of_packed_rows_are_found(name: str, tmp_path: Path) -> None:
    profile, change, words = FLAWS[name]
    la.convert(PAIRS * 20, tmp_path / "out", tokenizer="builtin", pack=300, profile=profile)
    (shard,) = (tmp_path / "out" / "data").iterdir()
    rows = read_rows(tmp_path / "out")
    change(rows[0])
    pq.write_table(pa.Table.from_pylist(rows, PROFILES[profile].schema), shard)
    # As a clever forger would: every account tells the new size and hash.
    size, digest = shard.stat().st_size, sha256_of(shard)
    for path in [tmp_path / "out" / "manifest.json", *(tmp_path / "out").glob("_job/receipts/*")]:
        document = json.loads(path.read_text())
        document["shards"][0].update(size=size, sha256=digest)
        path.write_text(json.dumps(document))
    problems = la.verify(tmp_path / "out").problems
    assert any(words in problem.what for problem in problems), problems


def test_long_documents_are_dropped_truncated_or_split(tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": "long", "completion": "many words " * 100}]
    totals = {}
    for what in ("drop", "truncate", "split"):
        manifest = la.convert(rows, tmp_path / what, tokenizer="builtin", pack=80, overlength=what)
        totals[what] = manifest.totals
        assert la.verify(tmp_path / what).problems == ()
    assert totals["drop"]["filtered"] == {"overlength": 1}
    assert totals["truncate"]["notes"]["truncated"] == 1
    assert totals["split"]["notes"]["split"] == 1
    whole = la.convert(rows, tmp_path / "flat", tokenizer="builtin").totals
    assert totals["split"]["tokens"] == whole["tokens"] > totals["truncate"]["tokens"]
    # Each piece but the first has a first token that is no longer learned.
    pieces = ds.dataset(tmp_path / "split" / "data").to_table().column("seq_lengths").to_pylist()
    lost = sum(map(len, pieces)) - len(rows)
    assert totals["split"]["supervised_tokens"] == whole["supervised_tokens"] - lost


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "packed-trl"}, "nothing is packed"),
        ({"overlength": "split"}, "nothing is packed"),
        ({"pack": 100, "profile": "sft"}, "cannot tell the documents"),
        ({"pack": 100, "max_length": 101}, "do not fit"),
        ({"pack": 1}, "nothing to learn"),
    ],
)
def test_settings_that_contradict_each_other(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        la.Settings(**options)


def test_little_of_a_row_is_padding(shared: Path, tmp_path: Path) -> None:
    manifest = la.convert(
        shared / "data" / "gsm8k_train.jsonl",
        tmp_path / "out",
        tokenizer=str(shared / "tokenizers" / "qwen3"),
        pack=2048,
    )
    assert manifest.totals["packing_efficiency"] >= 0.98
