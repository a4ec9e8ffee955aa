"""Workers that die, fail, run out of memory or outlive their job: the rows are the same, or it is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from crews import HUNGRY, hungry_at, nurseries_of, run_with_workers, workers_of
from faults import Fault, undisturbed
from jobs import ELSEWHERE, Job, end, forked, problems, side_by_side, small_job, start
from outcomes import RECEIPTS, files, finished, unfinished

import lookahead_data as la

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")


def gone_on(job: Job, out: Path, golden: Path, workers: int = 1) -> list[str]:
    """What is wrong with what a stopped job left, and with what the same command then makes of it."""
    found = unfinished(out, golden)
    run_with_workers(job, out, workers)
    return found + finished(out, golden, job.rows)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return small_job(tmp_path_factory.mktemp("job"), 120, 6)


# ------------------------------------------------------------------------- workers that die or fail


class Killer(la.Listener):
    """Kills a worker each time that one reports, as often as is said."""

    def __init__(self, times: int) -> None:
        self.left = times

    def advanced(self, rows: int, tokens: int, size: int) -> None:
        workers = workers_of(os.getpid())
        if self.left and workers:
            self.left -= 1
            os.kill(min(workers), signal.SIGKILL)


def run_with_killer(job: Job, golden: Path, out: Path, times: int) -> list[str]:
    killer = Killer(times)
    run_with_workers(job, out, listener=killer)
    found = finished(out, golden, job.rows)
    return [*found, f"{killer.left} workers were not killed"] if killer.left else found


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_that_are_killed_cost_nothing(times: int, job: Job, golden: Path, tmp_path: Path) -> None:
    assert problems(forked(run_with_killer, job, golden, tmp_path / "out", times)) == []


def run_in_vain(job: Job, golden: Path, out: Path, fault: Fault | None, hungry: str, words: str) -> list[str]:
    """Workers fail or die at unit 3, each time: it is told, and the other units are done."""
    try:
        run_with_workers(job, out, fault=fault, hungry=hungry)
    except la.OutputError as error:
        found = [] if words in str(error) else [str(error)]
        if "workers died" in words:
            wanted = {f"{RECEIPTS}unit-{at:05d}.json" for at in range(6) if at != 3}
            done = {name for name in files(out) if name.startswith(RECEIPTS)}
            found += [] if done == wanted else [f"of the other units these are done: {sorted(done)}"]
        return found + gone_on(job, out, golden)
    return ["the job is done"]


DIED = "workers died 3 times over 1 of 6 units, which are missing: unit-00003 ("


@pytest.mark.parametrize(("how", "words"), [("kill", DIED), ("ENOSPC", "cannot be written: ")])
@pytest.mark.parametrize("at", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_unit_at_which_all_workers_die_or_fail_is_named(
    how: str, words: str, at: int, job: Job, golden: Path, tmp_path: Path
) -> None:
    fault = Fault(at, how, "train-00003")
    assert problems(forked(run_in_vain, job, golden, tmp_path / "out", fault, "", words)) == []


def run_with_fault(job: Job, golden: Path, out: Path, fault: Fault) -> list[str]:
    """One worker dies, and another one takes its place."""
    run_with_workers(job, out, fault=fault)
    return finished(out, golden, job.rows)


PLACES = [(2, "train-00004"), (12, "train-00004"), (3, "unit-00004.jsonl"), (7, "unit-00002.json")]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_that_dies_at_a_step_costs_nothing(
    place: tuple[int, str], job: Job, golden: Path, tmp_path: Path
) -> None:
    fault = Fault(place[0], "kill", place[1], tmp_path / "came")
    assert problems(forked(run_with_fault, job, golden, tmp_path / "out", fault)) == []


# ------------------------------------------------------------------------------------ out of memory


STARVED = "the memory ran out while unit-00003 ("


@pytest.mark.parametrize("hungry", HUNGRY)
def test_a_worker_that_runs_out_of_memory_is_noticed(
    hungry: str, job: Job, golden: Path, tmp_path: Path
) -> None:
    # Polars ends the process, so that it is up to the others to tell.
    words = DIED if hungry == "Polars" else STARVED
    assert problems(forked(run_in_vain, job, golden, tmp_path / "out", None, hungry, words)) == []


def run_hungry(job: Job, out: Path) -> str:
    """What a job without workers says that runs out of memory at unit 3."""
    job.tuning.apply()
    try:
        with hungry_at(3, "Python"):
            job.run(out)
    except la.LookaheadError as error:
        return str(error)
    return "nothing"


def test_a_job_without_workers_names_the_unit_too(job: Job, golden: Path, tmp_path: Path) -> None:
    ended = forked(run_hungry, job, tmp_path / "out")
    assert problems(forked(gone_on, job, tmp_path / "out", golden)) == []
    assert ended.status == 0, ended.error
    assert STARVED in ended.value


def run_in_little(job: Job, out: Path) -> None:
    job.tuning.apply()
    job.run(out)


def test_a_job_that_runs_out_of_memory_publishes_nothing_half(job: Job, golden: Path, tmp_path: Path) -> None:
    """Here the process itself converts, and may end as it does. What it leaves is what counts."""

    def squeeze(limit: int) -> tuple[int | None, list[str]]:
        out = tmp_path / str(limit)
        ended = forked(run_in_little, replace(job, tuning=replace(job.tuning, limit=limit)), out)
        found = problems(forked(gone_on, job, out, golden)) if out.exists() else []
        return ended.status, found if ended.status is not None else [*found, "it hangs"]

    limits = [mib << 20 for mib in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)]
    ends = side_by_side(squeeze, limits)
    print([status for status, _ in ends])
    assert [found for _, found in ends] == [[]] * len(limits)
    assert sum(status != 0 for status, _ in ends) >= 2


# ------------------------------------------------------------------------- workers that outlive a job


def ignores_interrupts(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(ignored & 1 << signal.SIGINT - 1)


def run_until_stopped(job: Job, out: Path) -> None:
    """Do a job that stops its workers and itself when the first of them reports."""

    class Stop(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            while len(workers_of(os.getpid())) < 2:  # the other one is still starting
                time.sleep(0.01)
            for worker in workers_of(os.getpid()):
                while not ignores_interrupts(worker):
                    time.sleep(0.01)
                os.kill(worker, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)

    run_with_workers(job, out, listener=Stop())


def kill_with_stopped_workers(job: Job, out: Path) -> list[int]:
    """Kill a job half-way whose workers are stopped; gives the workers."""
    process, answer = start(run_until_stopped, job, out)
    while "State:\tT" not in Path(f"/proc/{process.pid}/status").read_text():
        time.sleep(0.01)
    workers = workers_of(process.pid or 0)
    if job.tuning.orphans:  # else the nursery would end them when its pipe ends
        for nursery in nurseries_of(process.pid or 0):
            os.kill(nursery, signal.SIGKILL)
    process.kill()
    end(process, answer)
    assert len(workers) == 2
    return workers


def is_there(pid: int) -> bool:
    """Whether a process is more than a name: one that ended may wait long to be asked how."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(workers: list[int], seconds: float) -> bool:
    late = time.monotonic() + seconds
    while any(is_there(pid) for pid in workers):
        if time.monotonic() > late:
            return False
        time.sleep(0.01)
    return True


def test_a_stopped_worker_ends_with_its_job(job: Job, golden: Path, tmp_path: Path) -> None:
    assert all_gone(kill_with_stopped_workers(job, tmp_path / "out"), 10)
    assert problems(forked(gone_on, job, tmp_path / "out", golden)) == []


def test_a_worker_that_outlives_its_job_changes_nothing(job: Job, golden: Path, tmp_path: Path) -> None:
    """It could where the system does not end it: it wakes up when the next run has done its unit."""
    out = tmp_path / "out"
    workers = kill_with_stopped_workers(replace(job, tuning=replace(job.tuning, orphans=True)), out)
    try:
        assert not all_gone(workers, 0.2)  # so the test above tests something
        assert problems(forked(gone_on, job, out, golden)) == []
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert all_gone(workers, 10)
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert finished(out, golden, job.rows) == []


# ------------------------------------------------------------------------------------------- matrix


def run_until_killed(job: Job, out: Path, workers: int, rows: int) -> None:
    """Do a job that is killed when so many rows are done."""

    class Kill(la.Listener):
        read = 0

        def advanced(self, rows_: int, tokens: int, size: int) -> None:
            self.read += rows_
            if self.read >= rows:
                os.kill(os.getpid(), signal.SIGKILL)

    run_with_workers(job, out, workers, listener=Kill())


BATCHES = {1: 1, 17: 1500, 1000: 1 << 20}
"""Bytes of input that make batches of about so many rows."""


MATRIX = [
    pytest.param(workers, rows, marks=[] if (workers, rows) == (2, 17) or workers == 1 else pytest.mark.slow)
    for workers in (1, 2, 3, 7)
    for rows in BATCHES
]


@pytest.mark.parametrize(("workers", "rows"), MATRIX)
def test_workers_batches_and_interruptions_do_not_change_the_bytes(
    workers: int, rows: int, job: Job, golden: Path, tmp_path: Path
) -> None:
    tuned = replace(job, tuning=replace(job.tuning, batch_bytes=BATCHES[rows], batch_rows=rows))
    out = tmp_path / "out"
    ended = forked(run_until_killed, tuned, out, workers, job.rows // 2)
    assert ended.signal == signal.SIGKILL, ended.error
    # The next run has other batches, and mostly another number of workers.
    then = replace(job, tuning=replace(job.tuning, batch_bytes=BATCHES[17] if rows == 1 else 1))
    assert problems(forked(gone_on, then, out, golden, 2 if workers == 7 else 1)) == []


def in_batches(job: Job, golden: Path, home: Path) -> list[str]:
    """What batches of another size change."""
    found: list[str] = []
    for rows, size in BATCHES.items():
        replace(job.tuning, batch_bytes=size, batch_rows=rows).apply()
        out = home / str(rows)
        job.run(out)
        found += [f"{rows} rows: {problem}" for problem in finished(out, golden, job.rows)]
    return found


INPUTS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "json": lambda rows, path: path.write_text(json.dumps(rows.to_dicts())),
    "csv": lambda rows, path: rows.write_csv(path),
    "parquet": lambda rows, path: rows.write_parquet(path, row_group_size=25),
    "arrow": lambda rows, path: rows.write_ipc(path),
}


@pytest.mark.parametrize("format", INPUTS)
@pytest.mark.parametrize("pack", [None, 64])
def test_batches_of_all_formats_do_not_change_the_bytes(
    format: str, pack: int | None, job: Job, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{format}"
    rows = pl.DataFrame(
        [{"prompt": f"What is {n}?", "completion": f"It is {n}. " * (n % 5)} for n in range(90)]
    )
    INPUTS[format](rows, path)
    settings = dict(job.settings) | {"unit_size": 1000} | ({"pack": pack, "max_length": None} if pack else {})
    several = replace(job, inputs=str(path), rows=90, settings=settings)
    assert forked(undisturbed, several, tmp_path / "golden").status == 0
    assert problems(forked(in_batches, several, tmp_path / "golden", tmp_path)) == []
