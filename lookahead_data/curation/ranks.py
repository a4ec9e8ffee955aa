"""Which rows of a group have the smallest hashes, of more rows than memory holds.

Rows are written to a file as they are counted, with a histogram of the upper bits of their hashes. The histogram
tells in which bucket the last row of a quota lies, and one more look at the file which row of the bucket it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lookahead_data.arrays import Flags, Ints
from lookahead_data.curation.hashing import Hashes
from lookahead_data.curation.spill import spilling

Rank: TypeAlias = tuple[int, int]
"""A row's place in the order: its hash, and its number in the corpus, which tells rows of equal hashes apart."""

_BUCKET_BITS = 12
_CHUNK = 1 << 20
_ROW = np.dtype([("group", "<u2"), ("key", "<u8"), ("number", "<i8")])


def not_after(keys: Hashes, numbers: Ints, last: Rank | None) -> Flags:
    """Which rows come no later than `last` in the order, shape (rows,); none if it is None."""
    if last is None:
        return np.zeros(len(keys), bool)
    key = np.uint64(last[0])
    found: Flags = (keys < key) | ((keys == key) & (numbers <= last[1]))
    return found


class RankFile:
    """Rows with their groups and hashes. Use it as a context manager, add all rows, then ask for `lasts`.

    Attributes:
        counts: rows of each group, shape (groups,).
    """

    def __init__(self, path: Path, groups: int) -> None:
        self._path = path
        self._histogram = np.zeros((groups, 1 << _BUCKET_BITS), np.int64)
        with spilling(path):
            self._file = open(path, "wb")  # noqa: SIM115

    def __enter__(self) -> RankFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with spilling(self._path):
            self._file.close()

    @property
    def counts(self) -> Ints:
        counts: Ints = self._histogram.sum(axis=1)
        return counts

    def add(self, groups: Ints, keys: Hashes, numbers: Ints) -> None:
        """Add rows, shape (rows,) each."""
        rows = np.empty(len(keys), _ROW)
        rows["group"], rows["key"], rows["number"] = groups, keys, numbers
        np.add.at(self._histogram, (groups, _buckets(keys)), 1)
        with spilling(self._path):
            self._file.write(rows.tobytes())

    def lasts(self, wanted: Ints) -> Sequence[Rank | None]:
        """The last of the first `wanted` rows of each group, in the order of hashes; None where none is wanted.

        Args:
            wanted: shape (groups,), each at most the rows of its group.
        """
        with spilling(self._path):
            self._file.flush()
        sums = np.cumsum(self._histogram, axis=1)
        buckets = (sums < wanted[:, None]).sum(axis=1)
        before = np.where(
            buckets > 0, np.take_along_axis(sums, np.maximum(buckets - 1, 0)[:, None], 1)[:, 0], 0
        )
        found = np.concatenate([np.zeros(0, _ROW), *self._in_buckets(buckets, wanted > 0)])
        lasts: list[Rank | None] = []
        for group, count in enumerate(wanted.tolist()):
            mine = found[found["group"] == group]
            if not count:
                lasts.append(None)
                continue
            row = mine[np.lexsort((mine["number"], mine["key"]))][count - int(before[group]) - 1]
            lasts.append((int(row["key"]), int(row["number"])))
        return lasts

    def _in_buckets(self, buckets: Ints, asked: Flags) -> Iterator[npt.NDArray[np.void]]:
        """The rows in the bucket of their group."""
        with spilling(self._path), open(self._path, "rb") as file:
            while data := file.read(_CHUNK * _ROW.itemsize):
                rows = np.frombuffer(data, _ROW)
                groups = rows["group"]
                yield rows[asked[groups] & (_buckets(rows["key"]) == buckets[groups])]


def _buckets(keys: Hashes) -> Ints:
    return (keys >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)
