"""Hashes of spans of units: of a word's bytes, of a shingle's words, of a shingle's characters.

All arithmetic is modulo 2**64. With mix as `rowhash.mixed` has it and B the odd number `BASE`, a span of the units
u₀ … uₙ₋₁ has the hash

    mix(u₀ + u₁·B + u₂·B² + …)

A byte or a code point c is the unit mix(c), a word in a shingle the unit that is its hash. Sums of spans are
differences of one running sum, so that a span costs the same whatever its length. The hash is made for text,
not against an adversary: texts can be made up that collide.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from lookahead_data.arrays import Ints
from lookahead_data.rowhash import mixed

Hashes = npt.NDArray[np.uint64]

BASE = 0xD1342543DE82EF95
"""Odd, so that it has an inverse, and 5 modulo 8, so that its powers come round as late as any (2**62)."""

_INCREMENT, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_CHUNK = 1 << 15
"""Units that are summed up at once: what they need stays in the cache."""


def mix_one(value: int) -> int:
    """`rowhash.mixed` of one number."""
    value = (value + _INCREMENT) & _MASK
    value = (value ^ (value >> 30)) * _FIRST & _MASK
    value = (value ^ (value >> 27)) * _SECOND & _MASK
    return value ^ (value >> 31)


def hash_of(units: Iterable[int]) -> int:
    """The hash of one span, by its definition."""
    total = 0
    for place, unit in enumerate(units):
        total += unit * pow(BASE, place, 1 << 64)
    return mix_one(total & _MASK)


@functools.cache
def byte_units() -> Hashes:
    """The units of the 256 bytes."""
    return mixed(np.arange(256, dtype=np.uint64))


def span_hashes(
    units: npt.NDArray[np.unsignedinteger], begins: Ints, ends: Ints, table: Hashes | None = None
) -> Hashes:
    """The hash of each span.

    Args:
        units: shape (units,); with `table` its places, else uint64.
        begins, ends: of the spans among the units, each ascending, shape (spans,).
        table: what stands for the units, such as `byte_units()`.

    Returns:
        Shape (spans,).
    """
    hashes = np.empty(len(begins), np.uint64)
    sums = np.zeros(_CHUNK + 1, np.uint64)
    at = 0
    while at < len(begins):
        start = int(begins[at])
        stop = max(int(np.searchsorted(ends, start + _CHUNK, "right")), at + 1)
        piece = units[start : int(ends[stop - 1])]
        if len(piece) >= len(sums):
            sums = np.zeros(len(piece) + 1, np.uint64)
        powers, inverses = _powers(max(len(piece), _CHUNK))
        values = piece if table is None else table.take(piece)
        running = sums[1 : len(piece) + 1]
        np.multiply(values, powers[: len(piece)], out=running)
        np.cumsum(running, out=running)
        first = begins[at:stop] - start
        found = sums.take(ends[at:stop] - start)
        found -= sums.take(first)
        found *= inverses.take(first)
        hashes[at:stop] = found
        at = stop
    return mixed(hashes)


@functools.lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The powers of the base and of its inverse, from 0."""
    found = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        powers = np.full(count, base, np.uint64)
        powers[0] = 1
        found.append(np.multiply.accumulate(powers))
    return found[0], found[1]
