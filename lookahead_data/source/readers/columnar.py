"""Parquet and Arrow IPC (Feather): columns with types."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.readers.indexed import data_path, ipc_batches, open_ipc
from lookahead_data.source.records import Record, Split

_BATCH_ROWS = 1024


def fields(file: InputFile) -> list[str] | None:
    names = list(schema(file).names)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"there are two columns named {twice[0]!r}", where=file.name, remedy="Rename one of them."
        )
    return names


def schema(file: InputFile) -> pa.Schema:
    """The file's Arrow schema."""
    with told(file):
        if file.format == "parquet":
            with pq.ParquetFile(file.path, memory_map=True) as parquet:
                found = parquet.schema_arrow
        else:
            with pa.memory_map(data_path(file)) as source:
                found = open_ipc(source).schema
        str(found.names)  # of damaged files they may be no text
        return found


def row_groups(file: InputFile) -> int:
    """The number of row groups of a Parquet file."""
    with told(file), pq.ParquetFile(file.path, memory_map=True) as parquet:
        return int(parquet.num_row_groups)


def split(file: InputFile, unit_size: int) -> list[Split]:
    """Row groups of a Parquet file, as many as make up the size; an Arrow file is one range."""
    if file.format != "parquet":
        return [Split(0, file.size, 0, file.size)]
    with told(file), pq.ParquetFile(file.path, memory_map=True) as parquet:
        groups = [parquet.metadata.row_group(at) for at in range(parquet.metadata.num_row_groups)]
    parts: list[Split] = []
    start = first_row = row = size = 0
    for at, group in enumerate(groups):
        row += group.num_rows
        size += group.total_byte_size
        if size >= unit_size or at == len(groups) - 1:
            parts.append(Split(start, at + 1, first_row, size))
            start, first_row, size = at + 1, row, 0
    return parts or [Split(0, 0, 0, file.size)]


def read(
    file: InputFile, part: Split, *, max_line_size: int, names: Sequence[str] | None = None
) -> Iterator[Record]:
    row = part.first_row
    for batch in _batches(file, part):
        if names is not None:
            batch = batch.select([name for name in batch.schema.names if name in names])
        size = max(batch.nbytes // max(batch.num_rows, 1), 1)
        for value in values_of(batch):
            yield Record(row, None, size, value)
            row += 1


def values_of(batch: pa.RecordBatch) -> list[dict[str, Any] | RowError]:
    """The rows as Python values, or why one cannot be read."""
    with contextlib.suppress(pa.ArrowException):  # else it is looked at as it is
        batch = resolved(batch)
    try:
        batch.validate(full=True)
        return _rows(batch)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        pass
    # Some text is not UTF-8, which Arrow lets pass until asked: find the rows, keep their neighbours.
    values: list[dict[str, Any] | RowError] = []
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        try:
            pa.RecordBatch.from_arrays(
                [column.take([0]) for column in row.columns], schema=row.schema
            ).validate(full=True)
            values.append(_rows(row)[0])
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            values.append(RowError("invalid_utf8", f"a text is not UTF-8: {error}"))
    return values


def check_structure(batch: pa.RecordBatch) -> None:
    """Raise `pa.ArrowInvalid` if offsets, lengths or indices of damaged columns point nowhere.

    Arrow does not look at them when it reads, and ends the process where it follows one. Text that is
    not UTF-8 is no such damage: it is its row's fault alone.
    """
    batch.validate()
    for column in batch.columns:
        _check_array(column)


def _check_array(array: pa.Array) -> None:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array.indices.validate(full=True)
        found = pc.min_max(array.indices).as_py()
        if found["min"] is not None and not 0 <= found["min"] <= found["max"] < len(array.dictionary):
            raise pa.ArrowInvalid("an index points beyond its dictionary")
        _check_array(array.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = array.offsets.to_numpy()
        if len(offsets) and (
            offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(array.values)
        ):
            raise pa.ArrowInvalid("a list points beyond its values")
        _check_array(array.values)
    elif pa.types.is_struct(kind):
        for at in range(kind.num_fields):
            _check_array(array.field(at))
    else:
        same = next((other for is_text, other in _TEXTS if is_text(kind)), None)
        (array if same is None else array.view(same)).validate(full=True)


_TEXTS = (
    (pa.types.is_string, pa.binary()),
    (pa.types.is_large_string, pa.large_binary()),
    (pa.types.is_string_view, pa.binary_view()),
)


def resolved(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with plain texts for dictionaries and views, which not all of Arrow knows."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in rows.columns
    ]
    kinds = [_plain_type(column.type) for column in columns]
    columns = [
        column if column.type == kind else column.cast(kind)
        for column, kind in zip(columns, kinds, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
        return make(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any] | RowError]:
    columns = [_python_values(column) for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _python_values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, KeyError):
        # Python has no nanoseconds, no year 10,000 and not every time zone; as text they stay whole.
        return list(column.cast(pa.string()).to_pylist())


def _batches(file: InputFile, part: Split) -> Iterator[pa.RecordBatch]:
    with told(file):
        if file.format == "parquet":
            with pq.ParquetFile(file.path, memory_map=True, page_checksum_verification=True) as parquet:
                groups = range(part.start, part.stop)
                if groups:
                    for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups):
                        check_structure(batch)
                        yield batch
            return
        for batch in ipc_batches(file, check_structure):
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


@contextlib.contextmanager
def told(file: InputFile) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        size = " (it is empty)" if file.size == 0 else ""
        raise InputError(
            f"is no {file.format} file, or is cut short or damaged{size}: {str(error).splitlines()[0]}",
            where=file.name,
            remedy="Fetch or write the file again.",
        ) from None
