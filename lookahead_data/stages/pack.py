"""Packing: several documents in one row of a fixed capacity, so that little of it is padding.

Best-fit decreasing: the longest document first, each into the fullest row that still has room for
it (Johnson, 1973; for language models Ding et al., arXiv 2404.10830). It runs over a window of
documents inside a unit, and the window ends by the count of tokens alone, so that the result does
not depend on batches or workers.

Concatenation: the documents of a unit one after the other, cut every so many tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, lists_of, offsets_of
from lookahead_data.batches import Packing, Reject
from lookahead_data.columns import IGNORED, schema
from lookahead_data.config import Settings

WINDOW = 256
"""Rows' worth of tokens that are packed together. More of them are hardly packed better."""

PACKED = ("input_ids", "labels", "document_lengths")

_CARRIED = ("input_ids", "labels", "weights")

Tokens = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Values = TypeVar("Values", Tokens, Weights)


def best_fit(lengths: Ints, capacity: int) -> list[Ints]:
    """Which documents share a row, by best-fit decreasing.

    Documents of one length are placed together, which gives what placing them one by one does: of
    rows with equal room the fullest takes as many as fit before the next one is touched.

    Args:
        lengths: of the documents, each at least 1 and at most `capacity`, shape (documents,).

    Returns:
        For each row its documents, in the order in which they were placed: the longest first.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    rows: list[list[Ints]] = []
    room: dict[int, list[int]] = {}  # rows by what room they have left
    rooms: list[int] = []  # the keys of it, ascending
    starts = np.flatnonzero(np.diff(ordered, prepend=0))
    for start, stop in pairwise([*starts.tolist(), len(ordered)]):
        length = int(ordered[start])
        at = start
        while at < stop:
            found = bisect_left(rooms, length)
            if found < len(rooms):
                left = rooms[found]
                row = room[left].pop()
                if not room[left]:
                    del room[left], rooms[found]
            else:
                left, row = capacity, len(rows)
                rows.append([])
            count = min(left // length, stop - at)
            rows[row].append(order[at : at + count])
            at += count
            rest = left - count * length
            if rest:
                if rest not in room:
                    room[rest] = []
                    insort(rooms, rest)
                room[rest].append(row)
    return [np.concatenate(parts) for parts in rows]


class Packer(ABC):
    """Packs the rows of one unit as they come.

    A document that is cut, for being longer than it may be or where a row ends, goes on as a document
    of its own. The first token of every document of a row is context: nothing before it in its own
    document predicts it.

    Attributes:
        capacity: tokens of a row.
        account: what became of the documents so far; it is complete when `flush` was run through.
    """

    def __init__(self, capacity: int, *, limit: int | None = None, pad_id: int | None = None) -> None:
        """
        Args:
            limit: the most tokens of a document; a longer one is cut into pieces. What is not to be cut
                has to be dropped or truncated before (`stages.fit`).
            pad_id: fills up rows that are not full, as a last document that is not learned. None leaves
                them shorter.
        """
        self.capacity = capacity
        self.account = Packing(capacity)
        self._limit = limit
        self._pad_id = pad_id

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take documents (with `row`, `offset`, `input_ids`, `labels`, and maybe `weights`), and give the rows
        that are done, with the columns `PACKED`, and `weights` if documents have them."""
        if batch.num_rows:
            self.account.documents += batch.num_rows
            self.account.balance += int(batch.column("input_ids").flatten().to_numpy().sum(dtype=np.int64))
            yield from self._add(batch)

    @abstractmethod
    def _add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]: ...

    @abstractmethod
    def flush(self) -> Iterator[pa.RecordBatch]:
        """The rows of what is left."""

    def _rows(
        self, ids: Tokens, labels: Tokens, starts: Ints, of_rows: Ints, weights: Weights | None = None
    ) -> pa.RecordBatch:
        """Rows of documents that stand in order, and their account.

        Args:
            ids, labels, weights: of all documents, shape (tokens,). All but the ids are written to.
            starts: where each document starts, and the end: shape (documents + 1,).
            of_rows: which documents are the first of each row, and their number: shape (rows + 1,).
        """
        labels[starts[:-1]] = IGNORED
        if weights is not None:
            weights[starts[:-1]] = 0
        learned = labels != IGNORED
        bounds = starts[of_rows]
        account = self.account
        account.rows += len(of_rows) - 1
        account.tokens += len(ids)
        account.balance -= int(ids.sum(dtype=np.int64))
        account.supervised_tokens += int(np.count_nonzero(learned))
        account.rows_not_learned += int(np.count_nonzero(~np.logical_or.reduceat(learned, bounds[:-1])))
        lengths = np.diff(starts)
        missing = self.capacity - np.diff(bounds)
        if self._pad_id is not None and missing.any():
            account.pad_tokens += int(missing.sum())
            filled = np.arange(self.capacity) < (self.capacity - missing)[:, None]
            ids, labels = _spread(ids, filled, self._pad_id), _spread(labels, filled, IGNORED)
            weights = None if weights is None else _spread(weights, filled, 0)
            bounds = np.arange(len(of_rows)) * self.capacity
            short = missing > 0
            lengths = np.insert(lengths, of_rows[1:][short], missing[short])
            of_rows = of_rows + np.concatenate([[0], np.cumsum(short)])
        columns = [
            lists_of(bounds, pa.array(ids)),
            lists_of(bounds, pa.array(labels)),
            lists_of(of_rows, pa.array(lengths, pa.int32())),
        ]
        if weights is None:
            return pa.RecordBatch.from_arrays(columns, schema=schema(PACKED))
        columns.append(lists_of(bounds, pa.array(weights)))
        return pa.RecordBatch.from_arrays(columns, schema=schema((*PACKED, "weights")))


class BestFit(Packer):
    """Packs documents whole, by best-fit decreasing over a window of them."""

    def __init__(self, capacity: int, *, limit: int | None = None, pad_id: int | None = None) -> None:
        super().__init__(capacity, limit=min(limit or capacity, capacity), pad_id=pad_id)
        self._waiting: list[pa.RecordBatch] = []
        self._tokens = 0

    def _add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        names = [name for name in _CARRIED if name in batch.schema.names]
        documents = _cut(batch.select(names), self._limit)
        ends = np.cumsum(documents.column("input_ids").value_lengths().to_numpy(zero_copy_only=False))
        start = 0
        while start < len(ends):
            # The document that fills the window is its last one, whatever batch it came in.
            before = int(ends[start - 1]) if start else 0
            missing = WINDOW * self.capacity - self._tokens
            stop = int(np.searchsorted(ends, before + missing)) + 1
            if stop > len(ends):
                self._waiting.append(documents.slice(start))
                self._tokens += int(ends[-1]) - before
                return
            self._waiting.append(documents.slice(start, stop - start))
            yield from self.flush()
            start = stop

    def flush(self) -> Iterator[pa.RecordBatch]:
        waiting, self._waiting, self._tokens = self._waiting, [], 0
        if waiting:
            yield self._packed(pa.Table.from_batches(waiting).combine_chunks().to_batches()[0])

    def _packed(self, documents: pa.RecordBatch) -> pa.RecordBatch:
        lengths = (
            documents.column("input_ids").value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        )
        rows = best_fit(lengths, self.capacity)
        order = pa.array(np.concatenate(rows))
        documents = documents.take(order)
        ids, *others = (column.flatten().to_numpy() for column in documents.columns)
        labels, *weights = (values.copy() for values in others)
        of_rows = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        return self._rows(ids, labels, offsets_of(documents.column("input_ids")), of_rows, *weights)


class Concat(Packer):
    """Puts documents one after the other and cuts them wherever a row is full."""

    def __init__(
        self, capacity: int, *, limit: int | None = None, pad_id: int | None = None, drop: bool = False
    ) -> None:
        """
        Args:
            drop: leave out the last row if it is not full.
        """
        super().__init__(capacity, limit=limit, pad_id=pad_id)
        self._drop = drop
        # The tokens of the row that is not full yet, and where in it documents start.
        self._ids = self._labels = np.zeros(0, np.int32)
        self._starts = np.zeros(0, np.int64)
        # The documents of which no token is in a row that is full; of those that were cut as one.
        self._begun: list[Reject] = []
        self._lengths: list[int] = []

    def _add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        column = batch.column("input_ids")
        before = len(self._ids)
        ids = np.concatenate([self._ids, column.flatten().to_numpy()])
        labels = np.concatenate([self._labels, batch.column("labels").flatten().to_numpy()])
        whole = offsets_of(column) + before
        starts = np.concatenate([self._starts, _pieces(whole, self._limit)[:-1]])
        full = len(ids) // self.capacity * self.capacity
        if self._drop:
            self._note_begun(batch, whole, full)
        self._ids, self._labels = ids[full:], labels[full:]
        self._starts = np.union1d([0], starts[starts >= full] - full)  # 0: the rest of a document is one
        if full:
            borders = np.arange(0, full + 1, self.capacity)
            bounds = np.union1d(starts[starts < full], borders)
            yield self._rows(ids[:full], labels[:full], bounds, np.searchsorted(bounds, borders))

    def flush(self) -> Iterator[pa.RecordBatch]:
        ids, labels, starts = self._ids, self._labels, self._starts
        self._ids = self._labels = ids[:0]
        if not len(ids):
            return
        if self._drop:
            self.account.dropped_rows += 1
            self.account.dropped_tokens += len(ids)
            self.account.balance -= int(ids.sum(dtype=np.int64))
            self.account.left_out = dict(zip(self._begun, self._lengths, strict=True))
            return
        yield self._rows(ids, labels, np.append(starts, len(ids)), np.array([0, len(starts)]))

    def _note_begun(self, batch: pa.RecordBatch, whole: Ints, full: int) -> None:
        """Remember the documents that begin behind the last full row."""
        if full:
            self._begun, self._lengths = [], []
        first = int(np.searchsorted(whole[:-1], full))
        message = "all its tokens are in the last row of the unit, which is not full"
        places = batch.select(["row", "offset"]).slice(first).to_pylist()
        self._begun += [
            Reject(place["row"], place["offset"], "tail", message, outcome="filtered") for place in places
        ]
        self._lengths += np.diff(whole[first:]).tolist()


def packer_for(settings: Settings, pad_id: int | None) -> Packer | None:
    """What packs the rows of a unit as the settings say; None packs nothing.

    Args:
        pad_id: of the model; None fills nothing up.
    """
    if settings.pack is None:
        return None
    limit = settings.document_limit if settings.overlength == "split" else None
    if settings.packing == "concat":
        return Concat(settings.pack, limit=limit, pad_id=pad_id, drop=settings.tail == "drop")
    return BestFit(settings.pack, limit=limit, pad_id=pad_id)


def _spread(values: Values, filled: npt.NDArray[np.bool_], filler: int) -> Values:
    """The values where `filled` is true, in order, and the filler elsewhere: shape (rows * capacity,)."""
    spread = np.full(filled.shape, filler, values.dtype)
    spread[filled] = values
    return spread.ravel()


def _pieces(starts: Ints, limit: int | None) -> Ints:
    """The bounds of documents, given theirs, when those of more than `limit` tokens are cut: each piece
    but the last of a document has so many."""
    if limit is None:
        return starts
    pieces = -(-np.diff(starts) // limit)
    if not len(pieces) or pieces.max() <= 1:
        return starts
    first = np.concatenate([[0], np.cumsum(pieces)])
    places = np.arange(first[-1]) - np.repeat(first[:-1], pieces)
    return np.append(np.repeat(starts[:-1], pieces) + places * limit, starts[-1])


def _cut(documents: pa.RecordBatch, limit: int | None) -> pa.RecordBatch:
    """The documents, those longer than the limit in pieces."""
    starts = offsets_of(documents.column("input_ids"))
    bounds = _pieces(starts, limit)
    if bounds is starts:
        return documents
    columns = [lists_of(bounds, documents.column(name).flatten()) for name in documents.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=documents.schema.names)
