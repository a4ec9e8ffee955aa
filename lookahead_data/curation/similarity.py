"""How similar pairs of texts are: estimated by their signatures, or exact by their sets of shingles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lookahead_data.arrays import Ints
from lookahead_data.curation.minhash import Signatures
from lookahead_data.curation.shingles import Shingles
from lookahead_data.curation.spill import ArrayFile

Similarities = npt.NDArray[np.float64]


class Similarity(Protocol):
    """Keeps what it needs of texts, numbered from 0, and compares pairs of them."""

    def add(self, signatures: Signatures, shingles: Shingles) -> None: ...
    def of(self, left: Ints, right: Ints) -> Similarities: ...
    def close(self) -> None: ...


class Estimate:
    """The share of equal values in two signatures, as `datasketch.MinHash.jaccard` has it."""

    def __init__(self, folder: Path, num_perm: int, memory: int) -> None:
        self._num_perm = num_perm
        self._file = ArrayFile(folder / "signatures.bin", num_perm, np.uint32)
        self._pairs = max(1, memory // (20 * num_perm))

    def add(self, signatures: Signatures, shingles: Shingles) -> None:
        self._file.add(signatures)

    def of(self, left: Ints, right: Ints) -> Similarities:
        """The similarity of each pair, shape (pairs,)."""
        found = np.empty(len(left))
        for at in range(0, len(left), self._pairs):
            part = slice(at, at + self._pairs)
            which, places = np.unique(np.concatenate([left[part], right[part]]), return_inverse=True)
            rows = self._file.take(which)
            half = len(places) // 2
            equal = rows[places[:half]] == rows[places[half:]]
            found[part] = np.count_nonzero(equal, axis=1) / self._num_perm
        return found

    def close(self) -> None:
        self._file.close()


class Exact:
    """The Jaccard index of two sets of shingles, told apart by 64 bits."""

    def __init__(self, folder: Path, memory: int) -> None:
        self._file = ArrayFile(folder / "shingles.bin", 1, np.uint64)
        self._sizes: list[Ints] = [np.zeros(1, np.int64)]
        self._memory = memory

    def add(self, signatures: Signatures, shingles: Shingles) -> None:
        """Keep texts, their shingles as `Shingles.sets` gives them."""
        self._file.add(shingles.hashes[:, np.newaxis])
        self._sizes.append(np.diff(shingles.offsets))

    def of(self, left: Ints, right: Ints) -> Similarities:
        """The similarity of each pair, shape (pairs,)."""
        offsets = np.cumsum(np.concatenate(self._sizes))
        sizes = np.diff(offsets)
        found = np.empty(len(left))
        for part in self._parts(sizes[left] + sizes[right]):
            found[part] = self._of(left[part], right[part], offsets)
        return found

    def _parts(self, costs: Ints) -> Iterator[slice]:
        ends = np.cumsum(costs) * 100
        at = 0
        while at < len(costs):
            before = int(ends[at - 1]) if at else 0
            stop = max(int(np.searchsorted(ends, before + self._memory, "right")), at + 1)
            yield slice(at, stop)
            at = stop

    def _of(self, left: Ints, right: Ints, offsets: Ints) -> Similarities:
        which, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        sizes = offsets[which + 1] - offsets[which]
        ends = np.cumsum(sizes)
        members = np.arange(ends[-1]) + np.repeat(offsets[which] - (ends - sizes), sizes)
        hashes = self._file.take(members)[:, 0]
        shingles, columns = np.unique(hashes, return_inverse=True)
        sets = csr_array(
            (np.ones(len(columns), np.int32), columns, np.concatenate([[0], ends])),
            shape=(len(which), len(shingles)),
        )
        first, second = places[: len(left)], places[len(left) :]
        shared = np.asarray(sets[first].multiply(sets[second]).sum(axis=1)).ravel()
        found: Similarities = shared / (sizes[first] + sizes[second] - shared)
        return found

    def close(self) -> None:
        self._file.close()
