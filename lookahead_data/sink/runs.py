"""Runs: converted rows on their way into another order, sorted a piece at a time and merged later.

An external merge sort. Each unit writes the rows of each split as a run: an Arrow file whose record batches are
sorted by key. When all units are done, the rows of one range of keys are a slice of every batch of every run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Ints
from lookahead_data.columns import schema
from lookahead_data.errors import OutputError
from lookahead_data.sink.publish import commit, discard, sha256_of, temporary_for, writing

RUNS = "_job/runs"
"""Where in the output folder runs stand until all rows are in order."""

_ROW_BYTES, _TOKEN_BYTES = 24, 8
"""Key, place and two offsets; id and label."""

SORTED_BYTES = 32 << 20
"""Bytes of rows that are sorted at a time."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: inside the output folder, `/` between folders.
        split: whose rows it holds.
        unit: the index of the unit whose rows it holds.
        rows, tokens: of the file.
        sha256: of the file's bytes.
    """

    path: str
    split: str
    unit: int
    rows: int
    tokens: int
    sha256: str

    @property
    def size(self) -> int:
        """About how many bytes its rows take. It does not depend on batches, as that of the file does."""
        return size_of(self.rows, self.tokens)


def size_of(rows: int, tokens: int) -> int:
    """About how many bytes rows take in a run, weights not counted."""
    return _ROW_BYTES * rows + _TOKEN_BYTES * tokens


class RunWriter:
    """Writes the run of one unit and split; without rows there is none. Use it as a context manager: when the
    block raises, what is unfinished is removed.

    Attributes:
        run: what was published, once the block has ended.
    """

    def __init__(self, folder: Path, split: str, unit: int, *, weights: bool) -> None:
        """
        Args:
            folder: the output folder.
            weights: the rows have weights.
        """
        self.run: Run | None = None
        self._folder = folder
        self._split, self._unit = split, unit
        self._columns = run_columns(weights=weights)
        self._path = f"{RUNS}/{split}-{unit:05d}.arrow"
        self._temporary = temporary_for(folder / self._path)
        self._waiting: list[pa.RecordBatch] = []
        self._size = self._rows = self._tokens = 0
        self._sink: pa.NativeFile | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._flush()
                self._publish()
        finally:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._close()
            discard(self._temporary)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows with the columns of `run_columns`."""
        if batch.num_rows:
            rows = batch.select(self._columns)
            self._waiting.append(rows)
            self._size += rows.nbytes
            if self._size >= SORTED_BYTES:
                self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, schema(self._columns))
        self._waiting, self._size = [], 0
        # Stable, so that what is equal stays in the order of the input, wherever a batch ends.
        order = np.argsort(table.column("key").to_numpy(), kind="stable")
        with writing(self._folder / self._path):
            if self._writer is None:
                self._sink = pa.OSFile(str(self._temporary), "wb")
                self._writer = pa.ipc.new_file(self._sink, table.schema)
            for batch in table.take(pa.array(order)).combine_chunks().to_batches():
                self._writer.write_batch(batch)
        self._rows += table.num_rows
        self._tokens += int(pc.sum(pc.list_value_length(table.column("input_ids"))).as_py())

    def _close(self) -> None:
        writer, sink, self._writer, self._sink = self._writer, self._sink, None, None
        if writer is not None:
            writer.close()
        if sink is not None:
            sink.close()

    def _publish(self) -> None:
        target = self._folder / self._path
        with writing(target):
            if self._writer is None:
                target.unlink(missing_ok=True)  # of an earlier try, when the unit still had rows
                return
            self._close()
            digest = sha256_of(self._temporary)
        commit(self._temporary, target)
        self.run = Run(self._path, self._split, self._unit, self._rows, self._tokens, digest)


def run_columns(*, weights: bool) -> tuple[str, ...]:
    """The columns of a run."""
    return ("key", "row", "input_ids", "labels", *(["weights"] if weights else []))


def merged(folder: Path, runs: Sequence[Run], low: int, high: int) -> tuple[pa.Table, Ints]:
    """The rows of runs whose keys are at least `low` and less than `high`, by key; rows of equal keys in the
    order of the runs.

    Args:
        folder: the output folder.
        runs: of one split, at least one, in the order of their units.

    Returns:
        The rows, as one chunk with the columns of the runs, and of each its run's place in `runs`, shape (rows,).

    Raises:
        OutputError: a run cannot be read.
    """
    slices: list[pa.RecordBatch] = []
    places: list[Ints] = [np.zeros(0, np.int64)]
    kind: pa.Schema | None = None
    for place, run in enumerate(runs):
        with _reading(folder / run.path), pa.memory_map(str(folder / run.path)) as source:
            reader = pa.ipc.open_file(source)
            kind = reader.schema
            for batch in map(reader.get_batch, range(reader.num_record_batches)):
                keys = batch.column("key").to_numpy()
                start = 0 if low <= 0 else int(np.searchsorted(keys, np.uint64(low)))
                stop = len(keys) if high > _LARGEST else int(np.searchsorted(keys, np.uint64(high)))
                if start < stop:
                    # Validated, since offsets of a damaged file may point anywhere. Not copied: the slices keep
                    # their files mapped until `take` below has copied the rows in order.
                    piece = batch.slice(start, stop - start)
                    piece.validate(full=True)
                    slices.append(piece)
                    places.append(np.full(stop - start, place))
    table = pa.Table.from_batches(slices, kind)
    order = np.argsort(table.column("key").to_numpy(), kind="stable")
    return table.take(pa.array(order)).combine_chunks(), np.concatenate(places)[order]


_LARGEST = (1 << 64) - 1


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"cannot be read back: {error}",
            where=str(path),
            remedy="Start the job again: units whose rows are damaged are converted again.",
        ) from None
