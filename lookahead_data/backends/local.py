"""Units on this machine: one after the other in this process, or several at a time in workers.

A worker is a process of its own that shares nothing but the plan: it loads the model once and
converts whole units. Threads would take turns instead, since encoding holds Python's lock.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path

from lookahead_data.errors import OutputError
from lookahead_data.model.load import Model, load_model
from lookahead_data.pipeline import Progress, run_unit
from lookahead_data.plan import Plan, Unit
from lookahead_data.sink.manifest import Receipt

SMALL = 8 << 20
"""Bytes of input below which starting workers costs more than it gains."""

# Each worker has a core to itself; libraries that start threads of their own would crowd the others.
ONE_THREAD = {
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_units(
    units: Sequence[Unit],
    plan: Plan,
    model: Model,
    folder: Path,
    report: Progress,
    workers: int | None = None,
) -> Iterator[Receipt]:
    """The receipts of `units`, as they are finished, in any order.

    Args:
        report: told of the progress, in this process.
        workers: how many processes; None is one a core. A small job is done in this process.

    Raises:
        LookaheadError: a unit failed. Units that are under way are stopped; finished ones stay.
    """
    count = min(workers or default_workers(), len(units))
    if count <= 1 or sum(unit.size for unit in units) < SMALL:
        for unit in units:
            yield run_unit(unit, plan, model, folder, report)
        return
    yield from _run_in_workers(units, plan, folder, report, count)


def _run_in_workers(
    units: Sequence[Unit], plan: Plan, folder: Path, report: Progress, count: int
) -> Iterator[Receipt]:
    # Forking a process that runs threads (Polars, Arrow and rayon do) can deadlock: start afresh.
    context = multiprocessing.get_context("spawn")
    # A bare pipe: a queue has a lock, and a worker that is killed while it holds it locks out the rest.
    # Reports are far smaller than what a pipe takes at once, so those of several workers never mix.
    reader, writer = context.Pipe(duplex=False)
    listening = threading.Thread(target=_relay, args=(reader, report), daemon=True)
    with _environment(ONE_THREAD), _main_hidden():
        pool = ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=(plan, folder, writer))
        listening.start()
        try:
            waiting = {pool.submit(_work, unit): unit for unit in units}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    unit = waiting.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        raise OutputError(
                            f"a worker died while {unit.name} or another unit was being converted",
                            where=str(folder),
                            remedy="It may have run out of memory: try fewer --workers. The same command "
                            "goes on after the units that are finished.",
                        ) from None
        except BaseException:
            _kill(pool)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            writer.close()  # the last one: the listener then finds the end
            listening.join()


def _relay(reader: Connection, report: Progress) -> None:
    with contextlib.suppress(EOFError):
        while True:
            rows, tokens, size = reader.recv()
            report(rows, tokens, size)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list(pool._processes.values()):
        process.terminate()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """The variables set while processes are started, as far as the user has not set them."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """The main module without a name or a file while processes are started.

    A fresh process would otherwise run the user's script again, which then starts workers itself
    unless it guards against that. Ours need nothing of it.
    """
    main = sys.modules["__main__"]
    file, spec = getattr(main, "__file__", None), main.__spec__
    main.__spec__ = None
    if file is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


_worker: tuple[Plan, Model, Path, Connection] | None = None


def _start_worker(plan: Plan, folder: Path, writer: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _worker
    size = sum(file.size for file in plan.inputs)
    model = load_model(plan.settings, str(plan.shape["kind"]), size=size)
    _worker = (plan, model, folder, writer)


def _work(unit: Unit) -> Receipt:
    assert _worker is not None
    plan, model, folder, writer = _worker
    return run_unit(unit, plan, model, folder, lambda *progress: writer.send(progress))
