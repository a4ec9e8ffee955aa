"""JSON Lines: one JSON object a line.

Lines end at `\\n` alone (a `\\r` before it is white space to JSON): U+2028 and its like may stand in
a JSON text. Blank lines are passed over and counted in the row numbers, so that `row + 1` is the
line number that an editor shows.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import BinaryIO

from lookahead_data.errors import RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.records import Record, Split, excerpt_of, open_bytes, parse_json

_BLOCK = 1 << 20


def fields(file: InputFile) -> list[str] | None:
    return None


def split(file: InputFile, unit_size: int, seen: Callable[[bytes], None] | None = None) -> list[Split]:
    """Ranges that begin where a line begins; a compressed file is one range.

    Args:
        seen: given every byte of the file, in order, where there are several ranges.
    """
    if file.compression or file.size <= unit_size:
        return [Split(0, file.size, 0, file.size)]
    parts: list[Split] = []
    start = first_row = row = at = 0
    with open_bytes(file) as stream:
        while block := stream.read(_BLOCK):
            if seen is not None:
                seen(block)
            counted = 0
            # The first line that starts at or after the wanted size begins the next range.
            while (wanted := start + unit_size - 1) < at + len(block):
                end = block.find(b"\n", max(wanted - at, 0))
                if end < 0:
                    break
                row += block.count(b"\n", counted, end + 1)
                counted = end + 1
                parts.append(Split(start, at + counted, first_row, at + counted - start))
                start, first_row = at + counted, row
            row += block.count(b"\n", counted)
            at += len(block)
    if start < at or not parts:
        parts.append(Split(start, at, first_row, at - start))
    return parts


def read(file: InputFile, part: Split, *, max_line_size: int) -> Iterator[Record]:
    for line, size, offset, row in _sized_lines(file, part, max_line_size):
        record = record_of(line, size, row, offset, max_line_size)
        if record is not None:
            yield record


def lines(file: InputFile, part: Split, max_line_size: int) -> Iterator[tuple[bytes, int, int]]:
    """Each line of a range, with its byte offset and row number; of a line over the limit only the start."""
    for line, _, offset, row in _sized_lines(file, part, max_line_size):
        yield line, offset, row


def _sized_lines(file: InputFile, part: Split, limit: int) -> Iterator[tuple[bytes, int, int, int]]:
    with open_bytes(file) as stream:
        if not file.compression:
            stream.seek(part.start)
        offset, row = part.start, part.first_row
        while file.compression or offset < part.stop:
            line, size = _readline(stream, limit)
            if not size:
                return
            yield line, size, offset, row
            offset += size
            row += 1


def _readline(stream: BinaryIO, limit: int) -> tuple[bytes, int]:
    """The next line and its size; of a line over the limit only the start."""
    line = stream.readline(limit + 1)
    size = len(line)
    if size > limit and not line.endswith(b"\n"):
        while rest := stream.readline(_BLOCK):
            size += len(rest)
            if rest.endswith(b"\n"):
                break
    return line, size


def blocks(file: InputFile, part: Split, size: int, max_line_size: int) -> Iterator[tuple[bytes, int, int]]:
    """The lines of a range in blocks of about `size` bytes: their bytes, byte offset and row number.

    A block ends where a line does. Of a line over the limit only the start is given, at the end of a
    block, and it is still longer than the limit.
    """
    with open_bytes(file) as stream:
        if not file.compression:
            stream.seek(part.start)
        offset, row = part.start, part.first_row
        while file.compression or offset < part.stop:
            wanted = size if file.compression else min(size, part.stop - offset)
            block = stream.read(wanted)
            if not block:
                return
            rest = 0
            if not block.endswith(b"\n"):
                tail, tail_size = _readline(stream, max_line_size)
                block += tail
                rest = tail_size - len(tail)
            yield block, offset, row
            offset += len(block) + rest
            row += block.count(b"\n") + bool(rest)


def record_of(line: bytes, size: int, row: int, offset: int, limit: int) -> Record | None:
    """The record of a line, or None for a blank one; `size` may be more than is given of a long line."""
    if offset == 0:
        line = line.removeprefix(codecs.BOM_UTF8)
    if not line.strip():
        return None
    try:
        if size > limit:
            raise RowError(
                "line_too_long", f"the line has {size:,} bytes, and the limit is {limit:,} (--max-line-size)"
            )
        return Record(row, offset, size, parse_json(line))
    except RowError as error:
        return Record(row, offset, size, error, excerpt_of(line))
