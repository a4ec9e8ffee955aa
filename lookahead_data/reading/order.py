"""The order in which an epoch reads the rows of a corpus.

The row groups are put in a random order, and cut into windows of so many tokens as a process may hold
in memory; the rows of a window are put in a random order too. So a place in the order tells its row
without those before it, and the order depends neither on ranks nor on workers.

Random orders are sorted hashes rather than NumPy's: those may change from release to release, and a
position saved under one must be good under the next.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from lookahead_data.arrays import Ints
from lookahead_data.rowhash import mixed


@dataclass(frozen=True)
class Shuffle:
    """What an epoch's order depends on, beside the corpus.

    Attributes:
        seed, epoch: of the random order.
        shuffle: False reads the rows as they stand in the shards.
        buffer_tokens: the most tokens of a window; a larger row group is one by itself.
    """

    seed: int
    epoch: int
    shuffle: bool
    buffer_tokens: int

    def to_dict(self) -> dict[str, int | bool]:
        return asdict(self)


class Order:
    """An epoch's order of all rows.

    Attributes:
        rows: how many there are.
        windows: how many windows.
    """

    def __init__(self, rows: Ints, tokens: Ints, shuffle: Shuffle) -> None:
        """
        Args:
            rows, tokens: of each row group, shape (groups,).
        """
        self._shuffle = shuffle
        self._key = _mix(_mix(shuffle.seed) ^ shuffle.epoch)
        groups = np.arange(len(rows))
        self._groups = _shuffled(len(rows), self._key) if shuffle.shuffle else groups
        if shuffle.shuffle:
            self._ends = _window_ends(tokens[self._groups], shuffle.buffer_tokens)
        else:
            self._ends = groups + 1
        before = np.concatenate([[0], np.cumsum(rows[self._groups], dtype=np.int64)])
        self._starts: Ints = before[np.concatenate([[0], self._ends])]
        self.rows = int(before[-1])
        self.windows = len(self._ends)

    def windows_at(self, places: Ints) -> Ints:
        """The windows that hold some places, of the same shape."""
        found: Ints = np.searchsorted(self._starts, places, side="right") - 1
        return found

    def span(self, window: int) -> tuple[int, int]:
        """The places of a window, from the first to before the second number."""
        return int(self._starts[window]), int(self._starts[window + 1])

    def groups(self, window: int) -> Ints:
        """The row groups of a window, in the order in which `rows_of` counts their rows."""
        start = int(self._ends[window - 1]) if window else 0
        return self._groups[start : int(self._ends[window])]

    def rows_of(self, window: int) -> Ints:
        """The rows of a window in the order in which they are read, each counted from the window's first."""
        start, stop = self.span(window)
        if not self._shuffle.shuffle:
            return np.arange(stop - start)
        return _shuffled(stop - start, _mix(self._key ^ (window + 1)))


def _window_ends(tokens: Ints, limit: int) -> Ints:
    """The row groups before which windows end, shape (windows,)."""
    totals = np.cumsum(tokens, dtype=np.int64)
    ends: list[int] = []
    start = 0
    while start < len(totals):
        before = int(totals[start - 1]) if start else 0
        start = max(int(np.searchsorted(totals, before + limit, side="right")), start + 1)
        ends.append(start)
    return np.array(ends, np.int64)


def _shuffled(count: int, key: int) -> Ints:
    hashes = mixed(np.arange(count, dtype=np.uint64) + np.uint64(key))
    order: Ints = np.argsort(hashes, kind="stable")
    return order


def _mix(number: int) -> int:
    return int(mixed(np.array([number % (1 << 64)], np.uint64))[0])
