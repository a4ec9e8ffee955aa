"""Shards of training rows.

The bytes of a shard depend on its rows alone: row groups have a fixed size whatever the batches
were that the rows came in, and the writers' settings are pinned in `sink.formats`.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.errors import OutputError
from lookahead_data.sink.formats import group_writer, open_shard
from lookahead_data.sink.profiles import Profile
from lookahead_data.sink.publish import commit, discard, sha256_of, temporary_for, writing

UNFINISHED = "_job/unfinished"
"""Where in the output folder shards stand until they are published."""

GROUP_ROWS = 1000
GROUP_TOKENS = 4_000_000
"""A row group ends after so many rows or tokens, whichever comes first."""


@dataclass(frozen=True)
class Shard:
    """A published shard.

    Attributes:
        path: inside the output folder, `/` between folders.
        rows, tokens, size: of the file; padding is counted among the tokens, and the size is in bytes.
        sha256: of the file's bytes.
    """

    path: str
    rows: int
    tokens: int
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ShardWriter:
    """Writes the rows of one unit into shards `NAME-00000.parquet`, `NAME-00001.parquet`, …, or `.arrow`

    A shard is published when it is full and when the writer is closed. Use it as a context manager:
    when the block raises, the unfinished shard is removed.
    """

    def __init__(
        self, folder: Path, name: str, profile: Profile, *, shard_size: int, always: bool = False
    ) -> None:
        """
        Args:
            folder: the output folder.
            name: the path of the shards in it, less their number and ending.
            profile: what columns and what format they have.
            shard_size: bytes after which a new shard is begun, at the end of a row group.
            always: write a shard without rows if there are no rows at all.
        """
        self.shards: list[Shard] = []
        self._folder = folder
        self._name = name
        self._limit = shard_size
        self._always = always
        self._profile = profile
        self._group_rows = profile.group_rows or GROUP_ROWS
        self._waiting: list[pa.RecordBatch] = []
        self._open: _OpenShard | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._flush(final=True)
                if self._open is None and self._always and not self.shards:
                    self._open = self._begin()
                self._finish()
        finally:
            if self._open is not None:
                self._open.abandon()

    def write(self, batch: pa.RecordBatch) -> None:
        """Take the rows of a batch that has what the profile needs."""
        if batch.num_rows:
            self._waiting.append(self._profile.rows_of(batch))
            self._flush(final=False)

    def _flush(self, *, final: bool) -> None:
        """Write every row group that is complete; at the end the last one too."""
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self._profile.schema)
        start = 0
        for stop in _group_ends(table, self._group_rows):
            self._write_group(table.slice(start, stop - start))
            start = stop
        rest = table.slice(start)
        if final and rest.num_rows:
            self._write_group(rest)
            rest = rest.slice(rest.num_rows)
        self._waiting = rest.to_batches() if rest.num_rows else []

    def _write_group(self, group: pa.Table) -> None:
        if self._open is None:
            self._open = self._begin()
        if self._open.write(group) >= self._limit:
            self._finish()

    def _begin(self) -> _OpenShard:
        path = f"{self._name}-{len(self.shards):05d}.{self._profile.format}"
        return _OpenShard(self._folder, path, self._profile)

    def _finish(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.publish())
            self._open = None


class _OpenShard:
    """A shard that is being written under a temporary name."""

    def __init__(self, folder: Path, path: str, profile: Profile) -> None:
        self._path = path
        self._target = folder / path
        self._rows = self._tokens = 0
        self._temporary = temporary_for(self._target, folder / UNFINISHED)
        with writing(self._target):
            self._sink = pa.OSFile(str(self._temporary), "wb")
            self._writer = group_writer(self._sink, profile.schema, profile.format)

    def write(self, group: pa.Table) -> int:
        """Write one row group and give the size of the file so far, in bytes."""
        with writing(self._target):
            self._writer.write(group)
            self._rows += group.num_rows
            self._tokens += sum(len(chunk.flatten()) for chunk in group.column("input_ids").chunks)
            return int(self._sink.tell())

    def publish(self) -> Shard:
        with writing(self._target):
            self._writer.close()
            self._sink.close()
            # The rows that count are those that can be read back.
            with open_shard(self._temporary) as shard:
                read_back = sum(shard.group_rows)
            size, digest = self._temporary.stat().st_size, sha256_of(self._temporary)
        if read_back != self._rows:
            raise OutputError(f"wrote {self._rows} rows and read back {read_back}", where=str(self._target))
        commit(self._temporary, self._target)
        return Shard(self._path, self._rows, self._tokens, size, digest)

    def abandon(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()  # else its destructor would write to the closed file
        with contextlib.suppress(OSError):
            self._sink.close()
        discard(self._temporary)


def _group_ends(table: pa.Table, rows: int) -> list[int]:
    """The rows before which complete row groups end."""
    totals = np.cumsum(pc.list_value_length(table.column("input_ids")).to_numpy(), dtype=np.int64)
    ends: list[int] = []
    start = 0
    while start < len(totals):
        before = totals[start - 1] if start else 0
        by_tokens = int(np.searchsorted(totals, before + GROUP_TOKENS)) + 1
        stop = min(start + rows, by_tokens)
        if stop > len(totals):
            break
        ends.append(stop)
        start = stop
    return ends
