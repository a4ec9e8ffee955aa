"""Whether the rows of a finished folder are those that its inputs give when they are converted again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.check.account import Account
from lookahead_data.check.report import Findings
from lookahead_data.columns import schema
from lookahead_data.config import MEMORY, Settings
from lookahead_data.errors import LookaheadError, OutputError
from lookahead_data.model.load import Model
from lookahead_data.pipeline import Converted, converted_batches
from lookahead_data.plan import Plan, Unit
from lookahead_data.planning import plan_job
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.folder import differences, short
from lookahead_data.sink.formats import open_shard
from lookahead_data.sink.manifest import PLAN
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.receipts import Receipt
from lookahead_data.sink.shards import Shard, weights_path
from lookahead_data.source.discover import discover
from lookahead_data.stages.pack import packer_for

FEW = 20
"""Rows compared of a unit before it is the next one's turn, as long as there are units enough."""

_PART = 100
"""Rows that are converted at a time."""
_COMPARED = ("input_ids", "labels")
_NAMES = ("settings.tokenizer", "tokenizer.name", "template.name")
"""What may be called otherwise than it was; the SHA-256 of tokenizer and template are compared too."""
_GOLDEN = (5**0.5 - 1) / 2


def compare_again(folder: Path, found: Account, rows: int, tokenizer: str | None, findings: Findings) -> int:
    """Convert a sample of the rows again and compare it; gives how many rows were compared.

    The engine is always `tokenizers`, to which every other is held.

    Args:
        rows: the size of the sample. A unit that lies in it as a whole is compared as a whole: with
            what its receipt counts, too.
        tokenizer: where the tokenizer is now; None is where the settings say.
    """
    planned = _plan_again(found, tokenizer, findings)
    if planned is None:
        return 0
    plan, model = planned
    compared = 0
    for unit, wanted in choose(found.units, found.receipts, rows):
        try:
            if plan.settings.pack:
                compared += _compare_packed(
                    folder, unit, wanted, plan, model, found.receipts[unit.index], findings
                )
                continue
            compared += _compare_unit(folder, unit, wanted, plan, model, found.receipts[unit.index], findings)
        except LookaheadError as error:
            findings.add(unit.name, f"cannot be converted again: {error.where}: {error.problem}")
    return compared


def choose(units: Sequence[Unit], receipts: Mapping[int, Receipt], rows: int) -> Iterator[tuple[Unit, int]]:
    """The units to compare, always the same ones and spread over all, with the rows to compare of each."""
    written = {unit.index: receipts[unit.index].counts.written for unit in units}
    total = sum(written.values())
    left = min(rows, total)
    most = FEW
    while sum(min(count, most) for count in written.values()) < left:
        most *= 2
    # Multiples of the golden ratio, less their whole parts, lie evenly wherever one stops.
    for unit in sorted(units, key=lambda unit: unit.index * _GOLDEN % 1):
        wanted = min(written[unit.index], most, left)
        if wanted or rows >= total:
            yield unit, wanted
        left -= wanted


def _plan_again(found: Account, tokenizer: str | None, findings: Findings) -> tuple[Plan, Model] | None:
    """The job planned anew, if its inputs and its model are what they were."""
    names = [entry["path"] for entry in found.plan["inputs"]]
    said = "the rows were not compared with the inputs: "
    if MEMORY in names:
        findings.warn(said + "these were handed over in memory")
        return None
    settings = found.settings.replace(tokenizer=tokenizer) if tokenizer else found.settings
    try:
        plan, model = plan_job(discover(names), settings)
    except LookaheadError as error:
        findings.warn(said + (f"{error.where}: {error.problem}" if error.where else error.problem))
        return None
    document = plan.document()
    then, here = found.plan["versions"], document["versions"]
    for name, there, now in differences(then, here):
        findings.warn(f"the rows were made with {name} {short(there)}, and here is {short(now)}")
    for name, there, now in differences(found.plan, document):
        if name in _NAMES or name.partition(".")[0] == "versions":
            continue
        if then != here or name.startswith(("inputs", "tokenizer", "template")):
            findings.warn(said + f"{name} was {short(there)}, and now it is {short(now)}")
        else:
            findings.add(PLAN, f"{name} is {short(there)}, and planned again it is {short(now)}")
        return None
    return plan, replace(model, encoding="tokenizers")


def _compare_unit(
    folder: Path, unit: Unit, wanted: int, plan: Plan, model: Model, receipt: Receipt, findings: Findings
) -> int:
    stored = _Stored(folder, receipt.shards, names := _compared(plan.settings))
    whole = wanted == receipt.counts.written
    counts = Counts()
    compared: int = 0
    for converted in converted_batches(unit, plan, model, folder, rows=_PART):
        counts += converted.counts
        rows = min(int(converted.batch.num_rows), wanted - compared)
        there = stored.take(rows)
        at = _first_difference(converted, there, rows, names)
        if at is not None:
            shard, row = stored.place(compared + at)
            what = _difference(converted, there, at, plan.inputs[unit.file].name, names)
            findings.add(shard.path, what, row)
            return compared + at
        compared += rows
        if compared == wanted and not whole:
            return compared
    if whole:
        _compare_counts(unit, counts, receipt.counts, findings)
    return compared


def _compare_packed(
    folder: Path, unit: Unit, wanted: int, plan: Plan, model: Model, receipt: Receipt, findings: Findings
) -> int:
    """Compare packed rows until they hold as many documents as wanted; packing starts with the unit."""
    packer = packer_for(plan.settings, model.pad_id)
    assert packer is not None
    profile = PROFILES[plan.settings.chosen_profile]
    names = (*profile.columns, *_compared(plan.settings)[len(_COMPARED) :])
    stored = _Stored(folder, receipt.shards, names)
    whole = wanted == receipt.counts.written
    counts = Counts()

    def packed() -> Iterator[pa.RecordBatch]:
        nonlocal counts
        for converted in converted_batches(unit, plan, model, folder, rows=_PART):
            counts += converted.counts
            yield from packer.add(converted.batch)
        yield from packer.flush()

    row = documents = 0
    for batch in packed():
        rows = profile.rows_of(batch)
        for name in names[len(profile.columns) :]:
            rows = rows.append_column(name, batch.column(name))
        there = stored.take(rows.num_rows)
        for at in range(rows.num_rows):
            for name in names:
                if rows.column(name)[at] != there.column(name)[at]:
                    shard, place = stored.place(row + at)
                    file = plan.inputs[unit.file].name
                    findings.add(shard.path, f"has other {name} when {file} is converted again", place)
                    return documents
            documents += len(batch.column("document_lengths")[at])
        row += rows.num_rows
        if documents >= wanted and not whole:
            return wanted
    if whole:
        counts.take_packing(packer.account, unit.file)
        _compare_counts(unit, counts, receipt.counts, findings)
    return min(documents, wanted)


def _compared(settings: Settings) -> tuple[str, ...]:
    return (*_COMPARED, "weights") if settings.preview_weight is not None else _COMPARED


def _first_difference(converted: Converted, there: pa.Table, rows: int, names: Sequence[str]) -> int | None:
    pairs = [(converted.batch.column(name).slice(0, rows), whole_array(there.column(name))) for name in names]
    if all(now.equals(then) for now, then in pairs):
        return None
    return next(at for at in range(rows) if any(now[at] != then[at] for now, then in pairs))


def _difference(converted: Converted, there: pa.Table, at: int, file: str, names: Sequence[str]) -> str:
    again = f"when row {converted.batch.column('row')[at]} of {file} is converted again"
    for name in names:
        now, then = converted.batch.column(name)[at].as_py(), there.column(name)[at].as_py()
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
        self._next: pa.Table = schema(columns).empty_table()

    def take(self, rows: int) -> pa.Table:
        """The next rows."""
        while self._next.num_rows < rows:
            group = next(self._groups, None)
            if group is None:
                raise OutputError("its shards hold fewer rows than it gives", where=self._shards[-1].path)
            self._next = pa.concat_tables([self._next, group])
        taken, self._next = self._next.slice(0, rows), self._next.slice(rows)
        return taken

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
