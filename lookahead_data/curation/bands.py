"""Bands of signatures: which pairs of texts are worth comparing.

Two signatures are candidates if they are equal in all r values of one of b bands, as in
`datasketch.MinHashLSH` (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3): texts of
similarity s become candidates with a chance of 1 − (1 − sʳ)ᵇ. A band's values are hashed to 64 bits; should
two hashes fall together, the pair is one candidate more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from datasketch import MinHashLSH

from lookahead_data.arrays import Ints
from lookahead_data.curation.hashing import Hashes
from lookahead_data.curation.minhash import Signatures
from lookahead_data.curation.spill import Groups
from lookahead_data.errors import SettingsError
from lookahead_data.rowhash import mixed

PARTNERS = 64
"""With how many members of a bucket, its first, each of the others is compared at most."""


@dataclass(frozen=True)
class Bands:
    """How signatures are cut.

    Attributes:
        b: bands.
        r: values of a signature in each.
    """

    b: int
    r: int

    @classmethod
    def of(cls, threshold: float, num_perm: int, weights: tuple[float, float] = (0.5, 0.5)) -> Bands:
        """Those that `MinHashLSH` finds best for a threshold.

        Args:
            threshold: the similarity from which texts are to be candidates, 0 to 1.
            num_perm: values of a signature.
            weights: how much false positives and false negatives count.

        Raises:
            SettingsError: `MinHashLSH` refuses these.
        """
        try:
            index = MinHashLSH(threshold, num_perm, weights)
        except ValueError as error:
            raise SettingsError(
                str(error),
                where="near duplicates",
                remedy="Common are a threshold of 0.7 to 0.9, num_perm 128 and weights of one half.",
            ) from None
        return cls(index.b, index.r)

    @property
    def names(self) -> list[str]:
        """Names of the bands' keys."""
        return [f"band_{band:04}" for band in range(self.b)]

    def keys(self, signatures: Signatures) -> Hashes:
        """The key of each band, shape (texts, b)."""
        sums = np.zeros((len(signatures), self.b), np.uint64)
        for place, factor in enumerate(_factors(self.r)):
            sums += signatures[:, place : self.b * self.r : self.r] * factor
        return mixed(sums)

    def likelihood(self, similarity: float) -> float:
        """The chance that texts of a similarity are candidates: the S-curve."""
        return float(1 - (1 - similarity**self.r) ** self.b)


def whole_keys(keys: Hashes) -> Hashes:
    """A key of all bands, equal where all of them are: shape (texts, 1)."""
    return mixed((keys * _factors(keys.shape[1])).sum(axis=1, keepdims=True))


def _factors(count: int) -> Hashes:
    """Factors of all 64 bits: weighted by them, sums of different values differ but for a chance of 2**-64."""
    return mixed(np.arange(count, dtype=np.uint64)) | np.uint64(1)


def candidates(groups: Groups, limit: int) -> Iterator[tuple[Ints, Ints]]:
    """The pairs of a band's buckets, at most `limit` at a time (or those of one row): earlier and later rows.

    In a bucket of more than `PARTNERS` + 1 rows each row is paired with the first `PARTNERS` alone, so that
    the work does not grow with the square of the bucket; `left_out` says how many pairs that leaves. All
    others are exactly the pairs of `MinHashLSH`.
    """
    ranks = np.arange(len(groups.rows)) - np.repeat(groups.starts[:-1], np.diff(groups.starts))
    counts = np.minimum(ranks, PARTNERS)
    ends = np.cumsum(counts)
    at = 0
    while at < len(ranks):
        before = int(ends[at - 1]) if at else 0
        stop = max(int(np.searchsorted(ends, before + limit, "right")), at + 1)
        some = counts[at:stop]
        total = int(ends[stop - 1]) - before
        within = np.arange(total) - np.repeat(ends[at:stop] - some - before, some)
        buckets = np.arange(at, stop) - ranks[at:stop]
        yield groups.rows[np.repeat(buckets, some) + within], np.repeat(groups.rows[at:stop], some)
        at = stop


def left_out(groups: Groups) -> int:
    """How many pairs of a band's buckets `candidates` does not give."""
    more = np.maximum(np.diff(groups.starts) - PARTNERS - 1, 0)
    return int((more * (more + 1) // 2).sum())
