"""The structure of JSON, told by its quotes and brackets alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lookahead_data.arrays import Flags, Ints
from lookahead_data.source.records import MAX_NESTING

Bytes = npt.NDArray[np.uint8]

QUOTE, BACKSLASH = b'"\\'
OPENS, CLOSES = b"{}"
"""Brackets and braces alike, once `LOWER` is set."""
LOWER = 0x20
MOST_BACKSLASHES = 64
"""Backslashes before a quote; with more, as no corpus has them, to count them takes too long."""
CHUNK = 1 << 18
"""Bytes that are searched at once, few enough to stay in the processor's cache."""


def marks(raw: Bytes) -> Ints:
    """The places of quotes, brackets and braces."""
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(raw), CHUNK):
        part = raw[start : start + CHUNK]
        lower = part | LOWER
        found.append(np.flatnonzero((part == QUOTE) | (lower == OPENS) | (lower == CLOSES)) + start)
    return np.concatenate(found)


def escaped(raw: Bytes, quotes: Ints) -> tuple[Flags, Ints]:
    """Which quotes have a backslash before them that is itself not escaped: an odd number of them.

    Returns:
        The flags, and which of the quotes have too many backslashes to tell.
    """
    odd = np.zeros(len(quotes), bool)
    left = np.arange(len(quotes))
    for steps in range(1, MOST_BACKSLASHES + 1):
        before = quotes[left] - steps
        left = left[(raw[before] == BACKSLASH) & (before >= 0)]
        if not len(left):
            break
        odd[left] ^= True
    return odd, left


def hold_one_value(raw: Bytes, bounds: Ints) -> Flags:
    """Which texts open one bracket and close it at their end, and nothing around it.

    Of JSON texts these are single objects and lists. Polars decodes lines as one array, in which a
    line may pass for two, or two for one.

    Args:
        bounds: where in `raw` each text starts, and the last ends, shape (texts + 1,).
    """
    places = marks(raw)
    kinds = raw[places] | LOWER
    quotes = kinds == QUOTE
    odd, unsure = escaped(raw, places[quotes])
    real = quotes.copy()
    real[quotes] = ~odd
    steps = np.where(kinds == OPENS, 1, -1)
    # What stands in a text of its own must not tell on the next one: all is counted from its start.
    first = np.searchsorted(places, bounds)
    inside = _within(real, first) % 2 == 1
    steps[quotes | inside] = 0
    depths = _within(steps, first)
    bracket = steps != 0
    rows = np.repeat(np.arange(len(bounds) - 1), np.diff(first))
    count = len(bounds) - 1
    closed = np.bincount(rows[bracket & (depths == 0)], minlength=count)
    wrong = np.bincount(rows[bracket & ((depths < 0) | (depths > MAX_NESTING))], minlength=count)
    ends = _within_end(real, first) % 2 == 0
    found: Flags = (closed == 1) & (wrong == 0) & ends & (_within_end(steps, first) == 0)
    found[rows[np.flatnonzero(quotes)[unsure]]] = False
    return found


def _within(values: npt.NDArray[np.generic], first: Ints) -> Ints:
    """Sums up to and with each value, from the start of its text."""
    sums = np.cumsum(values, dtype=np.int64)
    before = np.concatenate([[0], sums])[first[:-1]]
    found: Ints = sums - np.repeat(before, np.diff(first))
    return found


def _within_end(values: npt.NDArray[np.generic], first: Ints) -> Ints:
    """The sum of each text's values."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    found: Ints = sums[first[1:]] - sums[first[:-1]]
    return found
