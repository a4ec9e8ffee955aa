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

from lookahead_data.columns import schema
from lookahead_data.config import TRAIN
from lookahead_data.errors import OutputError
from lookahead_data.sink.formats import PARQUET, group_writer, open_shard
from lookahead_data.sink.profiles import Profile
from lookahead_data.sink.publish import commit, discard, sha256_of, temporary_for, writing

UNFINISHED = "_job/unfinished"
"""Where in the output folder shards stand until they are published."""

WEIGHTS = "weights"
"""Where in the output folder the weights of tokens stand."""

GROUP_ROWS = 1000
GROUP_TOKENS = 1_000_000
"""A row group ends after so many rows or tokens, whichever comes first."""


@dataclass(frozen=True)
class Shard:
    """A published shard.

    Attributes:
        path: inside the output folder, `/` between folders.
        rows, tokens, size: of the file; padding is counted among the tokens, and the size is in bytes.
        sha256: of the file's bytes.
        split: whose rows it holds.
        weights: the SHA-256 of the file of weights (see `weights_path`), or None if there is none.
    """

    path: str
    rows: int
    tokens: int
    size: int
    sha256: str
    split: str = TRAIN
    weights: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each of its files, by path inside the output folder."""
        beside = {weights_path(self.path): self.weights} if self.weights is not None else {}
        return {self.path: self.sha256, **beside}


def weights_path(path: str) -> str:
    """Where the weights of a shard's tokens are: a Parquet file of as many rows, in as many groups.

    Not beside the shard, where readers of the shards would take it for one.
    """
    return f"{WEIGHTS}/{Path(path).stem}.{PARQUET}"


class ShardWriter:
    """Writes the rows of one split and unit, or range of an order, into shards `SPLIT-UNIT-00000.parquet`,
    `SPLIT-UNIT-00001.parquet`, …, or `.arrow`.

    A shard is published when it is full and when the writer is closed. Use it as a context manager:
    when the block raises, the unfinished shard is removed.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        number: int,
        profile: Profile,
        *,
        shard_size: int,
        weights: bool = False,
    ) -> None:
        """
        Args:
            folder: the output folder.
            number: of the unit, or of the range in its split; the first one writes a shard even without rows,
                so that there is always one that tells the columns.
            profile: what columns and what format the shards have.
            shard_size: bytes after which a new shard is begun, at the end of a row group.
            weights: write the column `weights` into a file of its own.
        """
        self.shards: list[Shard] = []
        self._folder = folder
        self._split = split
        self._name = f"data/{split}-{number:05d}"
        self._limit = shard_size
        self._always = number == 0
        self._profile = profile
        self._columns = schema((*profile.columns, "weights")) if weights else profile.schema
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
            rows = self._profile.rows_of(batch)
            for name in self._columns.names[len(rows.schema) :]:
                rows = rows.append_column(self._columns.field(name), batch.column(name))
            self._waiting.append(rows)
            self._flush(final=False)

    def _flush(self, *, final: bool) -> None:
        """Write every row group that is complete; at the end the last one too."""
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self._columns)
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
        weights = "weights" in self._columns.names
        return _OpenShard(self._folder, path, self._split, self._profile, weights=weights)

    def _finish(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.publish())
            self._open = None


class _OpenShard:
    """A shard that is being written under a temporary name, and the weights of its tokens."""

    def __init__(self, folder: Path, path: str, split: str, profile: Profile, *, weights: bool) -> None:
        self._path = path
        self._split = split
        self._columns = list(profile.columns)
        self._rows = self._tokens = 0
        self._main = _OpenFile(folder, path, profile.schema, profile.format)
        self._weights = (
            _OpenFile(folder, weights_path(path), schema(["weights"]), PARQUET) if weights else None
        )

    def write(self, group: pa.Table) -> int:
        """Write one row group and give the size of the file so far, in bytes."""
        self._rows += group.num_rows
        self._tokens += sum(len(chunk.flatten()) for chunk in group.column("input_ids").chunks)
        if self._weights is not None:
            self._weights.write(group.select(["weights"]))
        return self._main.write(group.select(self._columns))

    def publish(self) -> Shard:
        # The weights first: a shard that is there has them.
        weights = self._weights.publish(self._rows)[1] if self._weights is not None else None
        size, digest = self._main.publish(self._rows)
        return Shard(self._path, self._rows, self._tokens, size, digest, self._split, weights)

    def abandon(self) -> None:
        for file in (self._main, self._weights):
            if file is not None:
                file.abandon()


class _OpenFile:
    """A file of row groups that is being written under a temporary name."""

    def __init__(self, folder: Path, path: str, wanted: pa.Schema, format: str) -> None:
        self._target = folder / path
        self._temporary = temporary_for(self._target, folder / UNFINISHED)
        with writing(self._target):
            self._sink = pa.OSFile(str(self._temporary), "wb")
            self._writer = group_writer(self._sink, wanted, format)

    def write(self, group: pa.Table) -> int:
        """Write one row group and give the size of the file so far, in bytes."""
        with writing(self._target):
            self._writer.write(group)
            return int(self._sink.tell())

    def publish(self, rows: int) -> tuple[int, str]:
        """Publish the file, which holds so many rows; gives its size and SHA-256."""
        with writing(self._target):
            self._writer.close()
            self._sink.close()
            # The rows that count are those that can be read back.
            with open_shard(self._temporary) as shard:
                read_back = sum(shard.group_rows)
            size, digest = self._temporary.stat().st_size, sha256_of(self._temporary)
        if read_back != rows:
            raise OutputError(f"wrote {rows} rows and read back {read_back}", where=str(self._target))
        commit(self._temporary, self._target)
        return size, digest

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
