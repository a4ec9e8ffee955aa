"""One unit, from its bytes to its receipt. Every backend calls `run_unit` and only schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from lookahead_data import columns
from lookahead_data.batches import Reject, Staged
from lookahead_data.columns import check_chain
from lookahead_data.config import Settings
from lookahead_data.errors import InputError
from lookahead_data.model.load import Model
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.sink.manifest import QUARANTINE, Counts, Receipt
from lookahead_data.sink.quarantine import write_rejected
from lookahead_data.sink.shards import ShardWriter
from lookahead_data.source import blocks, readers
from lookahead_data.source.conversations import BATCH_BYTES, Shape, converse
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Split
from lookahead_data.stages.encode import Encode, EngineDifferenceError
from lookahead_data.stages.fit import Fit
from lookahead_data.stages.label import Label
from lookahead_data.stages.preview import Preview
from lookahead_data.stages.render import Render

Progress = Callable[[int, int, int], None]
"""Called after each batch with the rows read, tokens written and bytes of input since the last call."""

START = ("row", "offset", "messages")
"""The columns that conversations come in."""


class Stage(columns.Stage, Protocol):
    """One step of the way: takes a batch with the columns that it needs, and adds those it gives."""

    def __call__(self, batch: pa.RecordBatch) -> Staged: ...


def build_stages(settings: Settings, model: Model) -> list[Stage]:
    """The stages from conversations to labelled rows, checked to fit each other."""
    stages: list[Stage] = [
        Preview(settings, model.tokenizer, model.engine),
        Render(settings, model.tokenizer, model.template),
        Encode(settings, model.tokenizer, model.engine, framed=model.template is None),
        Label(),
        Fit(settings),
    ]
    check_chain(stages, START)
    return stages


@dataclass(frozen=True)
class Converted:
    """What the stages made of one batch: the rows that are left, and an account of all."""

    batch: pa.RecordBatch
    rejects: list[Reject]
    counts: Counts
    size: int


def run_stages(batches: Iterator[tuple[Staged, int]], stages: Sequence[Stage]) -> Iterator[Converted]:
    """Run batches of conversations, each with its bytes of input, through the stages."""
    for staged, size in batches:
        read = staged.batch.num_rows + len(staged.rejects)
        rejects = list(staged.rejects)
        notes = Counter(staged.notes)
        batch = staged.batch
        for stage in stages:
            result = stage(batch)
            batch = result.batch
            rejects += result.rejects
            notes += result.notes
        yield Converted(batch, rejects, _count(batch, read, rejects, notes), size)


def run_unit(unit: Unit, plan: Plan, model: Model, folder: Path, report: Progress | None = None) -> Receipt:
    """Convert one unit, publish its shards, its rejects and then its receipt.

    Where the audit finds that the fast engine differs, the unit is begun again with `tokenizers`.

    Args:
        folder: the output folder.
        report: told of the progress.

    Raises:
        InputError: the file cannot be read, changed meanwhile, or holds a row that the settings do
            not allow.
        OutputError: the output cannot be written.
    """
    try:
        return _run_unit(unit, plan, model, folder, report)
    except EngineDifferenceError as difference:
        slower = replace(model, encoding="tokenizers")
        return _run_unit(unit, plan, slower, folder, report, differed=str(difference))


def _run_unit(
    unit: Unit, plan: Plan, model: Model, folder: Path, report: Progress | None, differed: str | None = None
) -> Receipt:
    file = plan.inputs[unit.file]
    file.check_unchanged()
    stages = build_stages(plan.settings, model)
    part = Split(unit.start, unit.stop, unit.first_row, unit.size)
    shape = Shape(**plan.shape)  # type: ignore[arg-type]
    batches = _conversations(file, part, shape, plan.settings)
    counts = Counts()
    rejects: list[Reject] = []
    # The first unit writes a shard even without rows, so that the folder always has a schema.
    with ShardWriter(
        folder,
        f"data/train-{unit.index:05d}",
        shard_size=plan.settings.shard_size,
        always=unit.index == 0,
    ) as writer:
        for converted in run_stages(batches, stages):
            _refuse_overlength(converted.rejects, plan.settings, file)
            writer.write(converted.batch)
            rejects += converted.rejects
            counts += converted.counts
            if report:
                report(converted.counts.read, converted.counts.tokens, converted.size)
        file.check_unchanged()
    counts.check(unit.name)
    write_rejected(folder / QUARANTINE / f"{unit.name}.jsonl", rejects, file)
    receipt = Receipt(unit.index, plan.fingerprint, counts, tuple(writer.shards), model.engine.name, differed)
    receipt.save(folder, unit)
    return receipt


def _conversations(
    file: InputFile, part: Split, shape: Shape, settings: Settings
) -> Iterator[tuple[Staged, int]]:
    limit = settings.max_line_size
    if file.format == "jsonl" and blocks.handles(shape):
        lines = (blocks.Block(*block) for block in jsonl.blocks(file, part, BATCH_BYTES, limit))
        return blocks.conversations(lines, shape, limit)
    return converse(readers.read(file, part, max_line_size=limit, names=shape.all_fields), shape)


def _refuse_overlength(rejects: Sequence[Reject], settings: Settings, file: InputFile) -> None:
    if settings.overlength != "error":
        return
    for reject in rejects:
        if reject.reason == "overlength":
            raise InputError(
                f"row {reject.row} has {reject.message}",
                where=file.name,
                remedy="Raise --max-length, or use --overlength drop or truncate.",
            )


def _count(batch: pa.RecordBatch, read: int, rejects: Sequence[Reject], notes: Counter[str]) -> Counts:
    lengths = batch.column("input_ids").value_lengths().to_numpy(zero_copy_only=False)
    previews = batch.column("previews")
    inserted = previews.flatten()
    values, rows = np.unique(lengths, return_counts=True)
    return Counts(
        read=read,
        written=batch.num_rows,
        filtered=Counter(r.reason for r in rejects if r.outcome == "filtered"),
        quarantined=Counter(r.reason for r in rejects if r.outcome == "quarantined"),
        tokens=int(lengths.sum()),
        supervised_tokens=int(
            np.count_nonzero(batch.column("labels").flatten().to_numpy() != columns.IGNORED)
        ),
        previewed_rows=int(np.count_nonzero(previews.value_lengths().to_numpy(zero_copy_only=False))),
        previews=len(inserted),
        previewed_tokens=int(np.sum(inserted.field("tokens").to_numpy(zero_copy_only=False))),
        whole_answers=int(np.count_nonzero(inserted.field("whole").to_numpy(zero_copy_only=False))),
        audited=notes.pop("audited", 0),
        notes=notes,
        lengths=Counter(dict(zip(values.tolist(), rows.tolist(), strict=True))),
    )
