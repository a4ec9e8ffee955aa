"""Plain text: a document is a whole file, or a line that is not blank (`--text-unit`)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from lookahead_data.errors import RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Record, Split, excerpt_of, open_bytes

LINES = "txt-lines"
"""The format of a text file each line of which is a document."""
FIELD = "text"


def fields(file: InputFile) -> list[str] | None:
    return [FIELD]


def split(file: InputFile, unit_size: int) -> list[Split]:
    if file.format == LINES:
        return jsonl.split(file, unit_size)
    return [Split(0, file.size, 0, file.size)]


def read(file: InputFile, part: Split, *, max_line_size: int) -> Iterator[Record]:
    if file.format == LINES:
        for line, offset, row in jsonl.lines(file, part, max_line_size):
            if line.strip():
                yield _record(line.rstrip(b"\r\n"), row, offset, max_line_size)
        return
    with open_bytes(file) as stream:
        data = stream.read(max_line_size + 1)
    if data.strip():
        yield _record(data, 0, 0, max_line_size)


def _record(data: bytes, row: int, offset: int, limit: int) -> Record:
    if offset == 0:
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        if len(data) > limit:
            raise RowError(
                "line_too_long", f"the document has more than {limit:,} bytes, the limit of --max-line-size"
            )
        if b"\0" in data:
            raise RowError("raw_nul", "the document holds a raw NUL byte")
        return Record(row, offset, len(data) + 1, {FIELD: data.decode("utf-8")})
    except UnicodeDecodeError as error:
        fault = RowError("invalid_utf8", f"byte {error.start} of the document is not UTF-8")
    except RowError as error:
        fault = error
    return Record(row, offset, len(data) + 1, fault, excerpt_of(data))
