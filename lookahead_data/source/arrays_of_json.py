"""A JSON array of objects to conversations, a block of elements at a time.

The array is cut into its elements by its quotes and brackets alone; from there they are read as
JSON Lines are (see `blocks`). A cut is right if each piece turns out to be one JSON value, and only
a comma and white space stand between two: then no JSON reader would cut elsewhere. Wherever that is
not so, the strict reader reads the rest of the file, and finds the words for what is wrong with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, large_strings
from lookahead_data.batches import Staged
from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.blocks import is_text, read_texts
from lookahead_data.source.brackets import LOWER, OPENS, QUOTE, escaped, marks
from lookahead_data.source.conversations import BATCH_BYTES, Shape, converse
from lookahead_data.source.readers import json_array
from lookahead_data.source.records import MAX_NESTING, Record, Split, open_bytes

SPACE = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
COMMA, BRACE, BRACKET_END = b",{]"

_COMMAS = np.full(256, 2)
"""For each byte between two elements, how many commas it is; what must not stand there counts as two."""
_COMMAS[list(SPACE)] = 0
_COMMAS[COMMA] = 1


class _OddError(Exception):
    """Something that is for the strict reader to judge."""


@dataclass(frozen=True)
class _Piece:
    """Some elements of the array.

    Attributes:
        data: bytes of the file, from the end of the element before.
        starts, stops: where each element stands in them.
    """

    data: bytes
    starts: Ints
    stops: Ints

    @property
    def size(self) -> int:
        return int(self.stops[-1])

    def texts(self) -> pa.LargeStringArray:
        """The elements, which may be no UTF-8, each with the white space behind it."""
        raw = np.frombuffer(self.data, np.uint8, self.size).copy()
        gaps, _ = _between(self.starts, self.stops)
        raw[gaps] = SPACE[0]
        return large_strings(np.append(self.starts, self.size), raw)


def conversations(
    file: InputFile, part: Split, shape: Shape, max_line_size: int, size: int = BATCH_BYTES
) -> Iterator[tuple[Staged, int]]:
    """Batches of conversations, each with the bytes of input that it took.

    Args:
        file: one that holds an array; `part` is all of it.
        shape: one that `blocks.handles` accepts.
        size: the bytes that are read at once; an element may make it more.
    """
    given = 0
    try:
        for piece in _pieces(file, max_line_size, size):
            yield _read_piece(piece, given, shape), piece.size
            given += len(piece.starts)
        return
    except (InputError, _OddError):
        # The file is read again, since the strict reader's errors name their place in it.
        records = json_array.read(file, part, max_line_size=max_line_size)
    yield from converse(itertools.islice(records, given, None), shape)


def _read_piece(piece: _Piece, row: int, shape: Shape) -> Staged:
    texts = piece.texts()
    if not is_text(texts, piece.data):
        raise _OddError

    def strictly(at: int) -> Record:
        text = piece.data[piece.starts[at] : piece.stops[at]].decode()
        record = json_array.record_of(text, row + at)
        if isinstance(record.value, RowError) and not json_array.is_element(text):
            raise _OddError
        return record

    return read_texts(texts, np.ones(len(texts), bool), row, None, shape, strictly)


def _pieces(file: InputFile, limit: int, size: int) -> Iterator[_Piece]:
    """The elements of the array in blocks of about `size` bytes; an unfinished one goes to the next.

    Raises:
        _OddError: the array is not as it is meant to be; or an element is over the limit.
    """
    with open_bytes(file) as stream:
        data = stream.read(size + len(BOM)).removeprefix(BOM).lstrip(SPACE)
        if not data.startswith(b"["):
            raise _OddError
        data = data[1:]
        first = True
        while True:
            starts, stops, end = _cut(data)
            if len(starts):
                _check(data, starts, stops, limit, commas=0 if first else 1)
                yield _Piece(data, starts, stops)
                first = False
            done = int(stops[-1]) if len(stops) else 0
            if end is not None:
                break
            data = data[done:]
            if len(data) > limit:
                raise _OddError
            # What is unfinished is looked at again, so blocks grow with it: else a long one takes too long.
            block = stream.read(max(size, min(len(data), limit - len(data))))
            if not block:
                raise _OddError
            data += block
        rest = [data[done:end], data[end + 1 :]]
        if any(block.strip(SPACE) for block in itertools.chain(rest, iter(lambda: stream.read(size), b""))):
            raise _OddError


def _cut(data: bytes) -> tuple[Ints, Ints, int | None]:
    """Where elements that are whole start and stop, and where the array ends.

    Args:
        data: bytes of an array, from its start or from the end of an element.
    """
    raw = np.frombuffer(data, np.uint8)
    places = marks(raw)
    kinds = raw[places] | LOWER
    quotes = kinds == QUOTE
    odd, unsure = escaped(raw, places[quotes])
    if len(unsure):
        raise _OddError
    quotes[quotes] = ~odd
    outside = (kinds != QUOTE) & ~np.logical_xor.accumulate(quotes)
    places, opens = places[outside], kinds[outside] == OPENS
    depths = np.cumsum(np.where(opens, 1, -1))
    end = None
    if len(depths) and depths.min() < 0:
        last = int(np.argmax(depths < 0))
        end = int(places[last])
        places, opens, depths = places[:last], opens[:last], depths[:last]
        if data[end] != BRACKET_END:
            raise _OddError
    if len(depths) and depths.max() > MAX_NESTING:
        raise _OddError  # how deep the strict reader gets depends on the stack that it starts from
    stops = places[~opens & (depths == 0)] + 1
    starts = places[opens & (depths == 1)][: len(stops)]
    return starts, stops, end


def _check(data: bytes, starts: Ints, stops: Ints, limit: int, *, commas: int) -> None:
    """See that elements are objects, not over the limit, and that a comma stands between two.

    Args:
        commas: how many stand before the first.
    """
    raw = np.frombuffer(data, np.uint8)
    gaps, elements = _between(starts, stops)
    found = np.bincount(elements, weights=_COMMAS[raw[gaps]], minlength=len(starts))
    wanted = np.ones(len(starts))
    wanted[0] = commas
    if (raw[starts] != BRACE).any() or (stops - starts > limit).any() or (found != wanted).any():
        raise _OddError


def _between(starts: Ints, stops: Ints) -> tuple[Ints, npt.NDArray[np.intp]]:
    """The places before and between elements, and which element each stands before."""
    before = np.concatenate([[0], stops[:-1]])
    lengths = starts - before
    elements = np.repeat(np.arange(len(starts)), lengths)
    firsts = np.cumsum(lengths) - lengths
    return np.arange(len(elements)) + (before - firsts)[elements], elements
