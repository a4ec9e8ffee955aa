"""Small steps on Arrow arrays that several stages take. None of them loops over rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def offsets_of(lists: pa.ListArray) -> Ints:
    """Where each list starts among the flattened values, and the end: shape (rows + 1,), from 0."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    shifted: Ints = offsets - offsets[0]
    return shifted


def lists_of(offsets: Ints, values: pa.Array) -> pa.ListArray:
    """The lists whose values stand between neighbouring offsets."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def utf8_parts(texts: pa.LargeStringArray) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """The offsets (rows + 1,) and the bytes of a text array; nulls must not be in it."""
    _, offsets, data = texts.buffers()
    start = texts.offset
    bounds = (
        np.frombuffer(offsets, np.int64)[start : start + len(texts) + 1] if offsets else np.zeros(1, np.int64)
    )
    raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return bounds, raw


def slices(starts: Ints, ends: Ints, raw: npt.NDArray[np.uint8]) -> pa.LargeStringArray:
    """The texts between places among bytes, which ascend."""
    # The texts and what is between them, of which every other one is taken.
    every = large_strings(np.append(np.stack([starts, ends], axis=1).ravel(), ends[-1:]), raw)
    return every.take(pa.array(np.arange(0, 2 * len(starts), 2)))


def substrings(texts: pa.LargeStringArray, lengths: Ints) -> pa.LargeStringArray:
    """The first `lengths[i]` bytes of each text; they must end between two characters."""
    bounds, raw = utf8_parts(texts)
    return slices(bounds[:-1], bounds[:-1] + lengths, raw) if len(texts) else texts


def large_strings(offsets: Ints, data: npt.NDArray[np.uint8]) -> pa.LargeStringArray:
    """A text array from offsets (rows + 1,) and UTF-8 bytes."""
    buffers = [
        None,
        pa.py_buffer(np.ascontiguousarray(offsets, np.int64)),
        pa.py_buffer(np.ascontiguousarray(data)),
    ]
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, buffers[1], buffers[2])


def binaries(values: npt.NDArray[Any], offsets: Ints) -> pa.LargeBinaryArray:
    """The bytes of the values between neighbouring offsets."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    bounds = pa.py_buffer(np.ascontiguousarray(offsets * values.itemsize, np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, [None, bounds, data])


def booleans(flags: Flags) -> pa.BooleanArray:
    """Flags as Arrow has them, a bit each. Arrow's own way is a loop over single values."""
    bits = pa.py_buffer(np.packbits(flags, bitorder="little"))
    return pa.BooleanArray.from_buffers(pa.bool_(), len(flags), [None, bits])


def flags_of(booleans: pa.BooleanArray) -> Flags:
    """A byte for each of Arrow's bits; nulls must not be among them. The way back from `booleans`."""
    _, bits = booleans.buffers()
    start, count = booleans.offset, len(booleans)
    # Bits are unpacked from the byte on in which the first one is.
    raw = np.frombuffer(bits, np.uint8)[start // 8 :] if count else np.zeros(0, np.uint8)
    return np.unpackbits(raw, count=start % 8 + count, bitorder="little")[start % 8 :].view(bool)


def repeated(texts: Sequence[str], count: int) -> pa.LargeStringArray:
    """The texts one after the other, `count` times."""
    parts = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    offsets = np.zeros(count * len(parts) + 1, np.int64)
    if parts:
        offsets[1:] = (np.arange(count)[:, None] * ends[-1] + ends).ravel()
    return large_strings(offsets, np.frombuffer(b"".join(parts) * count, np.uint8))


def joined(*parts: Any) -> pa.LargeStringArray:
    """Texts row by row, of arrays and of single texts."""
    whole = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*whole, pa.scalar("", pa.large_string()))


def spread(texts: pa.LargeStringArray, places: Ints, count: int) -> pa.LargeStringArray:
    """So many texts, those at `places`, which ascend, the given ones, and all others empty."""
    bounds, raw = utf8_parts(texts)
    filled = np.zeros(count + 1, np.int64)
    filled[places + 1] = 1
    return large_strings(bounds[np.cumsum(filled)], raw)


def interleaved(columns: Sequence[pa.Array]) -> pa.Array:
    """The values row by row: columns a, b of n rows give a0, b0, a1, b1, …"""
    rows = len(columns[0])
    order = np.arange(len(columns) * rows).reshape(len(columns), rows).T.ravel()
    return pa.concat_arrays(list(columns)).take(pa.array(order))


def reordered(arrays: Sequence[pa.Array], order: Ints) -> pa.Array:
    """What `pa.concat_arrays(arrays).take(order)` gives, without a copy of each value by itself where most of
    them stay together."""
    bases = np.cumsum([0, *map(len, arrays)])
    which = np.searchsorted(bases, order, side="right") - 1
    cuts = np.flatnonzero((np.diff(order) != 1) | (np.diff(which) != 0)) + 1
    if not len(order) or len(cuts) * STRETCH > len(order):
        return pa.concat_arrays(list(arrays)).take(pa.array(order))
    parts = [
        arrays[which[start]].slice(order[start] - bases[which[start]], stop - start)
        for start, stop in pairwise([0, *cuts.tolist(), len(order)])
    ]
    return pa.concat_arrays(parts) if len(parts) > 1 else parts[0]


STRETCH = 64
"""Values that must stay together on the average to be copied together: so much a copy of a stretch costs."""


def put(values: pa.Array, places: Ints, new: pa.Array) -> pa.Array:
    """`values` with those at `places` replaced."""
    order = np.arange(len(values))
    order[places] = len(values) + np.arange(len(places))
    return reordered([values, new], order)


def whole_array(column: Any) -> pa.Array:
    """A chunked array as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column
