"""Rows at given places of an epoch's order, read a window at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookahead_data.arrays import Ints, offsets_of, whole_array
from lookahead_data.columns import IGNORED
from lookahead_data.reading.corpus import Corpus, damaged
from lookahead_data.reading.order import Order

Values = npt.NDArray[np.signedinteger]

_PER_TOKEN = {"input_ids", "labels", "position_ids", "loss_mask"}
"""Columns with one value a token."""


@dataclass(frozen=True)
class Rows:
    """Some rows, one after another.

    Attributes:
        ids, labels: shape (tokens,); the labels are aligned with the ids, −100 is ignored.
        positions: the place of each token in its document, from 0, shape (tokens,); None where each row
            is a document.
        bounds: where each row starts among the tokens, and the end, shape (rows + 1,), from 0.
    """

    ids: Values
    labels: Values
    positions: Values | None
    bounds: Ints

    def split(self, size: int) -> Iterator[Rows]:
        """So many rows at a time, at last those that are left. Nothing is copied."""
        for start in range(0, len(self.bounds) - 1, size):
            bounds = self.bounds[start : start + size + 1]
            tokens = slice(bounds[0], bounds[-1])
            positions = None if self.positions is None else self.positions[tokens]
            yield Rows(self.ids[tokens], self.labels[tokens], positions, bounds - bounds[0])


class Reader:
    """Reads rows by their places. It holds the last window that it read, so places should ascend."""

    def __init__(self, corpus: Corpus, order: Order) -> None:
        self._corpus = corpus
        self._order = order
        self._at = -1
        self._window: _Window | None = None

    def read(self, places: Ints) -> Rows:
        """The rows at some places, one at least, in the order of the places.

        Args:
            places: ascending, shape (rows,).

        Raises:
            OutputError: a shard cannot be read, or its columns do not fit together.
        """
        found: dict[str, list[Values]] = {name: [] for name in self._corpus.columns}
        counts: dict[str, list[Ints]] = {name: [] for name in self._corpus.columns}
        windows, firsts = np.unique(self._order.windows_at(places), return_index=True)
        for at, here in zip(windows.tolist(), np.split(places, firsts[1:]), strict=True):
            window = self._load(at)
            for name, (values, sizes) in window.take(here - self._order.span(at)[0]).items():
                found[name].append(values)
                counts[name].append(sizes)
        columns = {name: np.concatenate(pieces) for name, pieces in found.items()}
        return _rows(columns, {name: np.concatenate(pieces) for name, pieces in counts.items()})

    def _load(self, at: int) -> _Window:
        if self._window is None or at != self._at:
            self._window = None  # before the next one is read, else there would be two in memory
            self._window = _Window(self._corpus, self._order, at)
            self._at = at
        return self._window


@dataclass(frozen=True)
class _Lists:
    """A column of lists: its values, and where each row's begin, shape (rows + 1,)."""

    values: Values
    offsets: Ints

    def places(self, rows: Ints) -> tuple[Ints, Ints]:
        """Where the values of some rows stand, shape (values of these rows,), and how many each row has."""
        sizes = self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(sizes)
        return np.repeat(self.offsets[rows] - ends + sizes, sizes) + np.arange(ends[-1]), sizes


class _Window:
    """The rows of a window, as they were read, and the order in which they are given out."""

    def __init__(self, corpus: Corpus, order: Order, at: int) -> None:
        table = corpus.read(order.groups(at))
        self._order = order.rows_of(at)
        self._columns: dict[str, _Lists] = {}
        for name in corpus.columns:
            lists = whole_array(table.column(name))
            table = table.drop_columns(name)  # so that its pieces leave the memory now
            if lists.null_count or lists.flatten().null_count:
                raise damaged(corpus, f"a row has no {name}, or a null among them")
            self._columns[name] = _Lists(lists.flatten().to_numpy(), offsets_of(lists))
        ids = self._columns["input_ids"]
        for name in _PER_TOKEN & set(self._columns):
            if not np.array_equal(self._columns[name].offsets, ids.offsets):
                raise damaged(corpus, f"a row has another number of {name} than of input_ids")
        if not _documents_fit(self._columns, ids.offsets):
            raise damaged(corpus, "the documents of a packed row do not add up to the row")

    def take(self, places: Ints) -> dict[str, tuple[Values, Ints]]:
        """Of each column the values of the rows at some places of the window, and how many each row has."""
        rows = self._order[places]
        tokens, lengths = self._columns["input_ids"].places(rows)
        found = {}
        for name, column in self._columns.items():
            if name in _PER_TOKEN:
                found[name] = column.values[tokens], lengths
            else:
                values, sizes = column.places(rows)
                found[name] = column.values[values], sizes
        return found


def _documents_fit(columns: dict[str, _Lists], bounds: Ints) -> bool:
    if "seq_lengths" in columns:
        told = columns["seq_lengths"]
        ends = np.concatenate([[0], np.cumsum(told.values, dtype=np.int64)])
        return bool((told.values > 0).all()) and np.array_equal(ends[told.offsets], bounds)
    if "seq_start_id" in columns:
        told = columns["seq_start_id"]
        if not np.diff(told.offsets).all():
            return False
        starts = told.values + np.repeat(bounds[:-1], np.diff(told.offsets))
        firsts = starts[told.offsets[:-1]]
        return np.array_equal(firsts, bounds[:-1]) and bool((np.diff(starts, append=bounds[-1]) > 0).all())
    return True


def _rows(columns: dict[str, Values], counts: dict[str, Ints]) -> Rows:
    """Rows of any profile in the one form.

    Args:
        columns: of each its values, those of all rows one after another.
        counts: of each how many values each row has, shape (rows,).
    """
    ids = columns["input_ids"]
    bounds = np.concatenate([[0], np.cumsum(counts["input_ids"])])
    if "labels" in columns:
        labels = columns["labels"]
    else:
        # Megatron's mask tells at each place whether the next token is learned.
        learned = np.zeros(len(ids), np.bool_)
        learned[1:] = columns["loss_mask"][:-1] != 0
        learned[bounds[:-1][np.diff(bounds) > 0]] = False
        labels = np.where(learned, ids, np.int32(IGNORED))
    if "seq_lengths" in columns:
        sizes = columns["seq_lengths"].astype(np.int64)
        starts = np.cumsum(sizes) - sizes
    elif "seq_start_id" in columns:
        starts = columns["seq_start_id"] + np.repeat(bounds[:-1], counts["seq_start_id"])
        sizes = np.diff(starts, append=len(ids))
    else:
        return Rows(ids, labels, columns.get("position_ids"), bounds)
    return Rows(ids, labels, np.arange(len(ids)) - np.repeat(starts, sizes), bounds)
