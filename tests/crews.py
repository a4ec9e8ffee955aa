"""Jobs with workers that fail, die or run out of memory."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from faults import Fault, Faults
from jobs import Job, Tuning, limit_memory

from lookahead_data import pipeline
from lookahead_data.backends import local

HUNGRY: dict[str, Callable[[], Any]] = {
    "Python": lambda: bytearray(1 << 32),
    "Arrow": lambda: pa.allocate_buffer(1 << 32),
    "Polars": lambda: pl.repeat(1, 1 << 29, dtype=pl.Int64, eager=True),
}
"""Ways to run out of memory, each of which ends a process in its own manner."""


@contextlib.contextmanager
def hungry_at(index: int, kind: str) -> Iterator[None]:
    """Run out of memory when a unit begins."""
    real = pipeline._run_unit

    def run_unit(unit: Any, *args: Any, **options: Any) -> Any:
        if unit.index == index:
            limit_memory(1 << 30)
            HUNGRY[kind]()
        return real(unit, *args, **options)

    pipeline._run_unit = run_unit
    try:
        yield
    finally:
        pipeline._run_unit = real


_WORK = local._work


def work_otherwise(tuning: Tuning, fault: Fault | None, hungry: str, out: Path, *args: Any) -> None:
    """What a worker does, with other constants, with a step that fails, or without memory for unit 3."""
    tuning.apply()
    with contextlib.ExitStack() as stack:
        if hungry:
            stack.enter_context(hungry_at(3, hungry))
        if fault:
            stack.enter_context(Faults(out, fault))
        _WORK(*args)


def workers_of(process: int) -> list[int]:
    """The workers of a job that runs in this process: what its nursery started."""
    return [pid for nursery in nurseries_of(process) for pid in nurseries_of(nursery)]


def nurseries_of(process: int) -> list[int]:
    """The processes that a job started itself."""
    return [pid for pid in _children(process) if b"spawn_main" in _command(pid)]


def _children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()  # that of a fork is its parent's


def run_with_workers(
    job: Job, out: Path, workers: int = 2, fault: Fault | None = None, hungry: str = "", **more: Any
) -> None:
    """Do a job with workers, small as it is.

    Args:
        fault: comes in each worker.
        hungry: how each worker runs out of memory (see `HUNGRY`).
    """
    job.tuning.apply()
    before = local.SMALL, local._work
    local.SMALL = 0
    local._work = functools.partial(work_otherwise, job.tuning, fault, hungry, out)
    try:
        job.run(out, workers=workers, **more)
    finally:
        local.SMALL, local._work = before
