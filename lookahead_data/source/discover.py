"""From what the user named to the ordered list of input files."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile

FORMATS: dict[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
"""Formats by the file name's ending."""

COMPRESSIONS: dict[str, str] = {".gz": "gzip", ".zst": "zstd"}
TEXT_FORMATS = ("jsonl", "json", "csv", "tsv")
"""Formats that are text, and may be compressed as a whole."""

BESIDES = ("dataset_info.json", "dataset_dict.json", "state.json")
"""Files that `datasets` writes beside its Arrow files, and that hold no rows."""

_GLOB = frozenset("*?[")


def discover(inputs: Iterable[str | os.PathLike[str]]) -> list[InputFile]:
    """The files that `inputs` name: files, glob patterns, and folders with all that lies below.

    Inputs keep the order in which they were given; inside a folder or a pattern the order is that of
    the paths. A folder is searched through links too, each real folder once. Hidden files, and
    those whose names end in no known format, are passed over in folders; named outright they are
    an error. A file that is named twice is read once.

    Raises:
        InputError: an input does not exist, holds nothing that can be read, or has an unknown format.
    """
    found: dict[str, InputFile] = {}
    for item in inputs:
        for path in _expand(os.fspath(item)):
            found.setdefault(os.path.realpath(path), describe(path))
    if not found:
        raise InputError("no input was given", remedy="Name at least one file, folder or glob pattern.")
    return list(found.values())


def _expand(item: str) -> Sequence[str]:
    if os.path.isdir(item):
        paths = sorted(_walk(item))
        if not paths:
            raise InputError(
                "the folder holds no file of a known format",
                where=item,
                remedy=f"Known endings: {', '.join(FORMATS)}, text formats also with .gz or .zst.",
            )
        return paths
    if os.path.exists(item):
        return [item]
    if _GLOB & set(item):
        paths = sorted(
            path for path in glob.glob(item, recursive=True) if os.path.isfile(path) and _format(path)
        )
        if not paths:
            raise InputError("no file of a known format matches this pattern", where=item)
        return paths
    raise InputError("there is no such file or folder", where=item)


def _walk(folder: str) -> Iterator[str]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back: without this a loop is read until the path is too long
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in names:
            if not name.startswith((".", "_")) and name not in BESIDES and _format(name):
                yield os.path.join(parent, name)


def _format(path: str) -> tuple[str, str | None] | None:
    """The format and compression that a file's name tells, or None."""
    stem, ending = os.path.splitext(path.lower())
    compression = COMPRESSIONS.get(ending)
    if compression:
        ending = os.path.splitext(stem)[1]
    kind = FORMATS.get(ending)
    if kind is None or (compression and kind not in TEXT_FORMATS):
        return None
    return kind, compression


def describe(path: str, name: str | None = None) -> InputFile:
    """One file, by its name's ending and its state on disk."""
    kind = _format(path)
    if kind is None:
        raise InputError(
            "the name ends in no known format",
            where=path,
            remedy=f"Known endings: {', '.join(FORMATS)}, text formats also with .gz or .zst.",
        )
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    path = Path(path).as_posix()
    return InputFile(
        name or path,
        path,
        kind[0],
        kind[1],
        stat.st_size,
        stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
    )


_UTF32_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_encoding(head: bytes, path: str) -> None:
    """Raise `InputError` if the head of a text file shows that the file is not UTF-8 at all.

    A single line that is not UTF-8 is that row's fault. Here it is the file's: UTF-16, told by its
    byte order mark or by NULs in every other place, or a one-byte encoding such as Latin-1, told by
    several lines with bytes beyond ASCII of which not one is UTF-8.
    """
    if head.startswith(_UTF32_BOMS):
        raise InputError(
            "is UTF-32, not UTF-8", where=path, remedy="Convert it: iconv -f UTF-32 -t UTF-8 FILE > NEW."
        )
    if head.startswith(_UTF16_BOMS) or (
        len(head) >= 4 and (head[0:4:2] == b"\0\0" or head[1:4:2] == b"\0\0")
    ):
        raise InputError(
            "is UTF-16, not UTF-8", where=path, remedy="Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW."
        )
    lines = [line for line in head.split(b"\n")[:-1] or [head] if not line.isascii()]
    if len(lines) >= 2 and not any(_is_utf8(line) for line in lines):
        raise InputError(
            "is not UTF-8: no line with letters beyond ASCII is. It looks like Latin-1 or Windows-1252",
            where=path,
            remedy="Convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW.",
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
