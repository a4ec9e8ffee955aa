"""Documents are cut into blocks and filled up as the obvious way does it, and nothing is lost or doubled unseen."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pytest
from helpers import Document, obvious_blocks
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookahead_data.batches import Packing, Reject
from lookahead_data.columns import schema
from lookahead_data.errors import OutputError
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink.counts import Counts
from lookahead_data.stages import pack
from lookahead_data.stages.pack import BestFit, Concat, Packer

PAD = 777


def batch_of(documents: list[Document], first: int = 0) -> pa.RecordBatch:
    rows = range(first, first + len(documents))
    columns = {
        "row": list(rows),
        "offset": [None] * len(documents),
        "input_ids": [ids for ids, _ in documents],
        "labels": [labels for _, labels in documents],
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema(tuple(columns)))


def run(packer: Packer, documents: list[Document], cuts: list[int]) -> list[dict[str, Any]]:
    """The rows that a packer makes of documents that come in several batches."""
    rows: list[dict[str, Any]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(documents)], strict=True):
        for batch in packer.add(batch_of(documents[start:stop], start)):
            rows += batch.to_pylist()
    for batch in packer.flush():
        rows += batch.to_pylist()
    return rows


def pieces_of(row: dict[str, Any]) -> list[Document]:
    """The documents of a row of `Packer`."""
    ends = list(accumulate(row["document_lengths"]))
    assert ends[-1] == len(row["input_ids"]) == len(row["labels"])
    return [
        (row["input_ids"][end - length : end], row["labels"][end - length : end])
        for end, length in zip(ends, row["document_lengths"], strict=True)
    ]


def padded(blocks: list[list[Document]], capacity: int) -> list[list[Document]]:
    missing = [capacity - sum(len(ids) for ids, _ in block) for block in blocks]
    return [
        [*block, ([PAD] * count, [-100] * count)] if count else block
        for block, count in zip(blocks, missing, strict=True)
    ]


def tally(packer: Packer, blocks: list[list[Document]]) -> None:
    """Hold a packer's account against what it made, padding left out."""
    account = packer.account
    labels = [[label for _, labels in block for label in labels] for block in blocks]
    assert account.rows == len(blocks)
    assert account.tokens == sum(map(len, labels))
    assert account.supervised_tokens == sum(label != -100 for row in labels for label in row)
    assert account.rows_not_learned == sum(set(row) == {-100} for row in labels)
    assert account.balance == 0


LEARNED = st.lists(st.integers(0, 99), min_size=1, max_size=25).map(lambda ids: (ids, [-100, *ids[1:]]))
DOCUMENTS = st.lists(LEARNED, max_size=30)
LIMITS = st.none() | st.integers(1, 30)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(2, 12), LIMITS, st.sampled_from(("keep", "drop", "pad")), st.data())
def test_blocks_are_cut_as_token_by_token(
    documents: list[Document], capacity: int, limit: int | None, tail: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4)))
    packer = Concat(capacity, limit=limit, pad_id=PAD if tail == "pad" else None, drop=tail == "drop")
    rows = [pieces_of(row) for row in run(packer, documents, cuts)]
    blocks = obvious_blocks(documents, capacity, limit)
    sizes = [sum(len(ids) for ids, _ in block) for block in blocks]
    assert all(size == capacity for size in sizes[:-1])
    stream = [token for ids, _ in documents for token in ids]
    assert [token for block in blocks for ids, _ in block for token in ids] == stream
    if tail == "drop" and sizes and sizes[-1] < capacity:
        lost = sum(len(ids) for ids, _ in blocks.pop())
        ends = list(accumulate(len(ids) for ids, _ in documents))
        gone = [row for row, end in enumerate(ends) if end - len(documents[row][0]) >= len(stream) - lost]
        left_out = packer.account.left_out
        assert {reject.row: tokens for reject, tokens in left_out.items()} == {
            row: len(documents[row][0]) for row in gone
        }
        assert (packer.account.dropped_rows, packer.account.dropped_tokens) == (1, lost)
    else:
        assert not packer.account.dropped_tokens and not packer.account.left_out
    assert packer.account.documents == len(documents)
    tally(packer, blocks)
    whole = padded(blocks, capacity) if tail == "pad" else blocks
    assert rows == whole
    assert packer.account.pad_tokens == (sum(capacity - size for size in sizes) if tail == "pad" else 0)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(2, 12), LIMITS, st.booleans(), st.data())
@example([([1, 2, 3], [-100, 2, 3])], 2, None, False, None)
def test_best_fit_keeps_every_piece_and_fills_up(
    documents: list[Document], capacity: int, limit: int | None, pad: bool, data: st.DataObject | None
) -> None:
    window = pack.WINDOW
    pack.WINDOW = 2
    try:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4))) if data else []
        packer = BestFit(capacity, limit=limit, pad_id=PAD if pad else None)
        rows = [pieces_of(row) for row in run(packer, documents, cuts)]
        again = BestFit(capacity, limit=limit, pad_id=PAD if pad else None)
        assert [pieces_of(row) for row in run(again, documents, [])] == rows
    finally:
        pack.WINDOW = window
    if pad:
        assert {sum(len(ids) for ids, _ in row) for row in rows} <= {capacity}
        padding = [row[-1] for row in rows if row[-1][0][0] == PAD]
        assert packer.account.pad_tokens == sum(len(ids) for ids, _ in padding)
        assert all(set(ids) == {PAD} and set(labels) == {-100} for ids, labels in padding)
        rows = [row[:-1] if row[-1][0][0] == PAD else row for row in rows]
    size = min(limit or capacity, capacity)
    pieces = [
        (ids[at : at + size], [-100, *labels[at + 1 : at + size]])
        for ids, labels in documents
        for at in range(0, len(ids), size)
    ]
    assert sorted(piece for row in rows for piece in row) == sorted(pieces)
    tally(packer, rows)


# Accounts that do not agree


def account(**changes: int) -> Packing:
    return Packing(**({"capacity": 10, "documents": 3, "tokens": 12, "rows": 2} | changes))


def counts() -> Counts:
    rows = hash_rows([0, 1, 2], 0)
    return Counts(read=3, written=3, tokens=12, lengths=Counter({4: 3}), rows_hash=RowsHash(rows, rows, 0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"documents": 2}, "packed 2 of 3 documents"),
        ({"tokens": 11}, "packed 11 of 12 tokens"),
        ({"dropped_tokens": 1}, "packed 13 of 12 tokens"),
        ({"balance": 5}, "not the same ones"),
    ],
)
def test_what_packing_loses_or_doubles_ends_the_job(changes: dict[str, int], words: str) -> None:
    with pytest.raises(OutputError, match=words):
        counts().take_packing(account(**changes), 0)


def test_what_a_tail_leaves_out_moves_in_the_account() -> None:
    taken = counts()
    packed = account(tokens=8, rows=1, dropped_tokens=4, dropped_rows=1)
    packed.left_out = {Reject(2, None, "tail", "", outcome="filtered"): 4}
    taken.take_packing(packed, 0)
    taken.check("here")
    assert (taken.read, taken.written, taken.filtered) == (3, 2, {"tail": 1})
    assert (taken.tokens, taken.dropped_tokens, taken.lengths) == (8, 4, {4: 2})
    assert Counts.from_document(taken.document()) == taken
