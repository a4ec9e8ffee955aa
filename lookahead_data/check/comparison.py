"""Rows that are converted again, beside those that are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.batches import Packing
from lookahead_data.check.report import Findings
from lookahead_data.columns import schema
from lookahead_data.errors import OutputError
from lookahead_data.model.load import Model
from lookahead_data.pipeline import converted_batches, split_up
from lookahead_data.plan import KeyRange, Plan, Unit
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.folder import differences, short
from lookahead_data.sink.formats import open_shard
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.receipts import Receipt
from lookahead_data.sink.shards import Shard, weights_path
from lookahead_data.stages.pack import packer_for

_PART = 100
"""Rows that are converted at a time."""
_COMPARED = ("input_ids", "labels")
_INPUTS = "its inputs"


class Comparison:
    """Converts a unit, or the rows of a range, again and compares them with what is stored.

    Attributes:
        compared: how many rows were found equal; of packed ones maybe more than were wanted.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        model: Model,
        receipt: Receipt,
        wanted: int,
        findings: Findings,
    ) -> None:
        """
        Args:
            wanted: how many rows are to be compared.
        """
        self.compared = 0
        self._folder, self._plan, self._model = folder, plan, model
        self._receipt, self._wanted, self._findings = receipt, wanted, findings
        settings = plan.settings
        self._whole = wanted == receipt.counts.written
        self._profile = PROFILES[settings.chosen_profile]
        weights = ("weights",) if settings.preview_weight is not None else ()
        self._names = (*(self._profile.columns if settings.pack else _COMPARED), *weights)
        self._packers = [packer_for(settings, model.pad_id) for _ in settings.splits]
        self._stored = [
            _Stored(folder, [shard for shard in receipt.shards if shard.split == split], self._names)
            for split in settings.splits
        ]

    def compare_unit(self, unit: Unit) -> None:
        """Compare the first rows of a unit; with all of them, what its receipt counts too."""
        file = self._plan.inputs[unit.file].name
        counts = Counts()
        for converted in converted_batches(unit, self._plan, self._model, self._folder, rows=_PART):
            counts += converted.counts
            parts = split_up(converted.batch, len(self._stored))
            for split, part in enumerate(parts):
                if not self._compare(split, part, file):
                    return
            if self.compared >= self._wanted and not self._whole:
                return
        for split in range(len(self._stored)):
            if not self._flush(split, file):
                return
        if self._whole:
            packing = Packing.total(packer.account for packer in self._packers if packer is not None)
            if packing is not None:
                counts.take_packing(packing, unit.file)
            _compare_counts(unit, counts, self._receipt.counts, self._findings)

    def compare_range(self, part: KeyRange, table: pa.Table) -> None:
        """Compare the first rows of a range with these, converted again and in the order of their origins."""
        split = self._plan.settings.splits.index(part.split)
        for batch in table.to_batches(_PART):
            if not self._compare(split, batch, _INPUTS) or (
                self.compared >= self._wanted and not self._whole
            ):
                return
        self._flush(split, _INPUTS)

    def _compare(self, split: int, batch: pa.RecordBatch, file: str) -> bool:
        """Compare converted rows of a split with the next ones stored; gives whether to go on."""
        packer = self._packers[split]
        if packer is None:
            rows = min(batch.num_rows, self._wanted - self.compared)
            return self._compare_rows(split, batch.slice(0, rows), file)
        return all(self._compare_packed(split, packed, file) for packed in packer.add(batch))

    def _flush(self, split: int, file: str) -> bool:
        packer = self._packers[split]
        return packer is None or all(self._compare_packed(split, rows, file) for rows in packer.flush())

    def _compare_rows(self, split: int, batch: pa.RecordBatch, file: str) -> bool:
        start, there = self._stored[split].take(batch.num_rows)
        at = _first_difference(batch, there, self._names)
        self.compared += batch.num_rows if at is None else at
        if at is not None:
            shard, row = self._stored[split].place(start + at)
            self._findings.add(shard.path, _difference(batch, there, at, file, self._names), row)
        return at is None

    def _compare_packed(self, split: int, packed: pa.RecordBatch, file: str) -> bool:
        rows = self._profile.rows_of(packed)
        for name in self._names[len(self._profile.columns) :]:
            rows = rows.append_column(name, packed.column(name))
        start, there = self._stored[split].take(rows.num_rows)
        for at in range(rows.num_rows):
            for name in self._names:
                if rows.column(name)[at] != there.column(name)[at]:
                    shard, place = self._stored[split].place(start + at)
                    self._findings.add(shard.path, f"has other {name} when {file} is converted again", place)
                    return False
            self.compared += len(packed.column("document_lengths")[at])
        return True


def _first_difference(batch: pa.RecordBatch, there: pa.Table, names: Sequence[str]) -> int | None:
    pairs = [(batch.column(name), whole_array(there.column(name))) for name in names]
    if all(now.equals(then) for now, then in pairs):
        return None
    return next(at for at in range(batch.num_rows) if any(now[at] != then[at] for now, then in pairs))


def _difference(batch: pa.RecordBatch, there: pa.Table, at: int, file: str, names: Sequence[str]) -> str:
    again = f"when row {batch.column('row')[at].as_py() + 1} of {file} is converted again"
    for name in names:
        now, then = batch.column(name)[at].as_py(), there.column(name)[at].as_py()
        for place, (left, right) in enumerate(zip(then, now, strict=False)):
            if left != right:
                return f"token {place} has {left} in {name}, and {right} {again}"
        if len(now) != len(then):
            return f"holds {len(then):,} {name}, and {len(now):,} {again}"
    raise AssertionError("the rows are equal")


def _compare_counts(unit: Unit, now: Counts, then: Counts, findings: Findings) -> None:
    # What is audited and noted depends on the engine too.
    free = ("audited", "notes")
    for name, stated, counted in differences(then.document(), now.document()):
        if name.split(".")[0] not in free:
            findings.add(
                unit.name,
                f"its receipt says {name} {short(stated)}, and converted again it is {short(counted)}",
            )


class _Stored:
    """The rows of a unit's shards, in order."""

    def __init__(self, folder: Path, shards: Sequence[Shard], columns: Sequence[str]) -> None:
        """
        Args:
            columns: of the shards, and maybe `weights`, which stand beside them.
        """
        self._shards = shards
        self._columns = list(columns)
        self._groups = self._read(folder)
        self._taken = 0
        self._next: pa.Table = schema(columns).empty_table()

    def take(self, rows: int) -> tuple[int, pa.Table]:
        """The next rows, and how many were taken before them."""
        while self._next.num_rows < rows:
            group = next(self._groups, None)
            if group is None:
                where = self._shards[-1].path if self._shards else None
                raise OutputError("its shards hold fewer rows than it gives", where=where)
            self._next = pa.concat_tables([self._next, group])
        taken, self._next = self._next.slice(0, rows), self._next.slice(rows)
        self._taken += rows
        return self._taken - rows, taken

    def place(self, at: int) -> tuple[Shard, int]:
        """The shard and the row in it of the unit's row `at`."""
        for shard in self._shards:
            if at < shard.rows:
                return shard, at
            at -= shard.rows
        raise IndexError(at)

    def _read(self, folder: Path) -> Iterator[pa.Table]:
        for shard in self._shards:
            own = [name for name in self._columns if name != "weights"]
            with contextlib.ExitStack() as stack:
                reader = stack.enter_context(open_shard(folder / shard.path))
                beside = None
                if "weights" in self._columns:
                    beside = stack.enter_context(open_shard(folder / weights_path(shard.path)))
                for at in range(len(reader.group_rows)):
                    group = reader.group(at, own)
                    if beside is not None:
                        group = group.append_column("weights", beside.group(at).column("weights"))
                    yield group
