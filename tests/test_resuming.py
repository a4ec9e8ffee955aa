"""Going on where a job stopped, and beginning a unit again: nothing of the first try is left, and no day matters."""

from __future__ import annotations

import datetime
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from crews import run_with_workers
from faults import undisturbed
from jobs import ELSEWHERE, Job, forked, problems, small_job
from outcomes import MANIFEST, files, finished, unfinished

import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.sink import shards
from lookahead_data.sink.quarantine import write_rejected
from lookahead_data.stages.encode import EngineDifferenceError

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return small_job(tmp_path_factory.mktemp("job"), 60, 3)


def with_another_engine(job: Job, golden: Path, out: Path) -> list[str]:
    """An engine is found to differ when it has published more shards than the next one needs."""
    job.tuning.apply()
    run_unit = pipeline._run_unit
    rows = shards.GROUP_ROWS

    def refuse(*_: Any) -> str:
        raise EngineDifferenceError("row 3")

    def run_twice(*args: Any, **options: Any) -> Any:
        second = "differed" in options
        shards.GROUP_ROWS = rows if second else 2
        vars(pipeline)["write_rejected"] = write_rejected if second else refuse
        return run_unit(*args, **options)

    pipeline._run_unit = run_twice
    job.run(out)
    there, wanted = files(out), files(golden)
    found = [f"{name} is left of the first try" for name in there if name not in wanted]
    found += [
        f"{name} differs" for name in wanted if name.startswith("data/") and there.get(name) != wanted[name]
    ]
    return found + [str(problem) for problem in la.verify(out).problems]


def test_nothing_is_left_of_an_engine_that_differs(job: Job, golden: Path, tmp_path: Path) -> None:
    assert problems(forked(with_another_engine, job, golden, tmp_path / "out")) == []


DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}|{{ m.content }}{% endfor %}<|im_end|>"


def over_midnight(job: Job, out: Path, template: Path) -> None:
    """Kill a job after its first unit, and go on with it on the next day."""

    class Stop(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            if list(out.glob("_job/receipts/*")):
                raise KeyboardInterrupt

    tomorrow = datetime.date.today() + datetime.timedelta(days=1)

    class Tomorrow(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:  # type: ignore[override]
            return tomorrow

    job.tuning.apply()
    with pytest.raises(KeyboardInterrupt):
        job.run(out, chat_template=str(template), listener=Stop())
    datetime.date = Tomorrow  # type: ignore[misc]
    job.run(out, chat_template=str(template))


def test_a_job_goes_on_after_midnight(job: Job, tmp_path: Path) -> None:
    (tmp_path / "dated.jinja").write_text(DATED)
    ended = forked(over_midnight, job, tmp_path / "out", tmp_path / "dated.jinja")
    assert ended.status == 0, ended.error


def interrupted(job: Job, golden: Path, out: Path) -> list[str]:
    """Ctrl-C reaches a job with workers, and each of them."""

    class Interrupt(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            os.killpg(0, signal.SIGINT)

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_with_workers(job, out, listener=Interrupt())
    except KeyboardInterrupt:
        found = unfinished(out, golden)
    else:
        found = ["the job was not stopped"]
    job.run(out)
    return found + finished(out, golden, job.rows)


def test_a_job_with_workers_is_stopped_by_a_key(job: Job, golden: Path, tmp_path: Path) -> None:
    assert problems(forked(interrupted, job, golden, tmp_path / "out")) == []


def lose_something(job: Job, golden: Path, out: Path, lost: str) -> list[str]:
    """A finished folder lost a file; the same command mends it."""
    job.tuning.apply()
    job.run(out)
    (out / lost).unlink()
    job.run(out)
    return finished(out, golden, job.rows)


@pytest.mark.parametrize("lost", ["data/train-00001-00000.parquet", MANIFEST])
def test_a_finished_folder_that_lost_a_file_is_made_whole(
    lost: str, job: Job, golden: Path, tmp_path: Path
) -> None:
    assert problems(forked(lose_something, job, golden, tmp_path / "out", lost)) == []


def test_a_job_that_is_killed_again_and_again_comes_to_its_end(
    job: Job, golden: Path, tmp_path: Path
) -> None:
    """Each time it gets a little further, wherever the clock happens to stop it."""
    out = tmp_path / "out"
    for times in range(100):
        ended = forked(undisturbed, job, out, seconds=0.02 * 1.07**times)
        assert ended.status in (0, None), ended.error
        if ended.status == 0:
            break
    assert finished(out, golden, job.rows) == []
