"""One module a format, each with the same three functions.

    fields(file)               the names of the fields, in order, where the format declares them; else None
    split(file, unit_size)     ranges of the file that can be read by themselves
    read(file, split, limits)  the records of one range, in order

A bad row is a `Record` that holds a `RowError`; a file that cannot be read is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from lookahead_data.plan import InputFile
from lookahead_data.source.readers import columnar, delimited, json_array, jsonl, plain_text
from lookahead_data.source.records import Record, Split

_READERS: dict[str, ModuleType] = {
    "jsonl": jsonl,
    "json": json_array,
    "csv": delimited,
    "tsv": delimited,
    "parquet": columnar,
    "arrow": columnar,
    "txt": plain_text,
    plain_text.LINES: plain_text,
}


def fields(file: InputFile) -> list[str] | None:
    """The names of the fields that the file declares, or None where each row has its own."""
    return _READERS[file.format].fields(file)  # type: ignore[no-any-return]


def split(file: InputFile, unit_size: int, seen: Callable[[bytes], None] | None = None) -> list[Split]:
    """The ranges of about `unit_size` bytes that the file can be read in; they depend on it alone.

    Args:
        seen: given every byte of the file, in order, where the whole file has to be read for that.
    """
    if file.format == "jsonl" or (file.format == "json" and json_array.is_lines(file)):
        return jsonl.split(file, unit_size, seen)
    return _READERS[file.format].split(file, unit_size)  # type: ignore[no-any-return]


def read(
    file: InputFile, part: Split, *, max_line_size: int, names: Sequence[str] | None = None
) -> Iterator[Record]:
    """The records of one range of the file, in order.

    Args:
        names: the fields that are needed; others may be left out. None is all.
    """
    if file.format in ("parquet", "arrow"):
        return columnar.read(file, part, max_line_size=max_line_size, names=names)
    return _READERS[file.format].read(file, part, max_line_size=max_line_size)  # type: ignore[no-any-return]


def read_all(file: InputFile, *, max_line_size: int, names: Sequence[str] | None = None) -> Iterator[Record]:
    """The records of the whole file, in order."""
    stop = columnar.row_groups(file) if file.format == "parquet" else file.size
    return read(file, Split(0, stop, 0, file.size), max_line_size=max_line_size, names=names)
