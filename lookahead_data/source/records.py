"""What a reader gives: one record a row, good or bad."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile

EXCERPT = 240
"""Characters of a rejected row that are kept for people to see."""

MAX_NESTING = 500
"""Levels of a JSON value; real records have fewer than ten."""


@dataclass(frozen=True)
class Record:
    """One row as it was read.

    Attributes:
        row: its place in the file, from 0. For formats of lines, the line number less one.
        offset: the byte at which its line starts in the (decompressed) file, or None.
        size: about how many bytes of the input it took.
        value: the row's fields, or why it could not be read.
        excerpt: the start of the raw text, where the row could not be read.
    """

    row: int
    offset: int | None
    size: int
    value: dict[str, Any] | RowError
    excerpt: str = ""


@dataclass(frozen=True)
class Split:
    """A range of a file that can be read by itself.

    Attributes:
        start, stop: bytes of a JSONL file, row groups of a Parquet file, else 0 and the size.
        first_row: the place in the file of its first row.
        size: about how many bytes of the input it is, to tell progress by.
    """

    start: int
    stop: int
    first_row: int
    size: int


MAX_EXPANSION = 1000
"""How many times its size a compressed file may become. Text in JSON becomes 3 to 20 times its size."""
ALLOWANCE = 64 << 20
"""Bytes that any compressed file may become."""


@contextlib.contextmanager
def open_bytes(file: InputFile) -> Iterator[BinaryIO]:
    """The file's decompressed bytes, with every way to fail told as an `InputError`."""
    if file.compression and file.size == 0:
        raise InputError(
            f"is empty: even nothing, compressed by {file.compression}, has some bytes",
            where=file.name,
            remedy="Fetch or write the file again.",
        )
    try:
        with open(file.path, "rb") as raw:
            if file.compression == "gzip":
                # The standard library reads files of several members and notices a cut one.
                yield io.BufferedReader(_Raw(gzip.GzipFile(fileobj=raw), file), buffer_size=1 << 18)
            elif file.compression == "zstd":
                # pyarrow raises on a cut file, where the zstandard package just stops.
                with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
                    yield io.BufferedReader(_Raw(stream, file), buffer_size=1 << 18)
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException) as error:
        raise InputError(
            f"the {file.compression or file.format} data is cut short or damaged: {error}",
            where=file.name,
            remedy="Fetch or write the file again; nothing of it was published.",
        ) from None
    except OSError as error:
        if file.compression and error.errno is None:
            raise InputError(
                f"the {file.compression} data is cut short or damaged: {error}", where=file.name
            ) from None
        raise InputError(f"cannot be read: {error.strerror or error}", where=file.name) from None


class _Raw(io.RawIOBase):
    """A stream of decompressed bytes, which ends in an error where they become too many."""

    def __init__(self, stream: Any, file: InputFile) -> None:
        self._stream = stream
        self._file = file
        self._left = max(ALLOWANCE, MAX_EXPANSION * file.size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"its {self._file.size:,} bytes decompress to more than {MAX_EXPANSION:,} times as many, "
                "as a file made to fill memory and disk does",
                where=self._file.name,
                remedy="If it is right all the same, decompress it yourself and convert the result.",
            )
        buffer[: len(data)] = data
        return len(data)


def parse_json(line: bytes) -> dict[str, Any]:
    """The JSON object on a line, read strictly, but that NaN and Infinity are numbers: pandas and Python
    write them, and where a text is read they are null.

    Raises:
        RowError: it is not UTF-8, not one JSON object, names a key twice, holds a raw NUL, or is nested
            too deeply.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("invalid_utf8", f"byte {error.start} of the line is not UTF-8") from None
    return as_object(parse_json_text(text))


def parse_json_text(text: str) -> Any:
    """One JSON value, read strictly (see `parse_json`)."""
    if "\0" in text:
        raise RowError("raw_nul", "the line holds a raw NUL byte; in JSON it is written \\u0000")
    if text.count("[") + text.count("{") > MAX_NESTING and _depth(text) > MAX_NESTING:
        raise RowError("nesting", f"the JSON is nested more than {MAX_NESTING} levels deep")
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise RowError("nesting", "the JSON is nested too deeply") from None
    except ValueError as error:
        raise RowError("invalid_json", str(error)) from None
    return value


def as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"expected a JSON object, found {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RowError("duplicate_key", f"the key {twice!r} stands there twice")
    return found


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def excerpt_of(raw: bytes | str) -> str:
    """The start of a raw row, fit to be printed."""
    text = raw[: 4 * EXCERPT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = text.strip("\r\n")
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
