"""Faults on purpose: jobs of which a step fails, or is the last thing that they do.

What must hold afterwards is in `outcomes`.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from jobs import Job, Made, forked, problems
from outcomes import finished, unfinished

import lookahead_data as la


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


def undisturbed(job: Job, out: Path) -> list[tuple[str, str]]:
    """Do a job, and give its steps."""
    job.tuning.apply()
    with Faults(out) as faults:
        job.run(out)
    return faults.steps


def golden_of(job: Job) -> Path:
    """What a job makes undisturbed, beside its input."""
    folder = Path(job.inputs).parent / "golden"
    ended = forked(undisturbed, job, folder)
    assert ended.status == 0, ended.error
    return folder


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
