"""Whether the quarantine holds the rows that were left out, and no other files stand in the folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.check.account import BROKEN, Account, words
from lookahead_data.check.kinds import name_in, walk
from lookahead_data.check.report import Findings
from lookahead_data.errors import OutputError
from lookahead_data.plan import KeyRange, Unit
from lookahead_data.rowhash import hash_rows
from lookahead_data.sink.card import CARD, front_matter
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.folder import LOCK, differences, short
from lookahead_data.sink.formats import ARROW
from lookahead_data.sink.inventory import inventory
from lookahead_data.sink.load_from_disk import dataset_files
from lookahead_data.sink.manifest import MANIFEST, Manifest
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import load_json, parse_json, sha256_of
from lookahead_data.sink.receipts import (
    ORIGINS,
    QUARANTINE,
    RECEIPTS,
    Receipt,
    origins_path,
    quarantine_path,
    receipt_path,
)
from lookahead_data.sink.runs import RUNS
from lookahead_data.sink.shards import UNFINISHED, WEIGHTS
from lookahead_data.sink.verdicts import REPORTS, VERDICTS, load_summary


def check_files(folder: Path, found: Account, findings: Findings) -> None:
    """Whether every file of the folder is named with its SHA-256, and nothing else stands there.

    Shards and their weights, which `manifest.json` names too, are read elsewhere.
    """
    _check_named(folder, found, findings)
    _refuse_strays(folder, found, findings)
    if found.settings.looks_at_all:
        _check_curation(folder, found, findings)
    _check_origins(folder, found, findings)
    profile = PROFILES[found.settings.chosen_profile]
    if profile.format == ARROW:
        _check_dataset_files(folder, found, findings)
    try:
        there = (folder / CARD).read_text(encoding="utf-8")
        if not there.startswith(front_matter(Manifest(folder, found.manifest))):
            findings.add(CARD, "does not tell datasets.load_dataset where the shards are")
    except (OSError, *BROKEN) as error:
        findings.add(CARD, words(error))


def _check_named(folder: Path, found: Account, findings: Findings) -> None:
    """Whether the files that the manifest names are there as it says, and are those that a job writes."""
    for path, digest in found.files.items():
        if Path(path).is_absolute() or ".." in Path(path).parts:
            findings.add(MANIFEST, f"names a file outside its folder: {path}")
            continue
        if path.startswith(f"{QUARANTINE}/"):  # told with what is wrong in it
            continue
        try:
            if sha256_of(folder / path) != digest:
                findings.add(path, f"was changed or damaged: its SHA-256 is not that of {MANIFEST}")
        except FileNotFoundError:
            findings.add(path, "is missing")
        except OSError as error:
            findings.add(path, words(error))
    if len(found.receipts) < len(found.units) or len(found.range_receipts) < len(found.ranges):
        return
    tasks: list[tuple[Unit | KeyRange, Receipt]] = [
        *((found.units[index], receipt) for index, receipt in found.receipts.items()),
        *((found.ranges[index], receipt) for index, receipt in found.range_receipts.items()),
    ]
    settings = found.settings
    try:
        due = inventory(folder, tasks, profile=settings.chosen_profile, curated=settings.looks_at_all)
    except OutputError as error:
        findings.add(MANIFEST, f"its files: {error.where}: {error.problem}")
        return
    for path in sorted(due.keys() | found.files.keys()):
        if path not in found.files:
            findings.add(MANIFEST, f"does not name {path} among its files")
        elif path not in due:
            findings.add(MANIFEST, f"names the file {path}, which this job does not write")
        elif due[path] != found.files[path]:
            findings.add(MANIFEST, f"names {path} with another SHA-256 than its receipt or the file itself")


OWN_FOLDERS = {"data", WEIGHTS, QUARANTINE, REPORTS, RECEIPTS, ORIGINS, VERDICTS, UNFINISHED}
"""Folders that a job makes, and may leave empty."""

_OWNER = re.compile(rb"(process \d+ on \S{1,255}\n)?")


def _refuse_strays(folder: Path, found: Account, findings: Findings) -> None:
    """Whether all that stands in the folder is named, hidden files too."""
    named = {MANIFEST, LOCK, *found.files}
    named |= {path for shard in found.shards for path in shard.files}
    named |= {name_in(receipt_path(folder, unit), folder) for unit in found.units}  # told where they are read
    folders = {parent.as_posix() for path in {*named, *OWN_FOLDERS} for parent in Path(path).parents}
    for path in walk(folder):
        name = name_in(path, folder)
        if name in named or (path.is_dir() and name in folders | OWN_FOLDERS):
            continue
        if name.startswith(f"{RUNS}/") or name == RUNS:
            findings.add(name, "is left over from putting rows in order", remedy=_REMOVES_IT)
        else:
            findings.add(name, "is not of this job: nothing in it names this file", remedy="Move it away.")
    lock = folder / LOCK
    if lock.is_dir():
        findings.add(LOCK, "is a folder, not a file", remedy="Remove it.")
    elif lock.is_file() and not (lock.stat().st_size < 300 and _OWNER.fullmatch(lock.read_bytes())):
        findings.add(LOCK, "holds something else than the last process that wrote here")


_REMOVES_IT = "Run the convert command again: it removes what it left over."


def _check_curation(folder: Path, found: Account, findings: Findings) -> None:
    """Whether the manifest says of curation what its summary says."""
    try:
        summary = load_summary(folder)
    except (OSError, *BROKEN) as error:
        findings.add(VERDICTS, f"the summary {words(error)}")
        return
    for name, there, due in differences(found.manifest["curation"], summary):
        where = f"curation.{name}" if name else "curation"
        findings.add(MANIFEST, f"{where} is {short(there)}, and by {VERDICTS} {short(due)}")


def _check_origins(folder: Path, found: Account, findings: Findings) -> None:
    """Whether the files that tell whose rows were written in an order are whole, and name these rows."""
    for index, receipt in found.range_receipts.items():
        path = origins_path(folder, found.ranges[index])
        try:
            if sha256_of(path) != receipt.origins:
                findings.add(
                    name_in(path, folder), "was changed or damaged: its SHA-256 is not that of its receipt"
                )
                continue
            rows = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            findings.add(name_in(path, folder), f"cannot be read: {error}")
            continue
        told = hash_rows(rows.column("row").to_numpy(), rows.column("file").to_numpy())
        if told != receipt.counts.rows_hash.written:
            findings.add(name_in(path, folder), "does not name the rows that its receipt counts")


def _check_dataset_files(folder: Path, found: Account, findings: Findings) -> None:
    """Whether `datasets.load_from_disk` will find all shards of the folder, in order, and no others."""
    for name, due in dataset_files(found.manifest).items():
        try:
            there = load_json(folder / name)
            wrong = None if there == due else f"is not what {MANIFEST} makes of it"
        except (OSError, ValueError, RecursionError) as error:
            wrong = words(error)
        if wrong:
            findings.add(
                name, wrong, remedy="Do the convert command again with --overwrite: it mends this file."
            )


def check_quarantine(folder: Path, found: Account, findings: Findings) -> int:
    """Whether the rejected rows are those that the receipts count; gives how many lines were read."""
    lines = 0
    for index, receipt in found.receipts.items():
        unit = found.units[index]
        stated = _stated(receipt.counts)
        if not stated:
            continue
        path = quarantine_path(folder, unit)
        where = name_in(path, folder)
        seen: Counter[tuple[str, str]] = Counter()
        rows: list[int] = []
        try:
            for outcome, reason, row in _rejects(path, found.plan["inputs"][unit.file]["path"]):
                seen[outcome, reason] += 1
                rows.append(row)
        except FileNotFoundError:
            findings.add(where, f"is missing, and the receipt says {stated.total():,} rows were left out")
            continue
        except OSError as error:
            findings.add(where, words(error))
            continue
        except BROKEN as error:
            findings.add(where, f"line {len(rows) + 1}: {words(error)}")
            continue
        lines += len(rows)
        if sha256_of(path) != receipt.quarantine:
            findings.add(where, "was changed or damaged: its SHA-256 is not the receipt's")
        for kind in sorted(seen | stated):
            if seen[kind] != stated[kind]:
                what = f"{seen[kind]:,} rows are {kind[0]} for {kind[1]}"
                findings.add(where, f"{what}, and the receipt says {stated[kind]:,}")
        if seen == stated and hash_rows(rows, unit.file) != receipt.counts.rows_hash.rejected:
            findings.add(where, "names other rows than those that were left out")
    return lines


def _stated(counts: Counts) -> Counter[tuple[str, str]]:
    """How many rows were left out, by outcome and reason."""
    stated = Counter({("filtered", reason): rows for reason, rows in counts.filtered.items()})
    stated.update({("quarantined", reason): rows for reason, rows in counts.quarantined.items()})
    return stated


def _rejects(path: Path, file: str) -> Iterator[tuple[str, str, int]]:
    """Outcome, reason and row of each line."""
    with open(path, encoding="utf-8", newline="\n") as stream:
        for line in stream:
            record = parse_json(line)
            if record["file"] != file:
                raise ValueError(f"it names the file {record['file']!r}, and the unit is of {file!r}")
            row = record["row"]
            if type(row) is not int or row < 0:
                raise ValueError(f"its row is {row!r}")
            yield str(record["outcome"]), str(record["reason"]), row


def strays(folder: Path, pattern: str, named: Set[str]) -> Iterator[str]:
    """Files of this pattern that nothing accounts for, hidden ones too, since not every reader passes over them."""
    for path in sorted(folder.glob(pattern)):
        name = name_in(path, folder)
        if name not in named:
            yield name
