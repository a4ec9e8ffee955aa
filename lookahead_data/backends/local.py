"""Units one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lookahead_data.model.load import Model
from lookahead_data.pipeline import Progress, run_unit
from lookahead_data.plan import Plan, Unit
from lookahead_data.sink.manifest import Receipt


def run_units(
    units: Iterable[Unit], plan: Plan, model: Model, folder: Path, report: Progress | None = None
) -> Iterator[Receipt]:
    """The receipts of `units`, as they are finished."""
    for unit in units:
        yield run_unit(unit, plan, model, folder, report)
