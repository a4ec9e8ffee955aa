"""Units on this machine: one after the other in this process, or several at a time in workers.

A worker is a process of its own that shares nothing but the plan, forked from one that has loaded the
model (see `backends.nursery`), and converts whole units. One that dies, of too little memory or of a
fault in native code, takes no other along, as a thread would.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from lookahead_data.backends.nursery import Nursery
from lookahead_data.backends.nursery import end_with_parent as _end_with_parent
from lookahead_data.config import Settings
from lookahead_data.cores import cores
from lookahead_data.errors import LookaheadError, OutputError, TokenizerError
from lookahead_data.lean import WORKER_ENVIRONMENT, leave_out_pandas
from lookahead_data.model.engines import Engines
from lookahead_data.model.load import Model, load_model
from lookahead_data.ordering import run_range
from lookahead_data.pipeline import Progress, run_unit
from lookahead_data.plan import InputFile, KeyRange, Plan, Unit
from lookahead_data.sink.receipts import Receipt
from lookahead_data.sink.runs import Run

SMALL = 16 << 20
"""Bytes of input below which starting workers costs more than it gains."""

TRIES = 3
"""How often a unit is begun before it is given up because its worker dies each time."""


class Crew:
    """The workers of a job. They start when the crew is made, and get ready while the job is planned.

    Use it as a context manager: when the block ends, all workers are gone.
    """

    def __init__(self, files: Sequence[InputFile], settings: Settings, workers: int | None = None) -> None:
        """
        Args:
            files: the inputs, by whose size and kind the crew is measured; a small job has none.
            workers: how many processes at most; None is one a core, and one is this process itself.
        """
        self._settings = settings
        self._workers: list[_Worker] = []
        self._nursery: Nursery | None = None
        count = min(workers or cores(), _most_units(files, settings))
        if count > 1 and sum(file.size for file in files) >= SMALL:
            self._workers = [self._start_worker() for _ in range(count)]

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()
        if self._nursery is not None:
            # What workers had not published stays hidden and is swept later.
            self._nursery.close()

    def _start_worker(self) -> _Worker:
        if self._nursery is not None:
            with contextlib.suppress(OSError):
                return _Worker(self._nursery)
            self._nursery.close()  # killed, and its workers with it
        with _environment(WORKER_ENVIRONMENT), _main_hidden():
            self._nursery = Nursery(self._settings, _work)
        return _Worker(self._nursery)

    def run(
        self,
        tasks: Sequence[Unit | KeyRange],
        job: Job,
        model: Model,
        report: Progress,
    ) -> Iterator[Receipt]:
        """The receipts of tasks, as they are finished, in any order.

        A task whose worker dies (killed, out of memory, aborted by native code) is begun again with
        another worker, `TRIES` times in all. What then still fails is told when all others are done.

        Args:
            report: told of the progress, in this process.

        Raises:
            LookaheadError: a task failed. Tasks that are under way are stopped; finished ones stay.
            OutputError: workers died; the message names the tasks that are missing.
        """
        if not self._workers or len(tasks) <= 1:
            for task in tasks:
                yield _perform(task, job, model, report)
            return
        yield from self._run_in_workers(tasks, job, report)

    def _run_in_workers(
        self, tasks: Sequence[Unit | KeyRange], job: Job, report: Progress
    ) -> Iterator[Receipt]:
        waiting = [_Task(task) for task in reversed(tasks)]
        given_up: list[_Task] = []
        while waiting or any(worker.task for worker in self._workers):
            for worker in self._workers:
                if worker.task is None and waiting:
                    worker.begin(waiting.pop(), job)
            busy = {worker.connection: worker for worker in self._workers if worker.task}
            for connection in wait(busy):
                worker = busy[connection]  # type: ignore[index]
                try:
                    answer = worker.connection.recv()
                except (EOFError, OSError, pickle.UnpicklingError):
                    task = worker.task
                    assert task is not None
                    task.deaths.append(worker.epitaph())
                    (given_up if len(task.deaths) >= TRIES else waiting).append(task)
                    self._workers[self._workers.index(worker)] = self._start_worker()
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                if isinstance(answer, Receipt):
                    worker.task = None
                    yield answer
                else:
                    report(*answer)
        if given_up:
            raise _missing(given_up, len(tasks), job)


class Job(NamedTuple):
    """What all tasks have in common.

    Attributes:
        folder: the output folder.
        strict: stop at the first row at fault.
        runs: of all units, where rows are put in order.
    """

    plan: Plan
    folder: Path
    strict: bool = False
    runs: tuple[Run, ...] = ()


def _perform(task: Unit | KeyRange, job: Job, model: Model, report: Progress) -> Receipt:
    if isinstance(task, KeyRange):
        return run_range(task, job.plan, job.runs, model.pad_id, job.folder, report)
    return run_unit(task, job.plan, model, job.folder, report, strict=job.strict)


@dataclass
class _Task:
    """What is to be done, and how the workers that tried it died."""

    what: Unit | KeyRange
    deaths: list[str] = field(default_factory=list)


class _Worker:
    """A worker process, seen from the parent."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._number, self.connection = nursery.start()
        self.task: _Task | None = None
        self._job: Job | None = None

    def begin(self, task: _Task, job: Job) -> None:
        """Hand over a task. A worker that is gone by then is noticed when it is waited for."""
        self.task = task
        with contextlib.suppress(OSError):
            if self._job is not job:
                self.connection.send(job)
                self._job = job
            self.connection.send(task.what)

    def epitaph(self) -> str:
        """How the process ended, for people."""
        self.connection.close()
        code = self._nursery.exit_code(self._number)
        if code is None:
            self._nursery.kill(self._number)
            return "it stopped answering"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return f"it was ended by {name}"
        return f"it ended with status {code}"


def _most_units(files: Sequence[InputFile], settings: Settings) -> int:
    """At most so many units will the files be divided into."""
    assert settings.unit_size is not None
    return sum(1 if file.compression else file.size // settings.unit_size + 1 for file in files)


def _missing(tasks: Sequence[_Task], of: int, job: Job) -> OutputError:
    kind = "units" if isinstance(tasks[0].what, Unit) else "ranges"
    killed = any("SIGKILL" in task.deaths[-1] for task in tasks)
    names = [f"{_named(task.what, job.plan)}: {task.deaths[-1]}" for task in tasks]
    return OutputError(
        f"workers died {TRIES} times over {len(tasks)} of {of} {kind}, which are missing: "
        + "; ".join(names),
        where=str(job.folder),
        remedy=("SIGKILL mostly means out of memory: try fewer --workers. " if killed else "")
        + f"All other {kind} are finished, and the same command goes on with these.",
    )


def _named(task: Unit | KeyRange, plan: Plan) -> str:
    if isinstance(task, KeyRange):
        return f"{task.name} of the order"
    return f"{task.name} ({plan.inputs[task.file].name}, from {task.start:,})"


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


def _work(connection: Connection, settings: Settings, engines: Engines | None) -> None:
    """What a worker does: get ready, hear the job, then do the tasks that it is handed.

    Args:
        engines: as the nursery loaded them; None where this is a fresh process, or they cannot be loaded.
    """
    _end_with_parent()
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.safety_function is None:  # the user's own code may need it
        leave_out_pandas()
    # The end of the pipe is the end of the parent, however it came.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        job: Job = connection.recv()
        model: Model | None = None
        while True:
            task = connection.recv()
            if isinstance(task, Job):
                job = task
                continue
            answer: Any
            try:
                model = model or _model_of(job.plan, engines)
                answer = _perform(task, job, model, lambda *told: connection.send(told))
            except LookaheadError as error:
                answer = error
            connection.send(answer)


def _model_of(plan: Plan, engines: Engines | None) -> Model:
    size = sum(file.size for file in plan.inputs)
    model = load_model(plan.settings, plan.kinds, size=size, engines=engines)
    if model.tokenizer.sha256 != plan.tokenizer["sha256"]:
        raise TokenizerError(
            "changed while the job was being planned",
            where=model.tokenizer.name,
            remedy="Start again when nothing writes to it any more.",
        )
    return model
