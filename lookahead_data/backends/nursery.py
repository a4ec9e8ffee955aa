"""A process that loads what every worker needs, once, and forks the workers.

Loading a tokenizer and its engine, and importing the libraries, takes two seconds of CPU. A fork shares
all of it, memory included. Forking is safe only while no other thread runs: a lock that such a thread
holds would stay locked in the child forever. So the nursery looks at its own threads before each fork,
and starts a fresh process instead where there is one that it does not know to be harmless.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

from lookahead_data.config import Settings
from lookahead_data.errors import LookaheadError
from lookahead_data.lean import leave_out_pandas
from lookahead_data.model.engines import Engines
from lookahead_data.model.load import preload

Work = Callable[[Connection, Settings, Engines | None], None]
"""What a worker does. The engines are None where it has to load them itself."""

IDLE_THREADS = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})
"""Threads that libraries start when they are imported, by their names in the kernel. jemalloc's registers
handlers with `pthread_atfork`; Polars' waits for files to remove until something is spilled to disk."""

READY = "ready"
"""What the nursery says when it has loaded, before it starts a worker."""

PATIENCE = 5
"""Seconds to wait for a process to end."""


class Nursery:
    """The nursery, seen from the process that has the job."""

    def __init__(self, settings: Settings, work: Work) -> None:
        # This process may run threads of any kind, so the nursery itself is never forked.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process: BaseProcess = context.Process(target=_tend, args=(other, settings, work))
        self._process.start()
        other.close()  # so that the end of the nursery is the end of the pipe
        self._started = 0
        self._ready = False

    def start(self) -> tuple[int, Connection]:
        """Ask for one more worker; gives its number and this end of its pipe. It need not run yet.

        Raises:
            OSError: the nursery is gone.
        """
        # A pipe for each worker: a queue for all has a lock, which a killed worker would take along.
        mine, other = multiprocessing.get_context("spawn").Pipe()
        with other:  # so that the death of the worker is the end of the pipe
            try:
                self._connection.send(("start", self._started))
                send_handle(self._connection, other.fileno(), self._process.pid)
            except OSError:
                mine.close()
                raise
        self._started += 1
        return self._started - 1, mine

    def exit_code(self, number: int) -> int | None:
        """How a worker ended; None where it does not end, or the nursery is gone too."""
        try:
            self._connection.send(("exit code", number))
            while self._connection.poll(2 * PATIENCE):
                answer = self._connection.recv()
                if answer != READY:
                    code: int | None = answer
                    return code
                self._ready = True
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        return None

    def kill(self, number: int) -> None:
        """End a worker at once."""
        with contextlib.suppress(OSError):
            self._connection.send(("kill", number))

    def close(self) -> None:
        """End the nursery and all its workers, and wait until they are gone."""
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            while self._connection.poll():
                self._ready = self._connection.recv() == READY or self._ready
        self._connection.close()
        if not self._ready:
            self._process.kill()  # it has no workers yet
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()  # its workers end with it
            self._process.join()


def _tend(connection: Connection, settings: Settings, work: Work) -> None:
    """What the nursery does: load, then start workers until the pipe ends."""
    end_with_parent()
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.safety_function is None:  # the user's own code may need it
        leave_out_pandas()
    engines: Engines | None = None
    with contextlib.suppress(LookaheadError):  # the parent meets the same error and tells it
        engines = preload(settings)
    gc.collect()
    gc.freeze()  # the collector of a fork would otherwise copy the pages it looks at
    children: dict[int, BaseProcess] = {}
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(READY)
        while True:
            what, number = connection.recv()
            if what == "start":
                pipe = Connection(recv_handle(connection))
                children[number] = _child(pipe, settings, work, engines, connection)
                pipe.close()
            elif what == "exit code":
                children[number].join(PATIENCE)
                connection.send(children[number].exitcode)
            else:
                children[number].kill()
                children[number].join()
    for child in children.values():
        child.kill()
    for child in children.values():
        child.join()


def _child(
    pipe: Connection, settings: Settings, work: Work, engines: Engines | None, ours: Connection
) -> BaseProcess:
    child: BaseProcess
    if can_fork():
        fork = multiprocessing.get_context("fork")
        child = fork.Process(target=_forked, args=(pipe, settings, work, engines, ours))
    else:
        child = multiprocessing.get_context("spawn").Process(target=work, args=(pipe, settings, None))
    child.start()
    return child


def _forked(
    pipe: Connection, settings: Settings, work: Work, engines: Engines | None, inherited: Connection
) -> None:
    inherited.close()  # else a worker would keep the nursery's pipe open
    work(pipe, settings, engines)


def can_fork() -> bool:
    """Whether no thread runs in this process but this one and those that are known to be idle."""
    if sys.platform != "linux":
        return False
    try:
        names = [
            (task / "comm").read_text().strip()
            for task in Path("/proc/self/task").iterdir()
            if task.name != str(os.getpid())
        ]
    except OSError:
        return False
    return set(names) <= IDLE_THREADS


def end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, even while it is stopped or deep in work.

    Else a worker that outlives a killed job could write on beside the job's next run. Linux alone does
    that; elsewhere the worker notices when it next reports.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # it was gone before
