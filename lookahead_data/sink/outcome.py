"""How a finished job ends: well, or with an error that says what its rows came to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from lookahead_data.errors import InputError, QuarantineError
from lookahead_data.numerals import quarantine_limit
from lookahead_data.sink.manifest import Manifest
from lookahead_data.sink.receipts import QUARANTINE

SHOWN = 3
"""How many of the rows left out an error shows."""

_WORDS = {"quarantined": ("in quarantine", "--max-quarantine"), "filtered": ("filtered", "--max-filtered")}


def refuse_left_out(manifest: Manifest, outcome: str, allowed: int | str) -> None:
    """Refuse a job that leaves out more rows than are allowed.

    Args:
        outcome: `quarantined` or `filtered`.
        allowed: rows, or a share of those read, like `2%`.

    Raises:
        QuarantineError: as said.
    """
    words, option = _WORDS[outcome]
    read, found = manifest.totals["read"], sum(manifest.totals[outcome].values())
    if found > quarantine_limit(allowed, read, option):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in manifest.totals[outcome].items())
        raise QuarantineError(
            f"{found:,} of {read:,} rows are {words} ({reasons}), and {allowed} may be",
            where=str(manifest.folder / QUARANTINE),
            remedy="The folder is complete without these rows: look at them, and decide.",
        )


def why_nothing(manifest: Manifest) -> str:
    """Why no row was written, in a clause."""
    totals = manifest.totals
    if not totals["read"]:
        return "no row was written: the inputs hold none"
    reasons = {**totals["quarantined"], **totals["filtered"]}
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    return f"no row was written: all {totals['read']:,} were left out ({told})"


def nothing_written(manifest: Manifest) -> InputError:
    """What to raise where no row was written: how many were left out for what, and the first of them."""
    if not manifest.totals["read"]:
        return InputError(why_nothing(manifest), where=str(manifest.folder))
    first = "".join(
        f"\n  {reject['file']}, row {reject['row'] + 1:,}: {reject['message']} ({reject['reason']})"
        for reject in itertools.islice(_rejects(manifest), SHOWN)
    )
    return InputError(
        f"{why_nothing(manifest)}. The first:{first}",
        where=str(manifest.folder),
        remedy=f"{manifest.folder / QUARANTINE} lists all of them. Use --overwrite to convert into this folder again.",
    )


def _rejects(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The rows that were left out, in order."""
    for path in sorted((manifest.folder / QUARANTINE).glob("*.jsonl")):
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)
