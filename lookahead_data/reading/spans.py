"""Which places of an epoch's order are meant: ascending ranges that neither overlap nor touch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lookahead_data.arrays import Ints

Spans = tuple[tuple[int, int], ...]
"""Ranges of places, each from its first to before its second number."""


def size(spans: Spans) -> int:
    """How many places there are."""
    return sum(stop - start for start, stop in spans)


def part(spans: Spans, start: int, stop: int) -> Spans:
    """Of the places, counted along the ranges, those from `start` to before `stop`."""
    found = []
    passed = 0
    for first, end in spans:
        low, high = max(first, first + start - passed), min(end, first + stop - passed)
        if low < high:
            found.append((low, high))
        passed += end - first
    return tuple(found)


def share(spans: Spans, at: int, parts: int, *, even: bool = False) -> Spans:
    """One of `parts` shares of the places, each a run of them.

    Args:
        at: which share, from 0.
        even: all shares have the same size, and what is left over at the end is in none. Otherwise
            each place is in one share, and the first shares may be larger by one.
    """
    each, more = divmod(size(spans), parts)
    if even:
        more = 0
    start = at * each + min(at, more)
    return part(spans, start, start + each + (at < more))


def union(several: Iterable[Spans]) -> Spans:
    """The places of all.

    Raises:
        ValueError: a place is in two of them.
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(span for spans in several for span in spans):
        if found and start < found[-1][1]:
            raise ValueError(f"the rows from {start:,} to {min(stop, found[-1][1]):,} are there twice")
        if found and start == found[-1][1]:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def places(spans: Spans, counted: Ints) -> Ints:
    """The places that stand at `counted`, counted along the ranges from 0, of the same shape."""
    table = np.array(spans, np.int64).reshape(-1, 2)
    before = np.concatenate([[0], np.cumsum(table[:, 1] - table[:, 0])])
    of = np.searchsorted(before, counted, side="right") - 1
    found: Ints = table[of, 0] + counted - before[of]
    return found
