"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lookahead_data.errors import OutputError

TEMPORARY = ".tmp-"
"""What the names of unfinished files begin with."""


def temporary_for(path: Path, folder: Path | None = None) -> Path:
    """Where to write what will become `path`; its folder is made. No two processes get the same.

    Args:
        folder: where unfinished files go, on the same disk; None is beside `path`. Polars and DuckDB
            read hidden files too, so nothing unfinished may stand among shards.
    """
    name = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{path.name}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    return (folder or path.parent) / name


def commit(temporary: Path, path: Path) -> None:
    """Make a finished temporary file `path`.

    The file is flushed to the disk, renamed, and its folder flushed, so that after a crash the name
    stands for the whole file or for nothing.
    """
    with writing(path):
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)


def left_beside(path: Path) -> list[Path]:
    """What processes that are gone left unfinished of `path`."""
    found = []
    for left in path.parent.glob(f"{TEMPORARY}*-{glob.escape(path.name)}*"):
        process = left.name.removeprefix(TEMPORARY).split("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            found.append(left)
    return found


def sweep_beside(path: Path) -> None:
    """Remove what processes that are gone left unfinished of `path`."""
    for left in left_beside(path):
        with writing(left):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def discard(temporary: Path) -> None:
    """Remove a temporary file, if it is there."""
    with contextlib.suppress(OSError):
        temporary.unlink()


@contextlib.contextmanager
def publishing(path: Path, first: Callable[[], object] | None = None) -> Iterator[Path]:
    """A temporary path; what was written there becomes `path` when the block ends well.

    Args:
        first: called when the file is whole and on the disk, right before it gets its name.
    """
    temporary = temporary_for(path)
    try:
        with writing(path):
            yield temporary
        if first is not None:
            with writing(path), open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            first()
        commit(temporary, path)
    except BaseException:
        discard(temporary)
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells a failure of the disk as an `OutputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="What was published before is whole. Make room, or mend the rights, and start again.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Publish a text file."""
    with publishing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, document: Any) -> None:
    """Publish a JSON document, laid out for people."""
    write_text(path, json_text(document))


def json_text(document: Any) -> str:
    """A JSON document as `write_json` lays it out."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def load_json(path: Path) -> Any:
    """Read a JSON document, such as `write_json` writes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON in UTF-8, or is nested too deeply.
    """
    return parse_json(path.read_bytes().decode("utf-8"))


def parse_json(text: str) -> Any:
    """A JSON document from its text.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
