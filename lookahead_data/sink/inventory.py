"""The inventory: every file of a finished folder beside its shards and its manifest, with its SHA-256."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lookahead_data.errors import OutputError
from lookahead_data.plan import KeyRange, Unit
from lookahead_data.sink.card import CARD
from lookahead_data.sink.formats import ARROW
from lookahead_data.sink.load_from_disk import INFO, STATE
from lookahead_data.sink.manifest import PLAN
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.receipts import Receipt, origins_path, quarantine_path, receipt_path
from lookahead_data.sink.verdicts import verdict_digests


def inventory(
    folder: Path,
    written: Iterable[tuple[Unit | KeyRange, Receipt]],
    *,
    profile: str,
    curated: bool,
) -> dict[str, str]:
    """The files that a job writes beside its shards, their weights and the manifest: SHA-256 by path.

    The list follows from the receipts, not from what happens to stand in the folder. Where a receipt or the
    summary of curation names a file with its digest, that digest is taken, so that a file that changed since
    does not match.

    Args:
        written: all units, and all ranges of an order, with their receipts.
        profile: the name of the shards' profile.
        curated: whether passes over the whole corpus were made.

    Raises:
        OutputError: a file that must be there cannot be read.
    """
    files: dict[str, str] = {}
    paths = [folder / PLAN, folder / CARD]
    if PROFILES[profile].format == ARROW:
        paths += [folder / INFO, folder / STATE]
    for task, receipt in written:
        paths.append(receipt_path(folder, task))
        if receipt.quarantine is not None:
            files[_name(quarantine_path(folder, task), folder)] = receipt.quarantine
        if receipt.origins is not None and isinstance(task, KeyRange):
            files[_name(origins_path(folder, task), folder)] = receipt.origins
    for path in paths:
        try:
            files[_name(path, folder)] = sha256_of(path)
        except OSError as error:
            raise OutputError(f"cannot be read back: {error.strerror or error}", where=str(path)) from None
    if curated:
        try:
            files |= verdict_digests(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(f"the verdicts cannot be read back: {error}", where=str(folder)) from None
    return dict(sorted(files.items()))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
