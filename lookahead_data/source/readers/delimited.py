"""CSV and TSV with a header line. Values stay text, as they stand: `NA`, `01234`, an empty cell."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Iterator
from typing import BinaryIO

from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.records import Record, Split, excerpt_of, open_bytes


def fields(file: InputFile) -> list[str] | None:
    with open_bytes(file) as stream:
        header = next(_rows(file, stream), [])
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
        for row, values in enumerate(rows):
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


def _rows(file: InputFile, stream: BinaryIO) -> Iterator[list[str]]:
    delimiter = "\t" if file.format == "tsv" else ","
    reader = csv.reader(_lines(stream), delimiter=delimiter, strict=True)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"line {reader.line_num}: {error}",
                where=file.name,
                remedy="Mend the quotes there: without them nothing tells where the next row starts.",
            ) from None


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
