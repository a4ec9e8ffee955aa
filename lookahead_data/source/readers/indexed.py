"""Arrow IPC files, and saved datasets whose rows were selected or shuffled: row indices into Arrow files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import Ints
from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile

_ROWS = 1024
"""Rows that are gathered at once by their indices."""


def data_path(file: InputFile) -> str:
    """The path of a file that has the schema of the rows."""
    return file.parts[0] if file.parts else file.path


def open_ipc(source: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    """A reader of either form of Arrow IPC."""
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def ipc_batches(
    file: InputFile, check: Callable[[pa.RecordBatch], None], names: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of an Arrow input, in order, in batches as they come.

    Args:
        check: raises `pa.ArrowInvalid` where a batch is damaged.
        names: the columns to read; None is all.
    """
    if not file.parts:
        with pa.memory_map(file.path) as source:
            for batch in _batches_of(source, names):
                check(batch)
                yield batch
        return
    with contextlib.ExitStack() as stack:
        batches: list[pa.RecordBatch] = []
        for part in file.parts:
            source = stack.enter_context(pa.memory_map(part))
            for batch in _batches_of(source, names):
                check(batch)
                batches.append(batch)
        yield from _gathered(batches, _indices(file), file)


def _batches_of(source: pa.NativeFile, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    reader = open_ipc(source)
    if names is not None:
        fields = [at for at, name in enumerate(reader.schema.names) if name in names]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        is_stream = isinstance(reader, pa.RecordBatchStreamReader)
        source.seek(0)
        reader = (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(source, options=options)
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
    else:
        yield from map(reader.get_batch, range(reader.num_record_batches))


def _indices(file: InputFile) -> Ints:
    """The row numbers of a saved dataset, in its order; shape (rows,)."""
    with pa.memory_map(file.path) as source:
        table = open_ipc(source).read_all()
        if table.num_columns != 1 or not pa.types.is_integer(table.schema.field(0).type):
            raise InputError("holds no row indices, though state.json says so", where=file.name)
        found: Ints = table.column(0).to_numpy().astype(np.int64)
    return found


def _gathered(batches: Sequence[pa.RecordBatch], indices: Ints, file: InputFile) -> Iterator[pa.RecordBatch]:
    """The rows at `indices` of all batches together, in that order."""
    bounds = np.concatenate([[0], np.cumsum([batch.num_rows for batch in batches])])
    if len(indices) and not 0 <= indices.min() <= indices.max() < bounds[-1]:
        raise InputError(
            f"row index {indices.max():,} points beyond the {bounds[-1]:,} rows of the data",
            where=file.name,
            remedy="Save the dataset again with save_to_disk.",
        )
    for start in range(0, len(indices), _ROWS):
        wanted = indices[start : start + _ROWS]
        owners = np.searchsorted(bounds, wanted, side="right") - 1
        order = np.argsort(owners, kind="stable")
        taken = [
            batches[owner].take(pa.array(wanted[owners == owner] - bounds[owner]))
            for owner in np.unique(owners).tolist()
        ]
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        yield pa.concat_batches(taken).take(pa.array(places))
