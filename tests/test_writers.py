"""Several processes and one output folder: one writes, the others are refused by its name; never a mixture."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from faults import golden_of, resumed
from jobs import ELSEWHERE, Ended, Job, end, forked, problems, small_job, start
from outcomes import files, finished

import lookahead_data as la

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return small_job(tmp_path_factory.mktemp("other"), 30, 2, mode="virtual")


def at_once(job: Job, out: Path, when: float) -> int:
    """Do a job at a time that others begin at too; gives the process's number."""
    job.tuning.apply()
    while time.monotonic() < when:
        pass
    job.run(out)
    return os.getpid()


def race(jobs: list[Job], out: Path) -> list[Ended]:
    when = time.monotonic() + 0.2
    processes = [start(at_once, job, out, when) for job in jobs]
    return [end(*process) for process in processes]


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_same_job_three_times_at_once(rounds: int, job: Job, golden: Path, tmp_path: Path) -> None:
    refused = 0
    for at in range(rounds):
        out = tmp_path / str(at)
        results = race([job] * 3, out)
        done = {ended.value for ended in results if ended.status == 0}
        assert done
        for ended in results:
            if ended.status != 0:
                refused += 1
                # Who has just got the lock has not told its name yet.
                words = re.search(r"(process (\d+) on \S+|another process) is writing", ended.error)
                assert ended.named and words, ended.error
                assert words[2] is None or int(words[2]) in done
        assert finished(out, golden, job.rows) == []
    print(f"{refused} of {3 * rounds} were refused")
    assert refused >= rounds


@pytest.mark.parametrize("rounds", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_two_jobs_at_once_never_mix(rounds: int, job: Job, golden: Path, other: Job, tmp_path: Path) -> None:
    goldens = [(golden, job.rows), (golden_of(other), other.rows)]
    for at in range(rounds):
        out = tmp_path / str(at)
        results = race([job, other], out)
        assert all(ended.status == 0 or ended.named for ended in results)
        won = [which for which, ended in enumerate(results) if ended.status == 0]
        assert len(won) == 1, [ended.error for ended in results]
        assert finished(out, *goldens[won[0]]) == []
        shutil.rmtree(out)
    shutil.rmtree(goldens[1][0])


def half_way(job: Job, out: Path) -> int:
    """Do a job that stops after its first unit until somebody says to go on."""

    class Pause(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            os.kill(os.getpid(), signal.SIGSTOP)

    job.tuning.apply()
    job.run(out, listener=Pause())
    return os.getpid()


def test_a_writer_that_was_stopped_keeps_the_folder(
    job: Job, golden: Path, other: Job, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process, answer = start(half_way, job, out)
    asleep(process.pid)
    before = files(out)
    for rival in (job, other, replace(other, overwrite=True)):
        ended = forked(resumed, rival, out, golden)
        assert f"process {process.pid} on " in ended.value[-1]
    assert files(out) == before
    while process.exitcode is None:
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.01)
    assert end(process, answer).status == 0
    assert finished(out, golden, job.rows) == []


def test_a_writer_that_is_killed_lets_go_of_the_folder(
    job: Job, golden: Path, other: Job, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process, answer = start(half_way, job, out)
    asleep(process.pid)
    process.kill()
    end(process, answer)
    assert problems(forked(resumed, job, out, golden)) == []


def test_a_folder_whose_plan_is_damaged_is_never_mixed(
    job: Job, golden: Path, other: Job, tmp_path: Path
) -> None:
    out = shutil.copytree(golden, tmp_path / "out")
    (out / "_job" / "plan.json").write_text("{")
    small = small_job(tmp_path, 12, 1)
    ended = forked(resumed, small, out, golden_of(small))
    assert files(out) == files(tmp_path / "golden") or "fails" in ended.value[-1]


def asleep(pid: int) -> None:
    """Wait until a process is stopped."""
    while "State:\tT" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.002)
