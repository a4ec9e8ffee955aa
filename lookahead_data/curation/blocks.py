"""Texts with their row numbers, cut to what may be in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import Ints, utf8_parts

Texts: TypeAlias = tuple[Ints, pa.LargeStringArray]
"""Row numbers and the rows' texts, without nulls."""


Done = TypeVar("Done")


def in_threads(
    work: Callable[[Ints, pa.LargeStringArray], Done], blocks: Iterable[Texts], threads: int
) -> Iterator[Done]:
    """What `work` makes of each block, in their order. Of `threads` + 1 blocks at most there is something in
    memory."""
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            waiting.append(pool.submit(work, *block))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def in_blocks(batches: Iterable[Texts], memory: int, a_byte: int, a_text: int) -> Iterator[Texts]:
    """The batches, put together and cut so that work on each takes about `memory` bytes at most; a text is never
    cut. Work on small batches would cost several times as much.

    Args:
        a_byte, a_text: what the work takes for each byte of text and for each text.

    Raises:
        ValueError: row numbers that do not ascend.
    """
    before = -1
    waiting: list[Texts] = []
    taken = 0
    for rows, texts in batches:
        if len(rows) != len(texts):
            raise ValueError(f"{len(rows)} row numbers for {len(texts)} texts")
        if not len(rows):
            continue
        if rows[0] <= before or (np.diff(rows) <= 0).any():
            raise ValueError("row numbers must ascend, in a batch and from batch to batch")
        before = int(rows[-1])
        bounds, _ = utf8_parts(texts)
        costs = (bounds - bounds[0]) * a_byte + np.arange(len(bounds)) * a_text
        at = 0
        while at < len(rows):
            room = costs[at] + memory - taken
            stop = int(np.searchsorted(costs, room, "right")) - 1
            if stop <= at and waiting:
                yield _together(waiting)
                waiting, taken = [], 0
                continue
            stop = max(stop, at + 1)
            waiting.append((rows[at:stop], texts.slice(at, stop - at)))
            taken += int(costs[stop] - costs[at])
            at = stop
    if waiting:
        yield _together(waiting)


def _together(parts: Sequence[Texts]) -> Texts:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([rows for rows, _ in parts]), pa.concat_arrays([texts for _, texts in parts])
