"""The power fails: only what was flushed to the disk is there afterwards.

Each check is held to its own measure at the end: a program from which a flush, a renaming or a check was
taken out must not pass it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from faults import Faults, resumed
from jobs import ELSEWHERE, Job, forked, problems, side_by_side
from outcomes import MANIFEST, finished, unconserved, unfinished

import lookahead_data as la
from lookahead_data import api
from lookahead_data.batches import Staged
from lookahead_data.plan import InputFile
from lookahead_data.sink import folder as folder_module
from lookahead_data.sink import publish, shards
from lookahead_data.sink import receipts as receipts_module
from lookahead_data.sink.counts import Counts
from lookahead_data.stages.label import Label

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")

Check = Callable[[Job, Path, Path], list[str]]
Mutation = Callable[[pytest.MonkeyPatch], object]
Files = dict[Path, bytes]


class Disk:
    """What of a folder is on the disk, step by step.

    Attributes:
        states: what is there when the power fails after each step. First nothing but what was flushed;
            then all names, but of a file that was not flushed only half. Folders are there as soon as
            they are made, as journalling file systems have it.
    """

    def __init__(self, folder: Path) -> None:
        self.states: list[tuple[Files, Files]] = []
        self._folder = folder
        self._flushed: dict[int, bytes] = {}
        self._named: Files = {}

    def seen(self, kind: str, path: Path) -> None:
        """Take note of a step."""
        if kind == "open" and path.stat().st_size == 0:
            self._flushed.pop(path.stat().st_ino, None)  # another file had this number
        elif kind == "fsync" and path.is_dir():
            elsewhere = {name: data for name, data in self._named.items() if name.parent != path}
            self._named = elsewhere | {name: self._on_disk(name) for name in path.iterdir() if name.is_file()}
        elif kind == "fsync":
            self._flushed[path.stat().st_ino] = path.read_bytes()
        torn: Files = {}
        for name in self._folder.rglob("*"):
            if name.is_file():
                data = name.read_bytes()
                torn[name] = self._on_disk(name, data[: len(data) // 2])
        self.states.append((self._named, torn))

    def _on_disk(self, path: Path, else_: bytes = b"") -> bytes:
        return self._flushed.get(path.stat().st_ino, else_)


def restore(there: Files, folder: Path) -> None:
    """Make a folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, data in there.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# Checks: each gives what is wrong. They run in processes of their own, where anything may be patched.


def without_power(job: Job, golden: Path, home: Path, part: range = range(20, 200, 27)) -> list[str]:
    """The power fails after each of some steps; then the job goes on."""
    out = home / "out"
    disk = Disk(out)
    with Faults(out, seen=disk.seen) as faults:
        job.run(out)
    found: list[str] = []
    for at in part:
        for there in disk.states[at] if at < len(disk.states) else ():
            restore(there, out)
            what = "after " + " ".join(faults.steps[at])
            found += [f"{what}: {problem}" for problem in resumed(job, out, golden)]
    # What was said to be done stays done.
    restore(disk.states[-1][0], out)
    return found + [f"in the end: {problem}" for problem in finished(out, golden, job.rows)]


def half_way(job: Job, golden: Path, home: Path) -> list[str]:
    """What stands there while the job writes, and what a stopped one leaves in the end."""
    out = home / "out"
    found: list[str] = []
    with Faults(
        out, seen=lambda kind, path: found.extend(unfinished(out, golden) if kind == "write" else [])
    ):
        job.run(out)
    (out / "data" / ".tmp-1-left").touch()
    (out / MANIFEST).unlink()
    return found + resumed(job, out, golden)


def damaged(job: Job, golden: Path, home: Path) -> list[str]:
    """A shard is damaged between two runs."""
    out = home / "out"
    job.run(out)
    (out / MANIFEST).unlink()
    shard = min((out / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    job.run(out)
    return finished(out, golden, job.rows)


def leaking(job: Job, golden: Path, home: Path) -> list[str]:
    """A stage loses a row."""
    call = Label.__call__

    def lose(self: Label, batch: pa.RecordBatch) -> Staged:
        return call(self, batch.slice(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Label, "__call__", lose)
        with contextlib.suppress(la.OutputError):
            job.run(home / "out")
            return unconserved(home / "out", job.rows)
    return []


def rivalled(job: Job, golden: Path, home: Path) -> list[str]:
    """Another job comes to the folder half-way."""
    found = ["nobody came"]

    class Rival(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            found.clear()
            try:
                job.run(home / "out")
            except la.OutputError as error:
                if f"process {os.getpid()} on " not in str(error):
                    found.append(f"the owner is not named: {error}")
            else:
                found.append("two jobs write into one folder")

    job.run(home / "out", listener=Rival())
    return found + finished(home / "out", golden, job.rows)


def meddled(job: Job, golden: Path, home: Path) -> list[str]:
    """The input changes half-way."""
    path = Path(shutil.copy(job.inputs, home / "rows.jsonl"))

    class Meddler(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            path.write_bytes(path.read_bytes().replace(b"number", b"figure"))

    with contextlib.suppress(la.InputError):
        replace(job, inputs=str(path)).run(home / "out", listener=Meddler())
        return ["the job is done, from two inputs"]
    return [] if not (home / "out" / MANIFEST).exists() else ["there is a manifest"]


CHECKS: tuple[Check, ...] = (without_power, half_way, damaged, leaking, rivalled, meddled)


# Programs from which something was taken out, each with the check that must notice.


def commit_in_order(*order: str) -> Callable[[Path, Path], None]:
    """`publish.commit` with other steps, or in another order."""

    def commit(temporary: Path, path: Path) -> None:
        for step in order:
            if step == "rename":
                os.replace(temporary, path)
            elif step == "flush":
                with open(temporary if temporary.exists() else path, "rb+") as file:
                    os.fsync(file.fileno())
            else:
                publish._sync_folder(path.parent)

    return commit


def set_commit(*order: str) -> Mutation:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        for module in (publish, shards):
            patch.setattr(module, "commit", commit_in_order(*order))

    return mutate


def set_name(module: Any, name: str, value: Any) -> Mutation:
    return lambda patch: patch.setattr(module, name, value)


def in_place(path: Path, folder: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_in_place(patch: pytest.MonkeyPatch) -> None:
    for module in (publish, shards):
        patch.setattr(module, "temporary_for", in_place)


def sweep_nothing(patch: pytest.MonkeyPatch) -> None:
    for module in (api, folder_module):
        patch.setattr(module, "sweep", lambda folder: None)


class _NoFlush:
    """The module `os`, whose `fsync` does nothing."""

    def __getattr__(self, name: str) -> Any:
        return (lambda handle: None) if name == "fsync" else getattr(os, name)


class _Same:
    """Equals everything."""

    def __ne__(self, other: object) -> bool:
        return False


MUTATIONS: dict[str, tuple[Mutation, Check]] = {
    "files are not flushed": (set_commit("rename", "folder"), without_power),
    "folders are not flushed": (set_commit("flush", "rename"), without_power),
    "renamed before flushed": (set_commit("rename", "flush", "folder"), without_power),
    "folders flushed before renaming": (set_commit("flush", "folder", "rename"), without_power),
    "fsync is never called": (set_name(publish, "os", _NoFlush()), without_power),
    "_sync_folder does nothing": (set_name(publish, "_sync_folder", lambda folder: None), without_power),
    "files are written in place": (write_in_place, half_way),
    "nothing is swept": (sweep_nothing, half_way),
    "digests are made up": (set_name(shards, "sha256_of", lambda path: "0" * 64), damaged),
    "digests are not compared": (set_name(receipts_module, "sha256_of", lambda path: _Same()), damaged),
    "counts are not checked": (set_name(Counts, "check", lambda self, where: None), leaking),
    "the folder is not locked": (set_name(fcntl, "flock", lambda file, how: None), rivalled),
    "changed inputs are not noticed": (set_name(InputFile, "check_unchanged", lambda self: None), meddled),
}


def checked(check: Check, name: str, job: Job, golden: Path, home: Path) -> list[str]:
    """What a check finds to be wrong with the program as it is, or with the mutation of this name."""
    job.tuning.apply()
    with pytest.MonkeyPatch.context() as patch:
        if name:
            MUTATIONS[name][0](patch)
        return check(job, golden, home)


@pytest.mark.parametrize("check", CHECKS)
def test_the_program_passes(check: Check, job: Job, golden: Path, tmp_path: Path) -> None:
    assert problems(forked(checked, check, "", job, golden, tmp_path)) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_program_without_it_does_not_pass(name: str, job: Job, golden: Path, tmp_path: Path) -> None:
    found = problems(forked(checked, MUTATIONS[name][1], name, job, golden, tmp_path))
    print(*found, sep="\n")
    assert found
    assert not any("Traceback" in problem for problem in found)


@pytest.mark.slow
def test_the_power_fails_at_every_third_step(job: Job, golden: Path, tmp_path: Path) -> None:
    def fail_at(part: range) -> list[str]:
        home = tmp_path / str(part.start)
        home.mkdir()
        return problems(forked(powerless, job, golden, home, part))

    parts = [range(start, 150, 12) for start in range(0, 12, 3)]
    assert side_by_side(fail_at, parts) == [[]] * len(parts)


def powerless(job: Job, golden: Path, home: Path, part: range) -> list[str]:
    job.tuning.apply()
    return without_power(job, golden, home, part)
