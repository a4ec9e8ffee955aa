"""The output folder: whose it is, and whether a job may write or go on there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lookahead_data.config import Settings
from lookahead_data.errors import OutputError
from lookahead_data.plan import Plan
from lookahead_data.sink.card import CARD
from lookahead_data.sink.formats import ARROW, PARQUET
from lookahead_data.sink.load_from_disk import INFO, STATE
from lookahead_data.sink.manifest import MANIFEST, PLAN, Manifest
from lookahead_data.sink.publish import TEMPORARY, load_json, write_json, writing
from lookahead_data.sink.receipts import ORIGINS, QUARANTINE, RECEIPTS
from lookahead_data.sink.runs import RUNS
from lookahead_data.sink.shards import WEIGHTS, Shard
from lookahead_data.sink.verdicts import REPORTS, VERDICTS

SHARDS = "*-[0-9][0-9][0-9][0-9][0-9]-[0-9][0-9][0-9][0-9][0-9]"
"""The names of shards, less their ending."""

OWN = (
    MANIFEST,
    CARD,
    f"{RECEIPTS}/*.json",
    f"{RUNS}/*.arrow",
    f"{ORIGINS}/range-*.parquet",
    f"{QUARANTINE}/unit-*.jsonl",
    *(f"data/{SHARDS}.{ending}" for ending in (PARQUET, ARROW)),
    f"{WEIGHTS}/{SHARDS}.{PARQUET}",
    INFO,
    STATE,
    f"{VERDICTS}/*",
    f"{REPORTS}/*.parquet",
)
"""All that a job writes into its folder, but for the lock and the plan."""

LOCK = "_job/lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the output folder, so that two jobs never write into it at a time.

    The lock goes with the process that holds it, however that ends; none is ever left behind.

    Raises:
        OutputError: another process holds the folder, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file, not a folder", where=str(folder))
    _refuse_foreign(folder)
    path = folder / LOCK
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closed below, where the lock ends)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise OutputError(
            f"{owner} is writing into this folder",
            where=str(folder),
            remedy="Wait until it is done, or name another folder.",
        ) from None
    except OSError as error:  # network disks may know no locks
        file.close()
        raise OutputError(
            f"cannot be locked: {error.strerror or error}",
            where=str(path),
            remedy="Name a folder on a disk that has file locks (a local one does).",
        ) from None
    with writing(path):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what it says of the owner is of no use any more
            file.close()


def claim_folder(folder: Path, plan: Plan, *, overwrite: bool = False) -> bool:
    """Make the output folder, which is held, ready for a job.

    A folder that holds this very job, as far as it got, is taken up again; one in which another job
    finished nothing is taken over.

    Args:
        overwrite: remove another job's output first, and take up this one again even if it is complete,
            so that what is damaged of it is made anew.

    Returns:
        Whether the job is complete there already, all its shards in their places.

    Raises:
        OutputError: the folder holds another job's output; the message names what differs.
    """
    sweep(folder)
    if (folder / PLAN).is_file():
        difference = next(differences(_earlier_plan(folder), plan.document()), None)
        if difference is None:
            if not overwrite and _is_complete(folder):
                drop_runs(folder)  # in case the job was stopped right behind its manifest
                return True
            # Without these nobody takes what may be missing for a finished job.
            for name in (MANIFEST, STATE, INFO):
                with writing(folder / name):
                    (folder / name).unlink(missing_ok=True)
            return False
        if not overwrite and any((folder / RECEIPTS).glob("*.json")):
            name, there, now = difference
            what = f"{name} is {short(there)} there, and {short(now)} now" if name else "its plan is damaged"
            raise OutputError(
                f"the folder holds another job's output: {what}",
                where=str(folder),
                remedy="Name another folder, or replace that output with --overwrite.",
            )
        _clear(folder)
    write_json(folder / PLAN, plan.document())
    return False


_DECIDED = {"overlength": "auto", "unit_size": None}
"""Settings that planning decides, by the values that leave it to that."""


def dated_as_before(folder: Path, settings: Settings) -> Settings:
    """The settings with the day of the job that the folder holds, if they are the same but for that.

    A template that tells the day is told the day of planning, and a job may be stopped over midnight.
    """
    there = (_earlier_plan(folder) or {}).get("settings", {})
    day = there.get("template_date") if isinstance(there, dict) else None
    if settings.template_date is None and isinstance(day, str):
        dated = settings.replace(template_date=day)
        now = json.loads(json.dumps(dated.to_dict()))
        # What planning decides is not decided yet.
        now |= {name: there.get(name) for name, open_ in _DECIDED.items() if now[name] == open_}
        if next(differences(there, now), None) is None:
            return dated
    return settings


def _is_complete(folder: Path) -> bool:
    """Whether there is a manifest, and each shard that it names, of the right size."""
    try:
        shards = [Shard(**shard) for shard in Manifest.load(folder).document["shards"]]
        return all(
            (folder / shard.path).stat().st_size == shard.size
            and all((folder / path).is_file() for path in shard.files)
            for shard in shards
        )
    except (OutputError, OSError, TypeError):
        return False


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with something in it that is not of an earlier job."""
    if not folder.is_dir() or (folder / PLAN).is_file() or not any(folder.iterdir()):
        return
    if {path.name for path in folder.iterdir()} == {Path(LOCK).parts[0]}:
        return  # another process is just beginning there, or got no further
    raise OutputError(
        "the folder is not empty, and what is in it is not ours",
        where=str(folder),
        remedy="Name an empty or a new folder.",
    )


_ABSENT = object()
"""Stands for the value of a key that is not there."""


def differences(there: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON documents differ: the name of each such place, and what they hold there."""
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        for key in (*there, *(key for key in now if key not in there)):
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(there.get(key, _ABSENT), now.get(key, _ABSENT), inner)
    elif isinstance(there, list) and isinstance(now, list) and len(there) == len(now):
        for at, (left, right) in enumerate(zip(there, now, strict=True)):
            yield from differences(left, right, f"{name}[{at}]")
    elif there != now:
        yield name, there, now


def short(value: Any) -> str:
    """The start of a value as JSON, for people."""
    text = "missing" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"


def _earlier_plan(folder: Path) -> Any:
    """The plan in the folder; None is one that cannot be read."""
    try:
        return load_json(folder / PLAN)
    except (OSError, ValueError):
        return None


def sweep(folder: Path) -> None:
    """Remove what was left unfinished in a folder that is held, while nobody writes there."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        with writing(path):
            if path.is_dir():  # what a pass over the corpus spilled
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def drop_unnamed(folder: Path, named: Collection[str]) -> None:
    """Remove the shards that no receipt names: a try that was not finished may have published more
    than the one that was.

    That waits for the end of the job: a worker that outlived its job would else take away what the next
    run has published.
    """
    for path in (*(folder / "data").glob(f"{SHARDS}.*"), *(folder / WEIGHTS).glob(f"{SHARDS}.*")):
        if path.relative_to(folder).as_posix() not in named:
            with writing(path):
                path.unlink()


def drop_runs(folder: Path) -> None:
    """Remove the runs of a job that is complete: all their rows are in its shards."""
    if (folder / RUNS).is_dir():
        with writing(folder / RUNS):
            for path in (folder / RUNS).glob("*.arrow"):
                path.unlink()
            (folder / RUNS).rmdir()


def _clear(folder: Path) -> None:
    """Remove an earlier job's output, and nothing else; its plan stays until it is replaced, so that
    what is left of it is known for ours.

    Raises:
        OutputError: other files stand among the shards, where every reader would take them for some.
    """
    # The manifest goes first: without it nobody takes what is left for a finished job.
    for pattern in OWN:
        for path in folder.glob(pattern):
            with writing(path):
                path.unlink()
    foreign = next((folder / "data").glob("*"), None)
    if foreign is not None:
        raise OutputError(
            f"{foreign.name} stands among the shards and is not ours", where=str(folder / "data")
        )
