"""Whether the rows of a finished folder are those that its inputs give when they are converted again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.check.account import Account
from lookahead_data.check.comparison import Comparison
from lookahead_data.check.report import Findings
from lookahead_data.columns import schema
from lookahead_data.config import MEMORY
from lookahead_data.errors import LookaheadError
from lookahead_data.model.engines import PLAIN
from lookahead_data.model.load import Model
from lookahead_data.pipeline import converted_batches
from lookahead_data.plan import KeyRange, Plan, Unit
from lookahead_data.planning import plan_job
from lookahead_data.rowhash import numbers_of
from lookahead_data.sink.folder import differences, short
from lookahead_data.sink.manifest import PLAN
from lookahead_data.sink.receipts import Receipt, origins_path
from lookahead_data.sink.runs import run_columns
from lookahead_data.source.discover import discover

FEW = 20
"""Rows compared of a unit before it is the next one's turn, as long as there are units enough."""

_NAMES = ("settings.tokenizer", "tokenizer.name", "template.name")
"""What may be called otherwise than it was; the SHA-256 of tokenizer and template are compared too."""
_GOLDEN = (5**0.5 - 1) / 2


def compare_again(
    folder: Path,
    found: Account,
    rows: int,
    tokenizer: str | None,
    findings: Findings,
    *,
    trust_code: bool = False,
) -> int:
    """Convert a sample of the rows again and compare it; gives how many rows were compared.

    The engine is always plain `tokenizers`, to which every other is held.

    Args:
        rows: the size of the sample. A unit that lies in it as a whole is compared as a whole: with
            what its receipt counts, too.
        tokenizer: where the tokenizer is now; None is where the settings say.
        trust_code: the `safety_function` that the folder names may be imported.
    """
    function = found.settings.safety_function
    if function is not None and not trust_code:
        findings.warn(
            f"the rows were not compared with the inputs: that runs the safety function {function}, which the "
            "folder names; pass --trust-code if you trust that code"
        )
        return 0
    planned = _plan_again(found, tokenizer, findings)
    if planned is None:
        return 0
    plan, model = planned
    if found.ranges:
        # To pack any row of a range all of its documents are needed: few ranges then, but these whole.
        few = rows if plan.settings.pack else FEW
        chosen = choose(found.ranges, found.range_receipts, rows, few=max(few, 1))
        groups = _grouped(chosen, found.range_receipts if plan.settings.pack else None)
        return sum(_compare_ranges(folder, group, found, plan, model, findings) for group in groups)
    compared = 0
    for unit, wanted in choose(found.units, found.receipts, rows):
        try:
            again = Comparison(folder, plan, model, found.receipts[unit.index], wanted, findings)
            again.compare_unit(unit)
            compared += min(again.compared, wanted)
        except LookaheadError as error:
            findings.add(unit.name, f"cannot be converted again: {error.where}: {error.problem}")
    return compared


Task = TypeVar("Task", Unit, KeyRange)


def choose(
    tasks: Sequence[Task], receipts: Mapping[int, Receipt], rows: int, *, few: int = FEW
) -> Iterator[tuple[Task, int]]:
    """The units, or ranges of an order, to compare, always the same ones and spread over all, with the rows to
    compare of each: at most `few`, as long as there are enough of them."""
    written = {task.index: receipts[task.index].counts.written for task in tasks}
    total = sum(written.values())
    left = min(rows, total)
    most = few
    while sum(min(count, most) for count in written.values()) < left:
        most *= 2
    # Multiples of the golden ratio, less their whole parts, lie evenly wherever one stops.
    for task in sorted(tasks, key=lambda task: task.index * _GOLDEN % 1):
        wanted = min(written[task.index], most, left)
        if wanted or rows >= total:
            yield task, wanted
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
        # The shape of an input is ours to find: the same bytes have the same.
        given = name.startswith(("inputs", "tokenizer", "template")) and ".shape" not in name
        if then != here or given:
            findings.warn(said + f"{name} was {short(there)}, and now it is {short(now)}")
        else:
            findings.add(PLAN, f"{name} is {short(there)}, and planned again it is {short(now)}")
        return None
    return plan, replace(model, encoding=PLAIN)


_TOGETHER = 100_000
"""Rows of ranges that are converted again at a time, each time reading all of the corpus."""


def _grouped(
    chosen: Iterable[tuple[KeyRange, int]], whole: Mapping[int, Receipt] | None
) -> Iterator[list[tuple[KeyRange, int]]]:
    """Ranges that are converted again together.

    Args:
        whole: the receipts, where all rows of a range are; None: only those that are compared.
    """
    group: list[tuple[KeyRange, int]] = []
    rows = 0
    for part, wanted in chosen:
        group.append((part, wanted))
        rows += wanted if whole is None else whole[part.index].counts.written
        if rows >= _TOGETHER:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _compare_ranges(
    folder: Path,
    group: Sequence[tuple[KeyRange, int]],
    found: Account,
    plan: Plan,
    model: Model,
    findings: Findings,
) -> int:
    """Compare the first rows of ranges, wherever in the corpus they come from; gives how many were compared.

    All units are read for it, and of their rows these alone are converted.
    """
    origins = [_origins(folder, part, wanted, plan) for part, wanted in group]
    try:
        numbers, rows = _converted_again(np.concatenate(origins), folder, plan, model)
    except LookaheadError as error:
        findings.add(group[0][0].name, f"cannot be converted again: {error.where}: {error.problem}")
        return 0
    keys = rows.column("key").to_numpy()
    compared = 0
    for (part, wanted), due in zip(group, origins, strict=True):
        if not len(due):
            continue
        # Of a row that is repeated other copies may be in other ranges, or further back in this one.
        inside = np.flatnonzero(
            np.isin(numbers, due) & (keys >= part.low) & (keys <= np.uint64(part.high - 1))
        )
        at = inside[np.argsort(keys[inside], kind="stable")][: len(due)]
        if not np.array_equal(numbers[at], due):
            what = "holds other rows than converting its inputs again gives, or in another order"
            findings.add(part.name, what)
            continue
        again = Comparison(folder, plan, model, found.range_receipts[part.index], wanted, findings)
        try:
            again.compare_range(part, rows.take(pa.array(at)).combine_chunks())
        except LookaheadError as error:
            findings.add(part.name, error.problem)
        compared += min(again.compared, wanted)
    return compared


def _origins(folder: Path, part: KeyRange, wanted: int, plan: Plan) -> npt.NDArray[np.uint64]:
    """The numbers in the corpus of the first rows of a range."""
    table = pq.read_table(origins_path(folder, part), page_checksum_verification=True)
    if not plan.settings.pack:  # of packed documents later ones may stand in the first rows
        table = table.slice(0, wanted)
    return numbers_of(table.column("row").to_numpy(), table.column("file").to_numpy())


def _converted_again(
    numbers: npt.NDArray[np.uint64], folder: Path, plan: Plan, model: Model
) -> tuple[npt.NDArray[np.uint64], pa.Table]:
    """The rows of these numbers, as they were given to the order, and the number of each."""
    names = run_columns(weights=plan.settings.preview_weight is not None)
    found: list[pa.RecordBatch] = []
    places: list[npt.NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    for unit in plan.units:
        low = numbers_of(0, unit.file)
        only = np.unique(numbers[(numbers >= low) & (numbers < numbers_of(0, unit.file + 1))] - low)
        if not len(only):
            continue
        for converted in converted_batches(unit, plan, model, folder, only=only.astype(np.int64)):
            found.append(converted.batch.select(names))
            places.append(numbers_of(converted.batch.column("row").to_numpy(), unit.file))
    return np.concatenate(places), pa.Table.from_batches(found, schema(names))
