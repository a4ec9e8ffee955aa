"""CSV and TSV with a header line. Values stay text, as they stand: `NA`, `01234`, an empty cell."""

from __future__ import annotations

import codecs
import csv
import itertools
import sys
from collections.abc import Iterator
from typing import BinaryIO

from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.records import Record, Split, excerpt_of, open_bytes


def fields(file: InputFile) -> list[str] | None:
    with open_bytes(file) as stream:
        header = next(_rows(file, stream), [])
    assert isinstance(header, list)  # of the first row every fault is raised
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(
            f"the header names the column {twice[0]!r} twice", where=file.name, remedy="Rename one of them."
        )
    return header


def split(file: InputFile, unit_size: int) -> list[Split]:
    # A line break may stand inside a quoted value, so no place but the start is safe to begin at.
    return [Split(0, file.size, 0, file.size)]


def read(file: InputFile, part: Split, *, max_line_size: int) -> Iterator[Record]:
    # The module's limit is one for the process; a C long is as far as it goes.
    csv.field_size_limit(min(max_line_size, sys.maxsize))
    with open_bytes(file) as stream:
        rows = _rows(file, stream)
        header = next(rows, [])
        assert isinstance(header, list)
        for row, values in enumerate(rows):
            if isinstance(values, RowError):
                yield Record(row, None, 1, values)
                continue
            if not values:
                continue
            text = ",".join(values)
            try:
                if len(values) != len(header):
                    raise RowError(
                        "wrong_columns", f"the row has {len(values)} columns, the header {len(header)}"
                    )
                if "\0" in text:
                    raise RowError("raw_nul", "the row holds a raw NUL byte")
                _check_utf8(text)
                yield Record(row, None, len(text) + 1, dict(zip(header, values, strict=True)))
            except RowError as error:
                yield Record(row, None, len(text) + 1, error, excerpt_of(text))


def _rows(file: InputFile, stream: BinaryIO) -> Iterator[list[str] | RowError]:
    lines = _lines(stream)
    header = next(lines, "")
    delimiter = _delimiter(file, header)
    reader = csv.reader(itertools.chain([header] if header else [], lines), delimiter=delimiter, strict=True)
    first = True
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"line {reader.line_num}: {error}"
            if "expected after" in str(error) and not first:
                yield RowError("invalid_csv", where)  # the next line starts a new row
                continue
            raise InputError(where, where=file.name, remedy=_remedy(str(error))) from None
        first = False


def _delimiter(file: InputFile, header: str) -> str:
    """What separates the columns: a header without a comma may have semicolons, as spreadsheets in Europe write
    them, or tabs."""
    if file.format == "tsv":
        return "\t"
    if "," in header:
        return ","
    return next((sign for sign in (";", "\t") if sign in header), ",")


def _remedy(error: str) -> str:
    if "field limit" in error:
        return "Raise --max-line-size, if a value may really be so large."
    if "new-line" in error:
        return "Its lines end in a bare carriage return: convert them to line feeds."
    return "Mend the quotes there: without them nothing tells where the next row starts."


def _lines(stream: BinaryIO) -> Iterator[str]:
    # Bytes that are not UTF-8 become lone surrogates, which mark the row that they stand in.
    for number, line in enumerate(stream):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        yield line.decode("utf-8", "surrogateescape")


def _check_utf8(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError("invalid_utf8", "the row holds bytes that are not UTF-8") from None
