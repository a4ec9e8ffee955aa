"""Rows of any fields, written to one file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.errors import OutputError
from lookahead_data.sink.publish import publishing

OUTPUT_FORMATS = ("jsonl", "json", "parquet")

FLUSHED_AT = 32 << 20
"""Bytes after which lines are flushed to the disk."""

Row = dict[str, Any]


def write_lines(batches: Iterable[bytes], path: Path, first: Callable[[], object] | None = None) -> None:
    """Write JSON Lines to one file, which appears whole or not at all.

    Args:
        batches: the lines as they shall be written, any number of them each.
        first: called right before the finished file gets its name.
    """
    with publishing(path, first) as temporary, open(temporary, "wb") as file, ThreadPoolExecutor(1) as pool:
        flushes: list[Future[None]] = []
        waiting = 0
        for data in batches:
            file.write(data)
            waiting += len(data)
            # The disk is at work while the next lines are made, and little is left to do for it at the end.
            if waiting >= FLUSHED_AT and all(flush.done() for flush in flushes):
                file.flush()
                flushes.append(pool.submit(os.fsync, file.fileno()))
                waiting = 0
        for flush in flushes:
            flush.result()


def write_rows(
    batches: Iterable[list[Row]],
    path: Path,
    kind: str,
    schema: pa.Schema | None = None,
    first: Callable[[], object] | None = None,
) -> None:
    """Write rows to one file, which appears whole or not at all.

    Args:
        kind: `json` or `parquet`; for `jsonl` there is `write_lines`.
        schema: of a Parquet file; None finds it from all the rows.
        first: called right before the finished file gets its name.
    """
    with (
        publishing(path, first) as temporary,
        contextlib.closing(_WRITERS[kind](temporary, schema)) as writer,
    ):
        for batch in batches:
            writer.write(batch)
        writer.end()


def json_lines(rows: Iterable[Row]) -> bytes:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode()


def table_of(rows: list[Row], schema: pa.Schema | None) -> pa.Table:
    """Rows as a table; without a schema that of the rows, their fields in the order of appearance."""
    if schema is None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    arrays = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            arrays.append(pa.array(values, column.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            arrays.append(pa.array(values).cast(column.type))  # read as text, see `readers.columnar`
    return pa.Table.from_arrays(arrays, schema=schema)


class _Writer(Protocol):
    def __init__(self, path: Path, schema: pa.Schema | None) -> None: ...
    def write(self, rows: list[Row]) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class _JsonArray:
    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._file: IO[str] = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._separator = "[\n"

    def write(self, rows: list[Row]) -> None:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False, default=str, indent=4)
            self._file.write(self._separator + "    " + text.replace("\n", "\n    "))
            self._separator = ",\n"

    def end(self) -> None:
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Rows of JSON have no schema before the last one is read: they wait in an Arrow file."""

    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._path = path
        self._schema = schema
        self._waiting = path.with_name(path.name + ".rows")
        self._file = open(self._waiting, "w+b")  # noqa: SIM115
        self._schemas: list[pa.Schema] = []

    def write(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            table = table_of(rows, self._schema)
        except pa.ArrowException as error:
            raise self._mixed(error) from None
        self._schemas.append(table.schema)
        with pa.BufferOutputStream() as buffer:
            with pa.ipc.new_stream(buffer, table.schema) as stream:
                stream.write_table(table)
            data = buffer.getvalue()
        self._file.write(len(data).to_bytes(8, "little"))
        self._file.write(data)

    def end(self) -> None:
        try:
            schema = self._schema or pa.unify_schemas(self._schemas, promote_options="permissive")
            with pq.ParquetWriter(self._path, schema, compression="zstd") as writer:
                for table in self._tables():
                    missing = [name for name in schema.names if name not in table.schema.names]
                    for name in missing:
                        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
                    writer.write_table(table.select(schema.names).cast(schema))
        except pa.ArrowException as error:
            raise self._mixed(error) from None

    def _tables(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        while head := self._file.read(8):
            data = self._file.read(int.from_bytes(head, "little"))
            yield pa.ipc.open_stream(data).read_all()

    def _mixed(self, error: Exception) -> OutputError:
        return OutputError(
            f"the rows do not fit one Parquet schema: {error}",
            where=str(self._path),
            remedy="Write JSON Lines instead: --format jsonl.",
        )

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self._waiting.unlink(missing_ok=True)


_WRITERS: Mapping[str, type[_Writer]] = {"json": _JsonArray, "parquet": _Parquet}
