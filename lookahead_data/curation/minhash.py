"""MinHash signatures of many sets at once, equal bit for bit to those of `datasketch.MinHash`.

That is its default scheme since 2.0, "affine32": each 32-bit value is mixed once by the finalizer of
MurmurHash3 to h, permutation k gives aₖ·h + bₖ modulo 2**32, and the least over the set is kept. An empty
set has 2**32 − 1 everywhere. The permutations are asked of datasketch itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from datasketch import MinHash

from lookahead_data.arrays import Ints

Signatures = npt.NDArray[np.uint32]

SCHEME = "affine32"
SEED = 1
"""datasketch's default."""

_EMPTY = np.uint32(0xFFFFFFFF)
_COLUMN, _PERMUTATIONS = 8192, 16
"""How much is done at a time: 512 kB of permuted values, which stay in the cache between being made and being
reduced. NumPy takes twice as long for rows of a thousand values."""

_FEW = 512
"""Sets that are too few to be reduced a member of each at a time."""


def signatures(
    values: npt.NDArray[np.uint32], offsets: Ints, num_perm: int = 128, seed: int = SEED
) -> Signatures:
    """The signature of each set.

    Args:
        values: the hashed members of all sets, in any order, shape (values,).
        offsets: of the sets among them, shape (sets + 1,).
        num_perm: values of a signature.
        seed: which permutations, as for `datasketch.MinHash`.

    Returns:
        Shape (sets, num_perm).
    """
    factors, addends = MinHash(num_perm=num_perm, seed=seed, scheme=SCHEME).permutations
    found = np.full((len(offsets) - 1, num_perm), _EMPTY)
    mixed = _finalized(values[int(offsets[0]) : int(offsets[-1])])
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    longest_first = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    for at in range(0, len(longest_first), _COLUMN):
        which = longest_first[at : at + _COLUMN]
        found[which] = _least(mixed, starts[which], lengths[which], factors, addends).T
    return found


def _least(
    mixed: npt.NDArray[np.uint32],
    starts: Ints,
    lengths: Ints,
    factors: npt.NDArray[np.uint32],
    addends: npt.NDArray[np.uint32],
) -> Signatures:
    """The signatures of sets, the longest first, shape (num_perm, sets)."""
    # A member of each set at a time: no step of NumPy's is then as short as a set. The last members of a few
    # long sets are reduced set by set.
    depth = int(lengths[_FEW - 1]) if len(lengths) >= _FEW else 0
    reaching = np.searchsorted(-lengths, -np.arange(depth + 1))
    columns = [mixed[starts[:count] + place] for place, count in enumerate(reaching[:-1].tolist())]
    left = int(reaching[-1])
    more = lengths[:left] - depth
    ends = np.cumsum(more)
    members = mixed[np.arange(more.sum()) + np.repeat(starts[:left] + depth - (ends - more), more)]
    least = np.full((len(factors), len(lengths)), _EMPTY)
    work = np.empty((_PERMUTATIONS, _COLUMN), np.uint32)
    for at in range(0, len(factors), _PERMUTATIONS):
        some = slice(at, at + _PERMUTATIONS)
        a, b, out = factors[some, np.newaxis], addends[some, np.newaxis], least[some]
        for column in columns:
            permuted = work[: len(a), : len(column)]
            np.multiply(column, a, out=permuted)
            permuted += b
            np.minimum(out[:, : len(column)], permuted, out=out[:, : len(column)])
        for begin in range(0, len(members), _COLUMN):
            part = members[begin : begin + _COLUMN]
            permuted = work[: len(a), : len(part)]
            np.multiply(part, a, out=permuted)
            permuted += b
            low = int(np.searchsorted(ends, begin, "right"))
            high = int(np.searchsorted(ends, begin + len(part)) + 1)
            places = np.maximum(ends[low:high] - more[low:high] - begin, 0)
            reduced = np.minimum.reduceat(permuted, places, axis=1)
            np.minimum(out[:, low:high], reduced, out=out[:, low:high])
    return least


def as_minhash(signature: Signatures, seed: int = SEED) -> MinHash:
    """A signature as datasketch's own, to be compared, merged or put into its indexes.

    To update it, give datasketch the same hash function: see `Shingling.hashfunc`.
    """
    return MinHash(seed=seed, hashvalues=signature, scheme=SCHEME)


def _finalized(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The finalizer of MurmurHash3 in 32 bits (Appleby)."""
    mixed = values ^ (values >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed
