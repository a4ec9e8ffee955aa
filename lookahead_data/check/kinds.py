"""Whether a folder holds regular files and folders only, before any of them is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lookahead_data.check.report import Findings


def check_kinds(folder: Path, findings: Findings) -> bool:
    """Report links, pipes, sockets and devices; gives whether there are none, so that every file can be read.

    Reading a pipe or a device may never end, and a link shows whatever its target is at that moment.
    """
    good = True
    try:
        for path in walk(folder):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                continue
            what = "is not a regular file (it is a pipe, a socket or a device)"
            remedy = "Remove it."
            if stat.S_ISLNK(mode):
                what, remedy = "is a symbolic link, not a file", "Put the file itself in its place."
            findings.add(name_in(path, folder), what, remedy=remedy)
            good = False
    except OSError as error:
        where = name_in(Path(error.filename or folder), folder)
        findings.add(where, f"cannot be read: {error.strerror}", remedy="Check its permissions.")
        good = False
    return good


def walk(folder: Path) -> Iterator[Path]:
    """All files and folders below a folder, in order; links to folders are not followed."""
    folders = [folder]
    while folders:
        here = folders.pop()
        inner: list[Path] = []
        for path in sorted(here.iterdir()):
            yield path
            if path.is_dir() and not path.is_symlink():
                inner.append(path)
        folders.extend(reversed(inner))


def name_in(path: Path, folder: Path) -> str:
    """The path of a file in its folder. Bytes that are not UTF-8 are shown as escapes."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
