"""Faults on purpose: jobs of which a step fails or is the last thing that they do.

Jobs run in processes forked from one that has everything loaded already (`forked`), so that hundreds of
faults take a minute. What must hold afterwards is in `outcomes`.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import json
import multiprocessing
import os
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
from outcomes import finished, unfinished

import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.backends import local
from lookahead_data.sink import shards
from lookahead_data.source import conversations, tables
from lookahead_data.source.readers import columnar

Given = TypeVar("Given")
Made = TypeVar("Made")

AT_ONCE = min(2, len(os.sched_getaffinity(0)))
"""Forked jobs that run side by side."""


# ------------------------------------------------------------------------------------------ jobs


@dataclass(frozen=True)
class Tuning:
    """Constants of the package that a test sets otherwise, in the process itself and in its workers.

    Attributes:
        group_rows: rows of a row group, so that small units have several shards.
        batch_bytes, batch_rows: of input in a batch; None leaves them.
        limit: bytes of memory that a process may take beyond what it has; None is no limit.
        orphans: workers do not end with the process that started them.
    """

    group_rows: int = 1000
    batch_bytes: int | None = None
    batch_rows: int | None = None
    limit: int | None = None
    orphans: bool = False

    def apply(self) -> None:
        """Set them for the rest of this process."""
        shards.GROUP_ROWS = self.group_rows
        if self.batch_bytes is not None:
            for module in (conversations, pipeline, tables):
                module.BATCH_BYTES = self.batch_bytes  # type: ignore[attr-defined]
        if self.batch_rows is not None:
            conversations.BATCH_ROWS = self.batch_rows
            tables.ROWS = columnar._BATCH_ROWS = self.batch_rows
        if self.limit is not None:
            limit_memory(self.limit)
        if self.orphans:
            local._end_with_parent = lambda: None


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@dataclass(frozen=True)
class Job:
    """A job that tests do again and again.

    Attributes:
        inputs: the file to convert.
        rows: how many rows it holds, blank lines not counted.
        settings: by name.
        tuning: of the process that does it.
        overwrite: replace another job's output.
        preview: put the previews into a file of this name, instead of converting.
    """

    inputs: str
    rows: int
    settings: Mapping[str, Any]
    tuning: Tuning = field(default_factory=Tuning)
    overwrite: bool = False
    preview: str = ""

    def run(self, out: Path, **more: Any) -> None:
        if self.preview:
            out.mkdir(exist_ok=True)
            la.preview(self.inputs, out / self.preview, overwrite=True, **self.settings)
        else:
            options = {"workers": 1, "overwrite": self.overwrite} | dict(self.settings) | more
            la.convert(self.inputs, out, **options)


def corpus(rows: int) -> list[dict[str, Any]]:
    """Rows of which some go to quarantine and one is too long for `small_job`."""
    made: list[dict[str, Any]] = [
        {"prompt": f"What is {n}?", "completion": f"It is the number {n}. " * (n % 4 + 1)}
        for n in range(rows)
    ]
    made[rows // 3] = {"prompt": "x"}
    made[rows // 2] = {"prompt": "Nothing is said to this.", "completion": ""}
    made[-2] = {"prompt": "Too long.", "completion": "word " * 300}
    return made


def small_job(folder: Path, rows: int = 60, units: int = 3, overwrite: bool = False, **changes: Any) -> Job:
    """A job of a few units, each with several shards."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in corpus(rows)))
    settings = {
        "tokenizer": "builtin",
        "engine": "tokenizers",
        "max_length": 200,
        "unit_size": path.stat().st_size // units + 1,
        "shard_size": 1,
    }
    return Job(str(path), rows, settings | changes, Tuning(group_rows=rows // units // 2 + 2), overwrite)


# ------------------------------------------------------------------------- processes of their own


@dataclass(frozen=True)
class Ended:
    """How a forked process ended.

    Attributes:
        status: its exit status, negative for a signal; None: it took too long.
        value: what the function gave.
        error: the exception that it raised, with its traceback.
        named: whether that was a `LookaheadError`.
    """

    status: int | None
    value: Any = None
    error: str = ""
    named: bool = False

    @property
    def signal(self) -> int:
        return -self.status if self.status is not None and self.status < 0 else 0


_turn = threading.Lock()
"""Processes are started, and their ends read, by one thread at a time: each start looks after all ends."""


@functools.cache
def context() -> Any:
    """Processes forked from one that imported `warm`, and has no threads that a fork would lose."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["warm"])
    before = dict(os.environ)
    paths = [str(Path(__file__).parent), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(local.ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)})
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return server


def start(function: Callable[..., Any], *args: Any) -> tuple[Any, Connection]:
    """Begin `function(*args)` in a forked process; gives the process and where its answer comes."""
    with _turn:
        here, there = context().Pipe(duplex=False)
        process = context().Process(target=_child, args=(there, function, args))
        process.start()
        there.close()
    return process, here


def end(process: Any, answer: Connection, seconds: float = 60) -> Ended:
    """Wait for a forked process to end; one that takes too long is killed."""
    told: dict[str, Any] = {}
    late = not wait([process.sentinel, answer], seconds)
    if not late:
        with contextlib.suppress(EOFError, OSError):
            told = answer.recv()
        late = not wait([process.sentinel], seconds)
    if late:
        process.kill()
        wait([process.sentinel])
    answer.close()
    with _turn:
        process.join()
        return Ended(None if late else process.exitcode, **told)


def forked(function: Callable[..., Any], *args: Any, seconds: float = 60) -> Ended:
    """What became of `function(*args)` in a forked process."""
    return end(*start(function, *args), seconds)


def _child(answer: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    told: dict[str, Any] = {}
    try:
        told["value"] = function(*args)
    except BaseException as error:
        told["error"] = "".join(traceback.format_exception(error))[-3000:]
        told["named"] = isinstance(error, la.LookaheadError)
    answer.send(told)
    answer.close()
    os._exit(1 if "error" in told else 0)


def side_by_side(function: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
    """The function's results, in order; some are made at a time, in threads that wait for processes."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))


# ---------------------------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        at: at which step that changes something below the folder, from 1; where a name is given, at
            which step with a file whose name has that in it.
        once: a file that is made when the fault comes, and with which it does not come again; so of
            several workers it is one that has it.
        how: `ENOSPC`, `EIO`: the step fails; `full`: it and all that need room after it fail;
            `interrupt`: Ctrl-C comes; `kill`: the process ends. Of a write half is done before that,
            and a file is closed all the same.
    """

    at: int
    how: str
    name: str = ""
    once: Path | None = None


STEPS = ("mkdir", "open", "write", "close", "fsync", "rename", "unlink")
GROWING = ("mkdir", "open", "write")
"""Steps that need room on the disk."""


class Faults:
    """Lets one of the steps that change something below a folder go wrong, while the block lasts.

    It stands between the package and the system: `open`, Arrow's files and functions of `os`. Without a
    fault it only notes the steps.

    Attributes:
        steps: what was done so far: the step, and the path inside the folder.
        fired: whether the fault has come.
    """

    def __init__(
        self, folder: Path, fault: Fault | None = None, seen: Callable[[str, Path], Any] | None = None
    ) -> None:
        """
        Args:
            seen: told of each step that was done, with the path.
        """
        self.steps: list[tuple[str, str]] = []
        self.fired = False
        self._seen = seen or (lambda kind, path: None)
        self._folder = str(folder)
        self._fault = fault
        self._count = 0
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Faults:
        real_open = builtins.open

        def patched_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not isinstance(file, str | os.PathLike) or not self._mine(file) or not set(mode) & set("wax+"):
                return real_open(file, mode, *args, **kwargs)
            return _open(_File(self, file, mode.replace("b", "").replace("t", "")), mode, *args, **kwargs)

        def patched_sink(path: str, mode: str = "r") -> Any:
            if mode != "wb" or not self._mine(path):
                return real_sink(path, mode)
            return pa.PythonFile(_File(self, path, "w"), "w")

        real_sink = pa.OSFile
        self._replace(builtins, "open", patched_open)
        self._replace(io, "open", patched_open)
        self._replace(pa, "OSFile", patched_sink)
        for name, kind in [
            ("fsync", "fsync"),
            ("replace", "rename"),
            ("rename", "rename"),
            ("mkdir", "mkdir"),
            ("unlink", "unlink"),
            ("remove", "unlink"),
            ("rmdir", "unlink"),
        ]:
            self._replace(os, name, self._stepping(kind, getattr(os, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._fault = None
        self._undo.close()

    def step(
        self, kind: str, path: Any, act: Callable[[], Made], half: Callable[[], Any] | None = None
    ) -> Made:
        """Do one step, or what the fault makes of it."""
        path = path if isinstance(path, int) else os.fspath(path)
        where = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else str(path)
        if not self._mine(where):
            return act()
        self.steps.append((kind, os.path.relpath(where, self._folder)))
        fault = self._fault
        self._count += fault is not None and fault.name in where
        if fault is None or self._count < fault.at:
            made = act()
            self._seen(kind, Path(where))
            return made
        if self.fired:
            if fault.how == "full" and kind in GROWING:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)
            return act()
        if fault.once and fault.once.exists():
            self._fault = None
            return act()
        self.fired = True
        if fault.once:
            fault.once.touch()
        if kind == "close":
            act()
        elif half is not None:
            half()
        if fault.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.how == "interrupt":
            raise KeyboardInterrupt
        number = errno.ENOSPC if fault.how == "full" else getattr(errno, fault.how)
        raise OSError(number, os.strerror(number), where)

    def _mine(self, path: Any) -> bool:
        return os.path.join(str(path), "").startswith(os.path.join(self._folder, ""))

    def _replace(self, module: Any, name: str, new: Any) -> None:
        self._undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, new)

    def _stepping(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(path: Any, *args: Any, **kwargs: Any) -> Any:
            # Renaming is told by the name that the file gets.
            name = args[0] if kind == "rename" else path
            return self.step(kind, name, lambda: real(path, *args, **kwargs))

        return stepping


class _File(io.FileIO):
    """A file each of whose steps may go wrong."""

    def __init__(self, faults: Faults, path: Any, mode: str) -> None:
        self._faults = faults
        self._path = os.fspath(path)
        faults.step("open", path, lambda: super(_File, self).__init__(path, mode))

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        return self._faults.step(
            "write",
            self._path,
            lambda: super(_File, self).write(whole),
            lambda: super(_File, self).write(whole[: len(whole) // 2]),
        )

    def truncate(self, size: int | None = None) -> int:
        return self._faults.step("write", self._path, lambda: super(_File, self).truncate(size))

    def close(self) -> None:
        if not self.closed:
            self._faults.step("close", self._path, super().close)


def _open(raw: _File, mode: str, buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
    """What `open` makes of a raw file."""
    if buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **kwargs)


# ------------------------------------------------------------------------------ what children do


def undisturbed(job: Job, out: Path) -> list[tuple[str, str]]:
    """Do a job, and give its steps."""
    job.tuning.apply()
    with Faults(out) as faults:
        job.run(out)
    return faults.steps


@dataclass
class Case:
    """What came of one fault.

    Attributes:
        fired: whether it came to the fault at all.
        problems: what is wrong with what it left, or with what the same command then made of that.
        unnamed: an error that was none of the package's own.
    """

    fired: bool = False
    problems: list[str] = field(default_factory=list)
    unnamed: str = ""


def failing(job: Job, out: Path, golden: Path, fault: Fault, earlier: Path | None = None) -> Case:
    """Do a job with a fault that it survives as a process, then do it again.

    Args:
        earlier: what the folder held before, if it may still hold it.
    """
    case = Case()
    job.tuning.apply()
    with Faults(out, fault) as faults:
        try:
            job.run(out)
            failed = False
        except (Exception, KeyboardInterrupt) as error:
            failed = True
            if not isinstance(error, la.LookaheadError | KeyboardInterrupt):
                case.unnamed = "".join(traceback.format_exception(error))[-1500:]
    case.fired = faults.fired
    if not failed:
        case.problems += finished(out, golden, job.rows)
    case.problems += resumed(job, out, golden, earlier)
    return case


def dying(job: Job, out: Path, fault: Fault) -> None:
    """Do a job whose process does not survive the fault."""
    job.tuning.apply()
    with Faults(out, fault):
        job.run(out)


def resumed(job: Job, out: Path, golden: Path, earlier: Path | None = None) -> list[str]:
    """What is wrong with what a stopped job left, and with what the same command then makes of it."""
    job.tuning.apply()
    found = unfinished(out, golden, earlier)
    try:
        job.run(out)
    except Exception as error:
        return [*found, f"the same command fails: {error}"]
    return found + finished(out, golden, job.rows)


def killed(job: Job, out: Path, golden: Path, *faults: Fault, earlier: Path | None = None) -> Case:
    """Kill a job at a fault, and the job that goes on with it at the next; then let it finish."""
    case = Case(fired=True)
    for fault in faults:
        ended = forked(dying, job, out, fault)
        case.fired &= ended.signal == signal.SIGKILL
        if ended.signal != signal.SIGKILL and ended.status != 0:
            case.problems.append(f"status {ended.status}: {ended.error}")
    case.problems += problems(forked(resumed, job, out, golden, earlier))
    return case


def problems(ended: Ended) -> list[str]:
    """What a child found to be wrong, be it with itself."""
    return list(ended.value) if ended.status == 0 else [f"status {ended.status}: {ended.error}"]


# ------------------------------------------------------------------------------ what workers do

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
    local._work = functools.partial(work_otherwise, job.tuning, fault, hungry, out)  # type: ignore[assignment]
    try:
        job.run(out, workers=workers, **more)
    finally:
        local.SMALL, local._work = before
