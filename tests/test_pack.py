"""Packed rows hold every document whole, each once, as best-fit decreasing places them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from helpers import PAIRS, read_rows, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.columns import schema
from lookahead_data.errors import SettingsError
from lookahead_data.stages import pack
from lookahead_data.stages.pack import Packer, best_fit

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
    packer = Packer(capacity)
    rows: list[dict[str, Any]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(documents)], strict=True):
        for batch in packer.add(batch_of(documents[start:stop])):
            rows += batch.to_pylist()
    for batch in packer.flush():
        rows += batch.to_pylist()
    assert packer.account.rows == len(rows)
    assert packer.account.tokens == sum(len(ids) for ids, _ in documents)
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


PROFILES = ("packed-trl", "packed-hf", "packed-megatron")


def documents_in(row: dict[str, Any]) -> list[Document]:
    """The documents of a packed row of any profile, with their labels."""
    ids = row["input_ids"]
    if "seq_lengths" in row:
        starts = np.cumsum([0, *row["seq_lengths"]])[:-1].tolist()
    elif "position_ids" in row:
        starts = [at for at, position in enumerate(row["position_ids"]) if position == 0]
        assert row["position_ids"] == [at - max(s for s in starts if s <= at) for at in range(len(ids))]
    else:
        starts = row["seq_start_id"]
    labels = row.get("labels")
    if labels is None:
        labels = [-100, *(i if mask else -100 for i, mask in zip(ids[1:], row["loss_mask"], strict=False))]
        assert row["loss_mask"][-1] == 0
    return [(ids[a:b], labels[a:b]) for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_packed_folder_holds_the_rows_of_an_unpacked_one(profile: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 40)
    options: dict[str, Any] = {"tokenizer": "builtin", "unit_size": 3000}
    flat = la.convert(path, tmp_path / "flat", **options)
    manifest = la.convert(path, tmp_path / "packed", pack=300, profile=profile, **options)
    rows = read_rows(tmp_path / "packed")
    found = sorted(document for row in rows for document in documents_in(row))
    assert found == sorted((row["input_ids"], row["labels"]) for row in read_rows(tmp_path / "flat"))
    assert all(len(row["input_ids"]) <= 300 for row in rows)
    totals = manifest.totals
    assert (totals["packed_rows"], totals["capacity"]) == (len(rows), 300 * len(rows))
    assert totals["packing_efficiency"] == round(totals["tokens"] / totals["capacity"], 4)
    for name in ("read", "written", "tokens", "supervised_tokens", "rows_hash"):
        assert totals[name] == flat.totals[name]
    assert la.verify(tmp_path / "packed", deep=1000).problems == ()


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
