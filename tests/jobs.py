"""Small jobs that tests do again and again, in processes of their own.

These are forked from one that has everything loaded already, so that hundreds of jobs take a minute.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import resource
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.backends import local
from lookahead_data.sink import shards
from lookahead_data.source import arrays_of_json, conversations, tables
from lookahead_data.source.readers import columnar

Given = TypeVar("Given")
Made = TypeVar("Made")

ELSEWHERE = sys.platform != "linux"
"""Whether the tests that look at `/proc` and limit processes cannot run here."""

AT_ONCE = min(2, os.cpu_count() or 1)
"""Forked jobs that run side by side."""


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
            for module in (conversations, pipeline):
                module.BATCH_BYTES = self.batch_bytes  # type: ignore[attr-defined]
            for module in (arrays_of_json, tables):
                module.conversations.__defaults__ = (self.batch_bytes,)
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
        report: curate, and write a report to a folder of this name, instead of converting.
    """

    inputs: str
    rows: int
    settings: Mapping[str, Any]
    tuning: Tuning = field(default_factory=Tuning)
    overwrite: bool = False
    preview: str = ""
    report: str = ""

    def run(self, out: Path, **more: Any) -> None:
        if self.preview or self.report:
            out.mkdir(exist_ok=True)
            target = out / (self.report or self.preview)
            done = target / "summary.json" if self.report else target
            if not self.overwrite and done.exists():
                return  # the job is done, and doing it again is refused
            work = la.curate if self.report else la.preview
            work(self.inputs, target, overwrite=self.overwrite, **self.settings)
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
    os.environ.update(local.WORKER_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)})
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


def problems(ended: Ended) -> list[str]:
    """What a child found to be wrong, be it with itself."""
    return list(ended.value) if ended.status == 0 else [f"status {ended.status}: {ended.error}"]


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
