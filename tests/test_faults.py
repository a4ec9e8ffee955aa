"""Nothing is lost, whatever happens: each step of a job fails, or is the last thing that it does."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from faults import Case, Fault, dying, failing, killed, undisturbed
from jobs import ELSEWHERE, Job, forked, side_by_side, small_job
from outcomes import files

from lookahead_data import OutputError, inspect_clusters

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")

ERRORS = ("EIO", "full", "ENOSPC", "interrupt")
Steps = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Golden:
    """A job, the folder that it made undisturbed, its steps, and what the folder held before."""

    job: Job
    folder: Path
    steps: Steps
    earlier: Path | None = None

    def places(self, kind: str, name: str = "") -> list[int]:
        """At which steps something happens to files of this name."""
        return [at for at, step in enumerate(self.steps, 1) if step[0] == kind and step[1].endswith(name)]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return make_golden(small_job(tmp_path_factory.mktemp("golden"), 40, 2))


def make_golden(job: Job, earlier: Path | None = None) -> Golden:
    """Do a job undisturbed, in a copy of an earlier one's folder if one is given."""
    folder = Path(job.inputs).parent / "golden"
    if earlier is not None:
        shutil.copytree(earlier, folder)
    ended = forked(undisturbed, job, folder)
    assert ended.status == 0, ended.error
    return Golden(job, folder, ended.value, earlier)


def run_fault(fault: Fault, golden: Golden, home: Path) -> Case:
    """What comes of one fault."""
    out = home / f"{fault.at}-{fault.how}"
    if golden.earlier is not None:
        shutil.copytree(golden.earlier, out)
    if fault.how == "kill":
        case = killed(golden.job, out, golden.folder, fault, earlier=golden.earlier)
    else:
        ended = forked(failing, golden.job, out, golden.folder, fault, golden.earlier)
        case = ended.value if ended.status == 0 else Case(True, [f"status {ended.status}: {ended.error}"])
    shutil.rmtree(out)
    return case


def run_faults(faults: Sequence[Fault], golden: Golden, home: Path) -> None:
    """Let each fault come by itself; all must come, and nothing may be wrong afterwards."""
    cases = side_by_side(lambda fault: run_fault(fault, golden, home), faults)
    wrong: list[str] = []
    for fault, case in zip(faults, cases, strict=True):
        what = f"{fault.how} at step {fault.at}, {' '.join(golden.steps[fault.at - 1])}"
        wrong += [f"{what}: {problem}" for problem in case.problems]
        wrong += [f"{what}: {case.unnamed}"] if case.unnamed else []
        wrong += [] if case.fired else [f"{what}: did not come"]
    print(f"{len(faults)} faults over {len(golden.steps)} steps")
    assert not wrong, "\n".join(wrong)


def all_faults(steps: range) -> list[Fault]:
    """At each step one way to fail, and the end of the process."""
    return [Fault(at, how) for at in steps for how in (ERRORS[at % len(ERRORS)], "kill")]


def test_a_few_steps_fail_or_are_the_last(golden: Golden, tmp_path: Path) -> None:
    run_faults(all_faults(range(15, len(golden.steps), 19)), golden, tmp_path)


@pytest.mark.slow
def test_every_step_may_fail_or_be_the_last(golden: Golden, tmp_path: Path) -> None:
    faults = all_faults(range(1, len(golden.steps) + 1))
    assert len(faults) >= 250
    run_faults(faults, golden, tmp_path)
    # No step was left out: a fault after the last one does not come.
    case = run_fault(Fault(len(golden.steps) + 1, "EIO"), golden, tmp_path)
    assert not case.fired and not case.problems


@pytest.fixture(scope="module")
def replaced(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """A smaller job that replaces the other one's output."""
    job = small_job(tmp_path_factory.mktemp("new"), 24, 2, overwrite=True, mode="virtual")
    return make_golden(job, golden.folder)


@pytest.mark.slow
def test_every_step_of_replacing_another_job_may_fail_or_be_the_last(
    replaced: Golden, tmp_path: Path
) -> None:
    (begun,) = replaced.places("rename", "plan.json")
    assert replaced.places("unlink")[-1] < begun
    run_faults(all_faults(range(1, begun + 12)), replaced, tmp_path)


@pytest.mark.slow
def test_killed_twice(golden: Golden, tmp_path: Path) -> None:
    steps = len(golden.steps)
    pairs = [(first, second) for first in range(20, steps, steps // 6) for second in range(9, 60, 13)]

    def kill_twice(pair: tuple[int, int]) -> Case:
        out = tmp_path / f"{pair[0]}-{pair[1]}"
        return killed(golden.job, out, golden.folder, *(Fault(at, "kill") for at in pair))

    cases = side_by_side(kill_twice, pairs)
    assert [case.problems for case in cases] == [[]] * len(pairs)
    assert sum(case.fired for case in cases) > len(pairs) // 2  # near its end a job has few steps left


@pytest.fixture(
    params=["jsonl", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("json", "parquet"))]
)
def previewed(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """What `preview` writes. Its first step makes the folder, which is the test's own doing."""
    settings = {"tokenizer": "builtin", "engine": "tokenizers"}
    job = replace(small_job(tmp_path, 12, 1), settings=settings, preview=f"rows.preview.{request.param}")
    return make_golden(job)


def later_steps(golden: Golden) -> list[Fault]:
    faults = all_faults(range(2, len(golden.steps) + 1))
    # The rows of a Parquet file wait in a second file. It stays if just this one cannot be removed; and so does
    # what was staged for a report.
    stays = {*golden.places("close", ".rows"), *golden.places("unlink", ".rows")}
    stays |= set(golden.places("unlink", "-summary.json"))
    return [fault for fault in faults if fault.how == "kill" or fault.at not in stays]


def test_every_step_of_a_preview_may_fail_or_be_the_last(previewed: Golden, tmp_path: Path) -> None:
    run_faults(later_steps(previewed), previewed, tmp_path)


def earlier_output(job: Job, home: Path) -> Path:
    """What the same command wrote of another corpus, with a table or rejects that the new output has not."""
    home.mkdir()
    path = home / "rows.jsonl"
    rows = [{"prompt": "Why?", "completion": "Because it is so, and was."}] * 3 + [{"prompt": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {**job.settings, "near_dedup": 0.8} if job.report else job.settings
    replace(job, inputs=str(path), settings=settings).run(home / "out")
    path.unlink()
    return home / "out"


@pytest.mark.parametrize("command", ["curate", "preview"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_every_step_of_a_report_or_of_replacing_one_may_fail_or_be_the_last(
    command: str, overwrite: bool, tmp_path: Path
) -> None:
    job = replace(small_job(tmp_path, 12, 1), overwrite=overwrite)
    if command == "curate":
        job = replace(job, settings={"dedup": "prompt"}, report="report")
    else:
        whole = [{"prompt": f"What is {n}?", "completion": f"It is the number {n}."} for n in range(12)]
        Path(job.inputs).write_text("".join(json.dumps(row) + "\n" for row in whole))
        job = replace(job, settings={"tokenizer": "builtin", "engine": "tokenizers"}, preview="rows.p.jsonl")
    earlier = earlier_output(job, tmp_path / "earlier") if overwrite else None
    golden = make_golden(job, earlier)
    run_faults(later_steps(golden), golden, tmp_path)


def test_a_killed_report_leaves_the_earlier_one_whole_until_the_new_one_is(tmp_path: Path) -> None:
    job = replace(small_job(tmp_path, 12, 1), settings={"dedup": "prompt"}, report="report", overwrite=True)
    earlier = earlier_output(job, tmp_path / "earlier")
    golden = make_golden(job, earlier)
    first = golden.places("rename", "report/verdicts.parquet")[0]
    assert golden.places("rename", "report/summary.json")[0] > first
    for at in range(2, first + 1):
        out = Path(shutil.copytree(earlier, tmp_path / f"out-{at}"))
        assert forked(dying, job, out, Fault(at, "kill")).signal == signal.SIGKILL
        there = {n: data for n, data in files(out).items() if "/.tmp-" not in n}
        assert there == files(earlier)


def test_a_report_of_two_runs_is_never_shown(tmp_path: Path) -> None:
    settings = {"dedup": "prompt"}
    job = replace(small_job(tmp_path, 12, 1), settings=settings, report="report", overwrite=True)
    again = Path(job.inputs)
    again.write_text(again.read_text() * 2)  # every prompt twice
    earlier = earlier_output(job, tmp_path / "earlier")
    golden = make_golden(job, earlier)
    tables = {home: read_report(home, "duplicates") for home in (earlier, golden.folder)}
    assert None not in tables.values()
    assert len({str(table) for table in tables.values()}) == 2
    mixed = stale = 0
    for at in range(golden.places("rename", "report/verdicts.parquet")[0], len(golden.steps) + 1):
        out = Path(shutil.copytree(earlier, tmp_path / f"out-{at}"))
        assert forked(dying, job, out, Fault(at, "kill")).signal == signal.SIGKILL
        summary = (out / "report/summary.json").read_bytes()
        whose = next(home for home in tables if (home / "report/summary.json").read_bytes() == summary)
        there = read_report(out, "duplicates")
        assert there in (tables[whose], None)
        mixed += there is None
        # The earlier report had clusters too; the new one has not.
        if whose != earlier:
            left = read_report(out, "near_duplicates")
            assert left is None
            stale += (out / "report/near_duplicates.parquet").exists()
    assert mixed
    assert stale


def read_report(home: Path, name: Literal["duplicates", "near_duplicates"]) -> object:
    """What a report shows, or None if it says that it is not whole."""
    try:
        return inspect_clusters(home / "report", name).to_dicts()
    except OutputError:
        return None
