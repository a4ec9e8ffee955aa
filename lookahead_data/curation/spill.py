"""What is too much for memory, in files: keys of rows, and arrays of which some rows are read again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.arrays import Ints
from lookahead_data.errors import OutputError

Number = TypeVar("Number", bound=np.generic)

_GROUP_BYTES = 8_000_000
_REGION_BYTES = 128_000_000
_PASS_BYTES = 6
"""What grouping takes, in bytes for each byte of rows and keys."""


@contextlib.contextmanager
def spilling(path: Path) -> Iterator[None]:
    """Tell a failure to write or read a file as an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot be spilled to: {error.strerror or error}",
            where=str(path),
            remedy="Make room there, or give another folder for temporary files.",
        ) from error


@dataclass(frozen=True)
class Groups:
    """Rows that share a key with others.

    Attributes:
        rows: group after group, ascending in each, shape (rows,).
        starts: where each group begins in `rows`, and the end: shape (groups + 1,).
    """

    rows: Ints
    starts: Ints

    @property
    def firsts(self) -> Ints:
        """The first row of each row's group, shape (rows,)."""
        return np.repeat(self.rows[self.starts[:-1]], np.diff(self.starts))

    def where(self, kept: npt.NDArray[np.bool_]) -> Groups:
        """The groups of only those rows that are kept; some may have one row then, or none."""
        which = kept[self.rows]
        counts = np.concatenate([[0], np.cumsum(which)])
        return Groups(self.rows[which], counts[self.starts])


class KeyFile:
    """Rows with one or several keys each, in a Parquet file: `row` int64, and a column of uint64 a key."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        fields = [("row", pa.int64()), *((name, pa.uint64()) for name in names)]
        self._schema = pa.schema(fields)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._whole: pl.DataFrame | None = None
        # Hashes neither shrink nor repeat.
        with spilling(path):
            self._writer = pq.ParquetWriter(
                path, self._schema, compression="none", use_dictionary=False, write_statistics=False
            )

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with spilling(self.path):
            if kind is None:
                self._write()
            self._writer.close()

    def add(self, rows: Ints, keys: npt.NDArray[np.uint64]) -> None:
        """Add rows, whose numbers must ascend, with keys of shape (rows, names)."""
        columns = [pa.array(rows), *(pa.array(np.ascontiguousarray(column)) for column in keys.T)]
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._waiting_rows += len(rows)
        self.rows += len(rows)
        if self._waiting_rows * 8 * len(columns) > _GROUP_BYTES:
            with spilling(self.path):
                self._write()

    def _write(self) -> None:
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if waiting:
            self._writer.write_table(pa.Table.from_batches(waiting))

    def groups(self, names: Sequence[str], memory: int) -> Iterator[Groups]:
        """The rows whose keys `names` are equal to those of another row.

        All keys are read once for each `memory` bytes that grouping them takes, and of these each time the
        keys of one remainder.
        """
        passes = max(1, -(-self.rows * 8 * (1 + len(names)) * _PASS_BYTES // memory))
        for part in range(passes):
            frame = self._read(names, memory, passes, part)
            key = pl.struct(names) if len(names) > 1 else pl.col(names[0])
            frame = frame.filter(key.is_duplicated()).sort(*names, "row")
            if frame.height:
                changes = [np.diff(frame[name].to_numpy()) != 0 for name in names]
                inner = np.flatnonzero(np.logical_or.reduce(changes)) + 1
                yield Groups(frame["row"].to_numpy(), np.concatenate([[0], inner, [frame.height]]))

    def _read(self, names: Sequence[str], memory: int, passes: int, part: int) -> pl.DataFrame:
        """The rows and keys of one pass."""
        if passes == 1 and self.rows * 8 * len(self._schema) * 2 <= memory:
            # All of it is so little that it is read once, whatever is asked for next.
            if self._whole is None:
                self._whole = pl.read_parquet(self.path, glob=False)
            return self._whole.select("row", *names)
        scan = pl.scan_parquet(self.path, glob=False).select("row", *names)
        if passes > 1:
            scan = scan.filter(pl.col(names[0]) % passes == part)
        return scan.collect(engine="streaming")

    def repeats(self, names: Sequence[str], memory: int) -> tuple[Ints, Ints]:
        """The rows whose keys repeat those of another, ascending, and the first row that each repeats."""
        found: list[Ints] = [np.zeros((2, 0), np.int64)]
        for groups in self.groups(names, memory):
            pairs = np.stack([groups.rows, groups.firsts])
            found.append(pairs[:, pairs[0] != pairs[1]])
        row, first = np.concatenate(found, axis=1)
        order = np.argsort(row)
        return row[order], first[order]


class ArrayFile(Generic[Number]):
    """Rows of an array of one width, appended to a file and read again where they are needed."""

    def __init__(self, path: Path, width: int, dtype: type[Number]) -> None:
        self._path = path
        self._width = width
        self._dtype = np.dtype(dtype)
        with spilling(path):
            self._file = open(path, "wb")  # noqa: SIM115

    def add(self, rows: npt.NDArray[Number]) -> None:
        """Append rows, shape (rows, width)."""
        with spilling(self._path):
            self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def close(self) -> None:
        """End writing; `take` needs it."""
        with spilling(self._path):
            self._file.close()

    def take(self, places: Ints) -> npt.NDArray[Number]:
        """The rows at ascending places, shape (places, width)."""
        found = np.empty((len(places), self._width), self._dtype)
        a_row = self._width * self._dtype.itemsize
        region = max(1, _REGION_BYTES // a_row)
        at = 0
        # A map of the whole file would be counted as resident where it was read.
        while at < len(places):
            start = int(places[at])
            stop = int(np.searchsorted(places, start + region))
            rows = int(places[stop - 1]) - start + 1
            mapped = np.memmap(self._path, self._dtype, "r", start * a_row, (rows, self._width))
            found[at:stop] = mapped[places[at:stop] - start]
            at = stop
        return found
