"""The file formats of shards, and reading either of them back group by group.

Parquet is what most trainers read. The Arrow IPC stream, uncompressed, is what `datasets` maps into
memory. A group is a row group of Parquet, or a record batch of a stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

PARQUET = "parquet"
ARROW = "arrow"
"""Formats; each is also the ending of its files."""

WRITER: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "version": "2.6",
    "data_page_version": "2.0",
    "data_page_size": 1 << 20,
    "write_batch_size": 32 << 10,
    "use_dictionary": False,
    "write_statistics": True,
    "write_page_checksum": True,
    "store_schema": True,
}
"""The Parquet writer's settings, pinned so that equal rows give equal bytes."""


class GroupWriter(Protocol):
    """Writes a shard, one group at a time."""

    def write(self, group: pa.Table) -> None:
        """Write a table as one group."""
        ...

    def close(self) -> None:
        """Write what stands at the end of the file; the file itself stays open."""
        ...


def group_writer(sink: pa.NativeFile, wanted: pa.Schema, format: str) -> GroupWriter:
    """A writer of a format into an open file."""
    return _ArrowWriter(sink, wanted) if format == ARROW else _ParquetWriter(sink, wanted)


class _ParquetWriter:
    def __init__(self, sink: pa.NativeFile, wanted: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(sink, wanted, **WRITER)

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks(), row_group_size=group.num_rows)

    def close(self) -> None:
        self._writer.close()


class _ArrowWriter:
    def __init__(self, sink: pa.NativeFile, wanted: pa.Schema) -> None:
        options = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V5, compression=None)
        self._writer = pa.ipc.new_stream(sink, wanted, options=options)

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks())

    def close(self) -> None:
        self._writer.close()


class ShardReader(Protocol):
    """A shard that is open for reading."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def group_rows(self) -> list[int]:
        """The rows of each group."""
        ...

    def group(self, at: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A group, or some columns of it."""
        ...


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[ShardReader]:
    """Open a shard; its format goes by the ending. Parquet's page checksums are compared.

    Raises:
        OSError, pa.ArrowException: it cannot be read; also while it is.
    """
    if path.suffix == f".{ARROW}":
        with pa.memory_map(str(path)) as file:
            yield _ArrowShard(file)
    else:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield _ParquetShard(parquet)


class _ParquetShard:
    def __init__(self, parquet: pq.ParquetFile) -> None:
        self._parquet = parquet

    @property
    def schema(self) -> pa.Schema:
        return self._parquet.schema_arrow

    @property
    def group_rows(self) -> list[int]:
        metadata = self._parquet.metadata
        return [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]

    def group(self, at: int, columns: Sequence[str] | None = None) -> pa.Table:
        return self._parquet.read_row_group(at, columns=columns and list(columns))


class _ArrowShard:
    def __init__(self, file: pa.MemoryMappedFile) -> None:
        stream = pa.ipc.open_stream(file)
        self.schema: pa.Schema = stream.schema
        self._batches = list(stream)  # views of the mapped file, so nothing is read yet

    @property
    def group_rows(self) -> list[int]:
        return [batch.num_rows for batch in self._batches]

    def group(self, at: int, columns: Sequence[str] | None = None) -> pa.Table:
        batch = self._batches[at]
        batch.validate(full=True)  # damaged offsets would point outside the file
        table = pa.Table.from_batches([batch])
        return table.select(list(columns)) if columns else table
