"""One unit, from its bytes to its receipt. Every backend calls `run_unit` and only schedules."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data import columns
from lookahead_data.arrays import Ints
from lookahead_data.batches import Packing, Reject, Staged
from lookahead_data.columns import check_chain
from lookahead_data.config import Settings
from lookahead_data.curation.mixing import Amounts, is_safety_set
from lookahead_data.errors import InputError, OutputError
from lookahead_data.model.engines import PLAIN
from lookahead_data.model.frames import Frames
from lookahead_data.model.load import Model
from lookahead_data.outlet import Outlet
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.quarantine import place_of, write_rejected
from lookahead_data.sink.receipts import Receipt, quarantine_path
from lookahead_data.sink.runs import RunWriter
from lookahead_data.sink.verdicts import load_amounts, load_verdicts
from lookahead_data.source.unit import conversations_of
from lookahead_data.stages.arrange import Arrange
from lookahead_data.stages.encode import Encode, EngineDifferenceError
from lookahead_data.stages.fit import Fit
from lookahead_data.stages.label import Label
from lookahead_data.stages.preview import Preview
from lookahead_data.stages.render import Render
from lookahead_data.stages.repeat import Repeat
from lookahead_data.stages.select import Choice, Select
from lookahead_data.stages.weigh import Weigh

Progress = Callable[[int, int, int], None]
"""Called after each batch with the rows read, tokens written and bytes of input since the last call."""

START = ("row", "offset", "messages")
"""The columns that conversations come in."""


class Stage(columns.Stage, Protocol):
    """One step of the way: takes a batch with the columns that it needs, and adds those it gives."""

    def __call__(self, batch: pa.RecordBatch) -> Staged: ...


def build_stages(
    settings: Settings, model: Model, choice: Choice | None = None, file: int = 0
) -> list[Stage]:
    """The stages from conversations to labelled rows, checked to fit each other.

    Args:
        choice: what is known of the rows before; None is nothing.
        file: the place of their file among the inputs.
    """
    choice = choice or Choice()
    # What ends a document of text is put there as a token, not as text.
    rendering = settings.replace(end_token=None) if model.end_id is not None else settings
    borders = model.tokenizer.border_pattern if model.encoding != PLAIN else None
    frames = Frames(model.tokenizer, borders) if borders else None
    stages: list[Stage] = [
        Select(settings, choice, model.count_tokens),
        Preview(settings, model.tokenizer, model.engine, gives_ids=frames is not None),
        Render(rendering, model.tokenizer, model.template, frames),
        Encode(
            settings,
            model.tokenizer,
            model.engine,
            framed=model.template is None,
            end_id=model.end_id,
            frames=frames,
        ),
        Label(settings),
        *([Weigh(settings.preview_weight)] if settings.preview_weight is not None else []),
        Fit(settings),
        *([Repeat()] if choice.repeat else []),
        *([Arrange(settings, file)] if settings.is_ordered else []),
    ]
    check_chain(stages, (*START, "flagged") if settings.safety_field is not None else START)
    return stages


@dataclass(frozen=True)
class Converted:
    """What the stages made of one batch: the rows that are left, and an account of all."""

    batch: pa.RecordBatch
    rejects: list[Reject]
    counts: Counts
    size: int


def run_stages(
    batches: Iterator[tuple[Staged, int]], stages: Sequence[Stage], file: int = 0
) -> Iterator[Converted]:
    """Run batches of conversations, each with its bytes of input, through the stages.

    Args:
        file: the place of the batches' file among the inputs.
    """
    for staged, size in batches:
        read = np.concatenate([_rows(staged.batch), _rejected(staged.rejects)])
        rejects = list(staged.rejects)
        notes = Counter(staged.notes)
        batch = staged.batch
        for stage in stages:
            result = stage(batch)
            batch = result.batch
            rejects += result.rejects
            notes += result.notes
        yield Converted(batch, rejects, _count(batch, read, rejects, notes, file), size)


def run_unit(
    unit: Unit,
    plan: Plan,
    model: Model,
    folder: Path,
    report: Progress | None = None,
    *,
    strict: bool = False,
) -> Receipt:
    """Convert one unit, publish its shards, its rejects and then its receipt.

    Where the audit finds that the engine differs from the truth, the unit is begun again with that.

    Args:
        folder: the output folder.
        report: told of the progress.
        strict: stop at the first row at fault.

    Raises:
        InputError: the file cannot be read, changed meanwhile, or holds a row that the settings do
            not allow.
        OutputError: the output cannot be written.
    """
    try:
        return _run_unit(unit, plan, model, folder, report, strict)
    except EngineDifferenceError as difference:
        slower = replace(model, encoding=PLAIN)
        return _run_unit(unit, plan, slower, folder, report, strict, differed=str(difference))
    except MemoryError:
        file = plan.inputs[unit.file]
        raise OutputError(
            f"the memory ran out while {unit.name} ({file.name}, from {unit.start:,}) was being converted",
            where=str(folder),
            remedy="Use fewer --workers or a smaller --max-line-size. The same command goes on with this unit.",
        ) from None


def _run_unit(
    unit: Unit,
    plan: Plan,
    model: Model,
    folder: Path,
    report: Progress | None,
    strict: bool,
    differed: str | None = None,
) -> Receipt:
    file = plan.inputs[unit.file]
    settings = plan.settings
    counts = Counts()
    rejects: list[Reject] = []
    with contextlib.ExitStack() as stack:
        outlets: list[Outlet | RunWriter] = []
        for name in settings.splits:
            outlets.append(_outlet(folder, name, unit, settings, model))
            stack.enter_context(outlets[-1])
        for converted in converted_batches(unit, plan, model, folder):
            _refuse(converted.rejects, settings, file, strict=strict)
            for outlet, batch in zip(outlets, split_up(converted.batch, len(outlets)), strict=True):
                outlet.write(batch)
            rejects += converted.rejects
            counts += converted.counts
            if report:
                report(converted.counts.read, converted.counts.tokens, converted.size)
    shards = [shard for outlet in outlets if isinstance(outlet, Outlet) for shard in outlet.shards]
    packing = Packing.total(outlet.packing for outlet in outlets if isinstance(outlet, Outlet))
    if packing is not None:
        rejects += packing.left_out
        counts.take_packing(packing, unit.file)
    counts.check(unit.name)
    quarantine = write_rejected(quarantine_path(folder, unit), rejects, file)
    receipt = Receipt(
        unit.index,
        plan.fingerprint,
        counts,
        tuple(shards),
        quarantine,
        model.engine.name,
        differed,
        tuple(outlet.run for outlet in outlets if isinstance(outlet, RunWriter) and outlet.run),
    )
    receipt.save(folder, unit)
    return receipt


def _outlet(folder: Path, split: str, unit: Unit, settings: Settings, model: Model) -> Outlet | RunWriter:
    """Where the rows of a unit and split go: into shards, or into a run until all rows can be put in order."""
    if settings.is_ordered:
        return RunWriter(folder, split, unit.index, weights=settings.preview_weight is not None)
    return Outlet(folder, split, unit.index, settings, model.pad_id)


WRITTEN = ("row", "offset", "key", "split", "input_ids", "labels", "weights")
"""The columns that are read of converted rows, as far as they are there."""


def split_up(batch: pa.RecordBatch, splits: int) -> list[pa.RecordBatch]:
    """The rows of each of so many splits, with the columns that are still read."""
    batch = batch.select([name for name in WRITTEN if name in batch.schema.names])
    if splits == 1:
        return [batch]
    places = batch.column("split").to_numpy()
    return [batch.take(pa.array(np.flatnonzero(places == at))) for at in range(splits)]


def converted_batches(
    unit: Unit,
    plan: Plan,
    model: Model,
    folder: Path,
    *,
    rows: int | None = None,
    only: Ints | None = None,
) -> Iterator[Converted]:
    """Convert one unit in memory, batch by batch.

    Args:
        folder: the output folder, where the verdicts of curation are, if any.
        rows: the most rows of a batch, for those who need few of them; None is as they are read.
        only: places in the file; other rows are passed over, as if they were not there. None is all.

    Raises:
        InputError: the file cannot be read, or changed meanwhile.
        EngineDifferenceError: the audit finds that the fast engine differs.
    """
    batches = conversations_of(unit, plan)
    if only is not None:
        batches = _those(batches, only)
    if rows is not None:
        batches = _smaller(batches, rows)
    stages = build_stages(plan.settings, model, choice_on(unit, plan, folder), unit.file)
    yield from run_stages(batches, stages, unit.file)


def choice_on(unit: Unit, plan: Plan, folder: Path) -> Choice:
    """What is known of the rows of a unit before they are read.

    Raises:
        OutputError: what curation found cannot be read.
    """
    settings = plan.settings
    amounts = load_amounts(folder) if settings.has_shares else Amounts.named(settings)
    name = plan.inputs[unit.file].name
    rates = amounts.rates(settings, name)
    return Choice(
        verdicts=load_verdicts(folder, unit) if settings.looks_at_all else None,
        rates=rates if any(rate != 1 for rate in rates.values()) else None,
        repeat=amounts.repeat,
        all_safe=is_safety_set(settings, name),
    )


def _smaller(batches: Iterator[tuple[Staged, int]], rows: int) -> Iterator[tuple[Staged, int]]:
    """The batches in parts; what was rejected and noted goes with the first part."""
    for staged, size in batches:
        yield replace(staged, batch=_part(staged.batch, 0, rows)), size
        for start in range(rows, staged.batch.num_rows, rows):
            yield Staged(_part(staged.batch, start, rows)), 0


def _those(batches: Iterator[tuple[Staged, int]], only: Ints) -> Iterator[tuple[Staged, int]]:
    """The rows at these places alone; batches without any are left out."""
    for staged, size in batches:
        places = np.flatnonzero(np.isin(_rows(staged.batch), only))
        if len(places):
            yield Staged(staged.batch.take(pa.array(places))), size


def _part(batch: pa.RecordBatch, start: int, rows: int) -> pa.RecordBatch:
    # A copy: a slice would keep all of the batch in memory.
    return batch.take(pa.array(np.arange(start, min(start + rows, batch.num_rows))))


def _refuse(rejects: Sequence[Reject], settings: Settings, file: InputFile, *, strict: bool) -> None:
    """Raise `InputError` for the first row that the user does not want to be left out in silence."""
    for reject in sorted(rejects, key=lambda reject: reject.row):
        if reject.reason == "overlength" and settings.overlength == "error":
            raise InputError(
                f"row {reject.row} has {reject.message}",
                where=file.name,
                remedy="Raise --max-length, or use --overlength drop or truncate.",
            )
        if strict and reject.outcome == "quarantined":
            excerpt = f": {reject.excerpt}" if reject.excerpt else ""
            raise InputError(
                f"{place_of(reject, file)} is at fault ({reject.reason}), {reject.message}{excerpt}",
                where=file.name,
                remedy="Mend the row, or leave --strict out: such rows then go to quarantine.",
            )


def _rows(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    rows: npt.NDArray[np.int64] = batch.column("row").to_numpy()
    return rows


def _rejected(rejects: Sequence[Reject]) -> npt.NDArray[np.int64]:
    return np.array([reject.row for reject in rejects], np.int64)


def _count(
    batch: pa.RecordBatch,
    read: npt.NDArray[np.int64],
    rejects: Sequence[Reject],
    notes: Counter[str],
    file: int,
) -> Counts:
    lengths = batch.column("input_ids").value_lengths().to_numpy(zero_copy_only=False)
    previews = batch.column("previews")
    inserted = previews.flatten()
    learned = batch.column("labels").flatten().to_numpy() != columns.IGNORED
    rows = _rows(batch)
    again = _rows(batch)[:0]
    if "copy" in batch.schema.names:
        again = rows[batch.column("copy").to_numpy() > 0]
    safe = np.zeros(batch.num_rows, bool)
    if "safety" in batch.schema.names:
        safe = batch.column("safety").to_numpy(zero_copy_only=False)
    values, counts = np.unique(lengths, return_counts=True)
    return Counts(
        read=len(read),
        written=batch.num_rows,
        repeated=len(again),
        filtered=Counter(r.reason for r in rejects if r.outcome == "filtered"),
        quarantined=Counter(r.reason for r in rejects if r.outcome == "quarantined"),
        tokens=int(lengths.sum()),
        supervised_tokens=int(np.count_nonzero(learned)),
        previewed_rows=int(np.count_nonzero(previews.value_lengths().to_numpy(zero_copy_only=False))),
        previews=len(inserted),
        previewed_tokens=int(np.sum(inserted.field("tokens").to_numpy(zero_copy_only=False))),
        whole_answers=int(np.count_nonzero(inserted.field("whole").to_numpy(zero_copy_only=False))),
        audited=notes.pop("audited", 0),
        notes=notes,
        safety_read=notes.pop("safety", 0),
        safety_written=int(np.count_nonzero(safe)),
        safety_supervised_tokens=int(np.count_nonzero(learned & np.repeat(safe, lengths)))
        if safe.any()
        else 0,
        lengths=Counter(dict(zip(values.tolist(), counts.tolist(), strict=True))),
        rows_hash=RowsHash(
            read=hash_rows(read, file),
            written=hash_rows(rows, file),
            rejected=hash_rows(_rejected(rejects), file),
            repeated=hash_rows(again, file),
        ),
    )
