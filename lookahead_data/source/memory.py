"""Data handed over from Python, written to a temporary file and then read like any other input.

Types of packages that are no dependency of this one (`datasets`, pandas) are recognized by their module and used
through their public methods, so that nothing is imported for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from lookahead_data.config import MEMORY, Settings
from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile
from lookahead_data.source.discover import describe, discover
from lookahead_data.source.splits import choose

Data: TypeAlias = (
    str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Iterable[Mapping[str, Any]]
    | pa.Table
    | pa.RecordBatch
    | pa.RecordBatchReader
    | pl.DataFrame
    | pl.LazyFrame
    | Any
)
"""What the public functions take as input: paths, or rows.

Rows are an iterable of dicts, an Arrow table, batch, reader or dataset, a Polars or pandas frame, or a `Dataset`,
`DatasetDict` or `IterableDataset` of the package `datasets`.
"""


@contextlib.contextmanager
def as_files(
    data: Data, settings: Settings, warned: Callable[[str], None] = lambda note: None
) -> Iterator[list[InputFile]]:
    """The input files of paths, or of a temporary file that lasts as long as the block.

    Args:
        warned: told what was passed over in folders, and which splits were chosen.
    """
    paths = as_paths(data)
    if paths is not None:
        notes: list[str] = []
        files = discover(paths, settings.input_split, notes, settings.text_unit)
        for note in notes:
            warned(note)
        yield files
        return
    with tempfile.TemporaryDirectory(prefix="lookahead-data-") as folder:
        chosen = _chosen_splits(data, settings.input_split, warned)
        names = [MEMORY] if len(chosen) == 1 else [f"{MEMORY[:-1]}:{name}>" for name, _ in chosen]
        yield [
            describe(str(_spool(rows, Path(folder), f"rows-{at}")), name)
            for at, (name, (_, rows)) in enumerate(zip(names, chosen, strict=True))
        ]


def as_paths(data: Data) -> list[str] | None:
    """The paths that `data` names, or None if it is rows."""
    if isinstance(data, str | os.PathLike):
        return [os.fspath(data)]
    if isinstance(data, Sequence):
        paths = [item for item in data if isinstance(item, str | os.PathLike)]
        if paths and len(paths) == len(data):
            return [os.fspath(path) for path in paths]
    return None


def _is_from(data: Any, package: str, *names: str) -> bool:
    """Whether `data` is an instance of a class of another package, or of a subclass."""
    return any(
        kind.__module__.split(".")[0] == package and kind.__name__ in names for kind in type(data).__mro__
    )


def _chosen_splits(data: Any, wanted: Sequence[str], warned: Callable[[str], None]) -> list[tuple[str, Any]]:
    """The data sets that are read: of a `DatasetDict` the chosen splits, else `data` itself."""
    if not _is_from(data, "datasets", "DatasetDict", "IterableDatasetDict"):
        return [("", data)]
    names = list(data)
    chosen = choose(names, wanted)
    if not chosen:
        raise InputError(
            f"the DatasetDict has {'no such split' if wanted else 'several splits, and none is train'}; "
            f"its splits: {', '.join(names)}",
            where=MEMORY,
            remedy="Choose with input_split=..., or pass one data set: data['NAME'].",
        )
    left = [name for name in names if name not in chosen]
    if left:
        warned(f"reading the split {', '.join(chosen)}; not reading {', '.join(left)} (input_split chooses)")
    return [(name, data[name]) for name in chosen]


def _spool(data: Any, folder: Path, stem: str) -> Path:
    """Write rows to a file of their own, without holding a stream in memory."""
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        data = data.to_arrow()
    if _is_from(data, "pandas", "DataFrame"):
        data = pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        # One file has one dictionary a column.
        data = data.unify_dictionaries().to_reader()
    if _is_from(data, "pyarrow", "Dataset"):
        data = data.scanner().to_reader()
    if _is_from(data, "datasets", "Dataset"):
        return _spool_dataset(data, folder / f"{stem}.arrow")
    if isinstance(data, pa.RecordBatchReader):
        return _write_arrow(data.schema, data, folder / f"{stem}.arrow")
    if not isinstance(data, Iterable) or isinstance(data, Mapping | bytes | bytearray):
        raise InputError(
            f"rows cannot be read from a {type(data).__name__}",
            remedy="Give paths, an iterable of dicts, an Arrow table, reader or dataset, a Polars or pandas frame, "
            "or a Dataset of the package datasets.",
        )
    path = folder / f"{stem}.jsonl"
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for number, row in enumerate(data, 1):
            if not isinstance(row, Mapping):
                raise InputError(
                    f"row {number} is a {type(row).__name__}, not a dict",
                    where=MEMORY,
                    remedy="Give an iterable of dicts, one per row.",
                )
            try:
                file.write(json.dumps(dict(row)) + "\n")
            except (TypeError, ValueError) as error:
                raise InputError(f"row {number} cannot be written as JSON: {error}", where=MEMORY) from None
    return path


_ROWS = 1000


def _spool_dataset(data: Any, path: Path) -> Path:
    """Write a `datasets.Dataset`, whose rows may be a selection of those in its Arrow table."""
    arrow = data.with_format("arrow")
    tables = (arrow[start : start + _ROWS] for start in range(0, len(data), _ROWS))
    schema = arrow[:0].schema
    batches = (batch for table in tables for batch in table.combine_chunks().to_batches())
    return _write_arrow(schema, batches, path)


def _write_arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path
