"""Whether the quarantine holds the rows that were left out, and no other files stand in the folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.check.account import BROKEN, Account, words
from lookahead_data.check.report import Findings
from lookahead_data.plan import KeyRange, Unit
from lookahead_data.rowhash import hash_rows
from lookahead_data.sink.card import CARD, data_files
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.formats import ARROW
from lookahead_data.sink.load_from_disk import dataset_files
from lookahead_data.sink.manifest import MANIFEST
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.receipts import ORIGINS, QUARANTINE, RECEIPTS, origins_path, receipt_path
from lookahead_data.sink.shards import WEIGHTS
from lookahead_data.sink.verdicts import REPORTS


def check_files(folder: Path, found: Account, findings: Findings) -> None:
    """Whether only files that the accounts name stand among the shards, the receipts and the rejects."""
    files = {path for shard in found.shards for path in shard.files}
    for room in ("data", WEIGHTS):
        _refuse_strays(folder, f"{room}/*", files, findings)
    _refuse_strays(folder, f"{REPORTS}/*", set(found.reports), findings)
    for path, digest in found.reports.items():
        if not (folder / path).is_file():
            findings.add(path, "is missing")
        elif sha256_of(folder / path) != digest:
            findings.add(path, f"was changed or damaged: its SHA-256 is not that of {MANIFEST}")
    tasks: list[Unit | KeyRange] = [*found.units, *found.ranges]
    receipts = {_name(receipt_path(folder, task), folder) for task in tasks}
    kinds = "*" if len(found.receipts) == len(found.units) else "unit-*"  # else nobody knows the ranges
    _refuse_strays(folder, f"{RECEIPTS}/{kinds}.json", receipts, findings)
    _check_origins(folder, found, findings)
    rejects = {
        _name(_quarantine(folder, unit), folder)
        for unit in found.units
        if unit.index not in found.receipts or _stated(found.receipts[unit.index].counts)
    }
    _refuse_strays(folder, f"{QUARANTINE}/unit-*.jsonl", rejects, findings)
    profile = PROFILES[found.settings.chosen_profile]
    if profile.format == ARROW:
        _check_dataset_files(folder, found, findings)
    try:
        card = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        card = ""
    if not all(f"path: {path}\n" in card for path in data_files(profile, found.settings).values()):
        findings.warn(f"{CARD} does not tell datasets.load_dataset where the shards are")


def _check_origins(folder: Path, found: Account, findings: Findings) -> None:
    """Whether the files that tell whose rows were written in an order are whole, and name these rows."""
    paths = {index: origins_path(folder, found.ranges[index]) for index in found.range_receipts}
    _refuse_strays(folder, f"{ORIGINS}/*", {_name(path, folder) for path in paths.values()}, findings)
    for index, path in paths.items():
        receipt = found.range_receipts[index]
        try:
            if sha256_of(path) != receipt.origins:
                findings.add(
                    _name(path, folder), "was changed or damaged: its SHA-256 is not that of its receipt"
                )
                continue
            rows = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            findings.add(_name(path, folder), f"cannot be read: {error}")
            continue
        told = hash_rows(rows.column("row").to_numpy(), rows.column("file").to_numpy())
        if told != receipt.counts.rows_hash.written:
            findings.add(_name(path, folder), "does not name the rows that its receipt counts")


def _check_dataset_files(folder: Path, found: Account, findings: Findings) -> None:
    """Whether `datasets.load_from_disk` will find all shards of the folder, in order, and no others."""
    for name, due in dataset_files(found.manifest).items():
        try:
            there = json.loads((folder / name).read_text(encoding="utf-8"))
            wrong = None if there == due else f"is not what {MANIFEST} makes of it"
        except (OSError, ValueError) as error:
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
        path = _quarantine(folder, unit)
        where = _name(path, folder)
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
            record = json.loads(line)
            if record["file"] != file:
                raise ValueError(f"it names the file {record['file']!r}, and the unit is of {file!r}")
            row = record["row"]
            if type(row) is not int or row < 0:
                raise ValueError(f"its row is {row!r}")
            yield str(record["outcome"]), str(record["reason"]), row


def _quarantine(folder: Path, unit: Unit) -> Path:
    return folder / QUARANTINE / f"{unit.name}.jsonl"


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def strays(folder: Path, pattern: str, named: Set[str]) -> Iterator[str]:
    """Files that nothing accounts for, hidden ones too, since not every reader passes over them."""
    for path in sorted(folder.glob(pattern)):
        name = _name(path, folder)
        if name not in named:
            yield name


def _refuse_strays(folder: Path, pattern: str, named: Set[str], findings: Findings) -> None:
    for name in strays(folder, pattern, named):
        findings.add(name, "is not of this job: nothing in it names this file", remedy="Move it away.")
