"""Packing: several documents in one row of a fixed capacity, so that little of it is padding.

Best-fit decreasing: the longest document first, each into the fullest row that still has room for
it (Johnson, 1973; for language models Ding et al., arXiv 2404.10830). It runs over a window of
documents inside a unit, and the window ends by the count of tokens alone, so that the result does
not depend on batches or workers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import Ints, lists_of, offsets_of
from lookahead_data.columns import IGNORED, schema

WINDOW = 256
"""Rows' worth of tokens that are packed together. More of them are hardly packed better."""

PACKED = ("input_ids", "labels", "document_lengths")


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


@dataclass
class Packing:
    """What became of the documents.

    Attributes:
        documents, rows: how many went in and came out.
        tokens, supervised_tokens: of them all.
    """

    documents: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0


class Packer:
    """Packs the rows of one unit as they come.

    A document longer than a row is cut into pieces, each a document of its own: what is not to be
    cut has to be dropped or truncated before (`stages.fit`).
    """

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: tokens of a row.
        """
        self.account = Packing()
        self.capacity = capacity
        self._waiting: list[pa.RecordBatch] = []
        self._tokens = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take documents (with `input_ids` and `labels`), and give rows of windows that are full."""
        documents = _cut(batch.select(["input_ids", "labels"]), self.capacity)
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
        """The rows of what is left."""
        waiting, self._waiting, self._tokens = self._waiting, [], 0
        if waiting:
            yield self._packed(pa.Table.from_batches(waiting).combine_chunks().to_batches()[0])

    def _packed(self, documents: pa.RecordBatch) -> pa.RecordBatch:
        ids = documents.column("input_ids")
        lengths = ids.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        rows = best_fit(lengths, self.capacity)
        order = np.concatenate(rows)
        counts = np.array([len(row) for row in rows], np.int64)
        of_rows = np.concatenate([[0], np.cumsum(counts)])
        documents = documents.take(pa.array(order))
        starts = offsets_of(documents.column("input_ids"))
        labels = documents.column("labels").flatten().to_numpy().copy()
        # Nothing before it in its own document predicts a first token.
        labels[starts[:-1]] = IGNORED
        self.account.documents += len(lengths)
        self.account.rows += len(rows)
        self.account.tokens += int(starts[-1])
        self.account.supervised_tokens += int(np.count_nonzero(labels != IGNORED))
        return pa.RecordBatch.from_arrays(
            [
                lists_of(starts[of_rows], documents.column("input_ids").flatten()),
                lists_of(starts[of_rows], pa.array(labels)),
                lists_of(of_rows, pa.array(lengths[order], pa.int32())),
            ],
            schema=schema(PACKED),
        )


def _cut(documents: pa.RecordBatch, capacity: int) -> pa.RecordBatch:
    """The documents, those longer than the capacity in pieces."""
    starts = offsets_of(documents.column("input_ids"))
    pieces = np.maximum(-(-np.diff(starts) // capacity), 0)
    if not len(pieces) or pieces.max() <= 1:
        return documents
    first = np.concatenate([[0], np.cumsum(pieces)])
    places = np.arange(first[-1]) - np.repeat(first[:-1], pieces)
    bounds = np.append(np.repeat(starts[:-1], pieces) + places * capacity, starts[-1])
    columns = [lists_of(bounds, documents.column(name).flatten()) for name in documents.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=documents.schema.names)
