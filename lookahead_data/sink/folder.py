"""The output folder: whose it is, and whether a job may write or go on there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookahead_data.errors import OutputError
from lookahead_data.plan import Plan
from lookahead_data.sink.card import CARD
from lookahead_data.sink.manifest import MANIFEST, PLAN, QUARANTINE
from lookahead_data.sink.publish import TEMPORARY, write_json

OWN = (MANIFEST, CARD, "data", QUARANTINE, "_job")
"""All that a job writes into its folder."""


def claim_folder(folder: Path, plan: Plan, *, overwrite: bool = False) -> bool:
    """Make the output folder ready for a job.

    A folder that holds this very job, as far as it got, is taken up again. Any other folder with
    something in it is refused.

    Args:
        overwrite: remove another job's output first.

    Returns:
        Whether the job is complete there already.

    Raises:
        OutputError: the folder holds something else; the message names what differs.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file, not a folder", where=str(folder))
    if folder.is_dir() and any(folder.iterdir()):
        earlier = _earlier_plan(folder)
        if earlier is None:
            raise OutputError(
                "the folder is not empty, and what is in it is not ours",
                where=str(folder),
                remedy="Name an empty or a new folder.",
            )
        difference = next(differences(earlier, plan.document()), None)
        if difference is None:
            _sweep(folder)
            return (folder / MANIFEST).is_file()
        if not overwrite:
            raise OutputError(
                f"the folder holds another job's output: {difference}",
                where=str(folder),
                remedy="Name another folder, or replace that output with --overwrite.",
            )
        _clear(folder)
    write_json(folder / PLAN, plan.document())
    return False


def differences(there: Any, now: Any, name: str = "") -> Iterator[str]:
    """Where two JSON documents differ, as `field: … there, … now`."""
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        for key in (*there, *(key for key in now if key not in there)):
            yield from differences(there.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(there, list) and isinstance(now, list) and len(there) == len(now):
        for at, (left, right) in enumerate(zip(there, now, strict=True)):
            yield from differences(left, right, f"{name}[{at}]")
    elif there != now:
        yield f"{name} is {_short(there)} there, and {_short(now)} now"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"


def _earlier_plan(folder: Path) -> Any:
    try:
        return json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sweep(folder: Path) -> None:
    """Remove what an earlier run left unfinished."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    # The manifest goes first: without it nobody takes what is left for a finished job.
    for name in OWN:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _sweep(folder)
