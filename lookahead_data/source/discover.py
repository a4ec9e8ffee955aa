"""From what the user named to the ordered list of input files."""

from __future__ import annotations

import codecs
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lookahead_data.errors import InputError
from lookahead_data.paths import check_name, check_regular, masked
from lookahead_data.plan import InputFile
from lookahead_data.source.folders import indexed_by, read_folder
from lookahead_data.source.sniff import sniff

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
    ".txt": "txt",
}
"""Formats by the file name's ending."""

COMPRESSIONS: dict[str, str] = {".gz": "gzip", ".zst": "zstd"}
TEXT_FORMATS = ("jsonl", "json", "csv", "tsv", "txt", "txt-lines")
"""Formats that are text, and may be compressed as a whole."""

_GLOB = frozenset("*?[")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_LFS = b"version https://git-lfs.github.com/spec/"


def discover(
    inputs: Iterable[str | os.PathLike[str]],
    splits: Sequence[str] = (),
    notes: list[str] | None = None,
    text_unit: str = "file",
) -> list[InputFile]:
    """The files that `inputs` name: files, glob patterns, and folders with all data below them.

    Inputs keep the order in which they were given; inside a folder or a pattern the order is that of
    the paths. `source.folders` tells what in a folder is data. A file that is named twice is read once.

    Args:
        splits: the splits of folders that are read (see `source.splits.choose`).
        notes: what was passed over, and which splits were taken, is added here in words.
        text_unit: what a document of a `.txt` file is: the `file`, or a `line`.

    Raises:
        InputError: an input does not exist, is no regular file or folder, holds nothing that can be read, or has an
            unknown format.
    """
    found: dict[str, InputFile] = {}
    for item in inputs:
        for file in _expand(check_name(os.fspath(item)), splits, [] if notes is None else notes):
            file = sniff(file)
            if file.format == "txt" and text_unit == "line":
                file = replace(file, format="txt-lines")
            found.setdefault(_identity(file.path), file)
    if not found:
        raise InputError("no input was given", remedy="Name at least one file, folder or glob pattern.")
    return list(found.values())


def _identity(path: str) -> str:
    """What makes two paths the same file: where links lead to.

    A Hub cache stores equal contents once, so two shards may link to one blob; these are two files.
    """
    real = os.path.realpath(path)
    if os.path.basename(os.path.dirname(real)) == "blobs":
        return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return real


def _expand(item: str, splits: Sequence[str], notes: list[str]) -> list[InputFile]:
    if os.path.isdir(item):
        if os.path.isfile(os.path.join(item, "manifest.json")) and os.path.isdir(os.path.join(item, "_job")):
            raise InputError(
                "is a finished output folder of lookahead-data, which holds token ids and no text",
                where=item,
                remedy="Name the corpus that it was made from (see inputs in its manifest.json).",
            )
        folder = read_folder(item, _is_data, splits)
        if not folder.files:
            raise InputError("the folder holds no file of a known format", where=item, remedy=_KNOWN)
        notes += folder.notes
        return [describe(check_name(file.path), parts=file.parts) for file in folder.files]
    if os.path.exists(item):
        return [describe(item)]
    if _GLOB & set(item) and not _ADDRESS.match(item):
        paths = sorted(
            path for path in glob.glob(item, recursive=True) if os.path.isfile(path) and _format(path)
        )
        if not paths:
            raise InputError("no file of a known format matches this pattern", where=item)
        return [describe(check_name(path)) for path in paths]
    raise _missing(item)


def _missing(item: str) -> InputError:
    """Why an input that does not exist cannot be read."""
    address = _ADDRESS.match(item)
    if item == "-":
        return InputError(
            "standard input cannot be read: a job reads its inputs more than once",
            remedy="Write the rows to a file first, and name that file.",
        )
    if item.startswith("hf://") or (not address and re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", item)):
        name = re.sub(r"^hf://(datasets/)?", "", item).split("@")[0]
        repository = "/".join(name.split("/")[:2])
        problem = "there is no such file or folder"
        return InputError(
            problem if not address else "data sets on the Hub are not read directly",
            where=item,
            remedy=f"If it is a data set on the Hub, download it and name the folder: "
            f"hf download --repo-type dataset {repository} --local-dir {repository.split('/')[-1]}",
        )
    if address:
        return InputError(
            "addresses are not read directly",
            where=masked(item),
            remedy="Download the file first (for instance with curl -LO), and name the local file.",
        )
    return InputError("there is no such file or folder", where=item)


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


def _is_data(name: str, *, beside_data: bool = False) -> bool:
    """Whether a file of a folder holds rows; text files beside data (a LICENSE.txt) do not."""
    kind = _format(name)
    return kind is not None and not (beside_data and kind[0] == "txt")


_KNOWN = f"Known endings: {', '.join(FORMATS)}, text formats also with .gz or .zst."
_UNPACK = {
    ".bz2": "bunzip2 -k",
    ".xz": "unxz -k",
    ".zip": "unzip",
    ".tar": "tar -xf",
    ".7z": "7z x",
    ".rar": "unrar x",
}


def describe(path: str, name: str | None = None, parts: Sequence[str] = ()) -> InputFile:
    """One file, by its name's ending and its state on disk.

    Args:
        parts: see `InputFile.parts`; those of the row indices of a saved dataset are found without.
    """
    kind = _format(path)
    if kind is None:
        ending = os.path.splitext(path.lower())[1]
        tool = _UNPACK.get(ending)
        raise InputError(
            f"files compressed as {ending} are not read" if tool else "the name ends in no known format",
            where=path,
            remedy=f"Unpack it first: {tool} {path}" if tool else _KNOWN,
        )
    parts = tuple(parts) or indexed_by(path)
    own = check_regular(path)
    size, changed = own.st_size, own.st_mtime_ns
    for part in parts:
        stat = check_regular(part)
        size, changed = size + stat.st_size, max(changed, stat.st_mtime_ns)
    _refuse_pointer(path)
    path = Path(path).as_posix()
    # Of several files together only sizes and times are compared.
    inode_changed = None if parts else own.st_ctime_ns
    return InputFile(name or path, path, kind[0], kind[1], size, changed, parts=parts, ctime_ns=inode_changed)


def _refuse_pointer(path: str) -> None:
    """Refuse a file that Git LFS left in place of the real one."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(_LFS))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    if head == _LFS:
        raise InputError(
            "is a Git LFS pointer: the file itself was not downloaded",
            where=path,
            remedy="Run git lfs pull in the repository, or download the file from its page.",
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
