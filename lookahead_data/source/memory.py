"""Data handed over in memory, written to a temporary file and then read as any other."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from lookahead_data.config import MEMORY
from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile
from lookahead_data.source.discover import describe, discover

Data: TypeAlias = (
    str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Sequence[Mapping[str, Any]]
    | pa.Table
    | pa.RecordBatch
    | pl.DataFrame
    | pl.LazyFrame
)
"""What the public functions take as input: paths, or rows in memory."""


@contextlib.contextmanager
def as_files(data: Data) -> Iterator[list[InputFile]]:
    """The input files of paths, or of a temporary file that lasts as long as the block."""
    paths = as_paths(data)
    if paths is not None:
        yield discover(paths)
        return
    with tempfile.TemporaryDirectory(prefix="lookahead-data-") as folder:
        yield [describe(str(_spool(data, Path(folder))), MEMORY)]


def as_paths(data: Data) -> list[str] | None:
    """The paths that `data` names, or None if it is rows in memory."""
    if isinstance(data, str | os.PathLike):
        return [os.fspath(data)]
    if isinstance(data, Sequence):
        paths = [item for item in data if isinstance(item, str | os.PathLike)]
        if paths and len(paths) == len(data):
            return [os.fspath(path) for path in paths]
    return None


def _spool(data: Data, folder: Path) -> Path:
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        data = data.to_arrow()
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        data = data.unify_dictionaries()  # one file has one dictionary a column
        path = folder / "rows.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema) as writer:
            writer.write_table(data)
        return path
    if not isinstance(data, Sequence):
        raise InputError(
            f"rows cannot be read from a {type(data).__name__}",
            remedy="Give paths, a list of dicts, an Arrow table or a Polars frame.",
        )
    path = folder / "rows.jsonl"
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for at, row in enumerate(data):
            try:
                file.write(json.dumps(row) + "\n")
            except (TypeError, ValueError) as error:
                raise InputError(f"row {at} cannot be written as JSON: {error}", where=MEMORY) from None
    return path
