"""The verdicts of curation: which rows of each unit are not converted, and why."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.curation.mixing import Quota, Quotas
from lookahead_data.errors import OutputError
from lookahead_data.plan import Plan, Unit
from lookahead_data.sink.publish import (
    TEMPORARY,
    commit,
    discard,
    left_beside,
    load_json,
    parse_json,
    publishing,
    sha256_of,
    sweep_beside,
    temporary_for,
    write_json,
    writing,
)

VERDICTS = "_job/verdicts"
REPORTS = "curation"
_DONE = f"{VERDICTS}/summary.json"

SCHEMA = pa.schema([("row", pa.int64()), ("reason", pa.large_string()), ("message", pa.large_string())])
"""A row that is not converted: its place in its file, a code from `errors.REASONS`, and words for people."""

SUMMARY = "summary.json"
"""What a report in a folder of its own was made of, and its counts."""

_VERDICTS = "verdicts.parquet"
_NAMES = ("duplicates", "near_duplicates", "contamination")


def save_verdicts(
    folder: Path, plan: Plan, verdicts: pa.Table, reports: Mapping[str, pa.Table], counts: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Publish verdicts and reports; gives for the manifest the counts, and the reports with their rows and SHA-256.

    Args:
        verdicts: `SCHEMA` with the column `file` (the place of the file among the inputs) before it, by file
            and row.
        reports: tables for people, by name.
        counts: of them, by name.
    """
    digests = {}
    bounds = [*_starts(verdicts, plan.units), verdicts.num_rows]
    for unit, (start, stop) in zip(plan.units, pairwise(bounds), strict=True):
        table = verdicts.select(SCHEMA.names).slice(start, stop - start)
        digests[unit.name] = _write(folder / VERDICTS / f"{unit.name}.parquet", table)
    told = {
        f"{REPORTS}/{name}.parquet": {
            "rows": table.num_rows,
            "sha256": _write(folder / REPORTS / f"{name}.parquet", table),
        }
        for name, table in reports.items()
    }
    summary = {**counts, "reports": told}
    document = {"fingerprint": plan.fingerprint, "verdicts": digests, "summary": summary}
    write_json(folder / _DONE, document)
    return summary


def load_curation(folder: Path, fingerprint: str) -> Mapping[str, Any] | None:
    """What an earlier run of the same job found, if all its files are whole."""
    try:
        document = load_json(folder / _DONE)
        digests = {f"{VERDICTS}/{name}.parquet": digest for name, digest in document["verdicts"].items()}
        digests |= {name: entry["sha256"] for name, entry in document["summary"]["reports"].items()}
        if document["fingerprint"] != fingerprint:
            return None
        if any(sha256_of(folder / name) != digest for name, digest in digests.items()):
            return None
        summary: Mapping[str, Any] = document["summary"]
        return summary
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not whole: the corpus is looked at again


def verdict_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of the summary of curation and of each file that it names, by path.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: the summary cannot be read.
    """
    data = (folder / _DONE).read_bytes()
    document = parse_json(data.decode("utf-8"))
    found = {_DONE: hashlib.sha256(data).hexdigest()}
    found |= {f"{VERDICTS}/{name}.parquet": str(digest) for name, digest in document["verdicts"].items()}
    reports = document["summary"]["reports"].items()
    return found | {str(path): str(entry["sha256"]) for path, entry in reports}


def load_summary(folder: Path) -> Any:
    """What the summary of curation says, as the manifest has it.

    Raises:
        OSError, ValueError, KeyError, TypeError: it cannot be read.
    """
    return load_json(folder / _DONE)["summary"]


def load_quotas(folder: Path) -> Quotas:
    """What counting the rows said of how many are written.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        document = load_json(folder / _DONE)
        quotas = document["summary"]["mixing"]["quotas"]
        return [{name: Quota.from_dict(one) for name, one in of_source.items()} for of_source in quotas]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable("what was counted", folder / _DONE, error) from None


def load_verdicts(folder: Path, unit: Unit) -> pa.Table:
    """The verdicts on the rows of a unit: `SCHEMA`, by row.

    Raises:
        OutputError: they cannot be read.
    """
    path = folder / VERDICTS / f"{unit.name}.parquet"
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable("the verdicts on its rows", path, error) from None


def _unreadable(what: str, path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"{what} cannot be read: {error}", where=str(path), remedy="Start the job again with --overwrite."
    )


def refuse_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder for a report in which other things stand, or an earlier one that is not replaced.

    Raises:
        OutputError: as said.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file, not a folder", where=str(folder))
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    staged = {name for name in there if name.startswith(TEMPORARY) and name.endswith(f"-{SUMMARY}")}
    if there - staged - {_VERDICTS, SUMMARY, *(f"{name}.parquet" for name in _NAMES)}:
        raise OutputError(
            "the folder is not empty, and what is in it is not ours",
            where=str(folder),
            remedy="Name an empty or a new folder.",
        )
    # Tables without a summary, beside what a killed process staged, are of that process.
    unfinished = SUMMARY not in there and bool(left_beside(folder / SUMMARY))
    if there - staged and not (overwrite or unfinished):
        raise OutputError(
            "the folder holds an earlier report",
            where=str(folder),
            remedy="Name another folder, or use --overwrite.",
        )


def write_report(
    folder: Path, verdicts: pa.Table, reports: Mapping[str, pa.Table], summary: Mapping[str, Any]
) -> None:
    """Write a report on a corpus into a folder of its own; `summary.json` gets its name last.

    All of it is written to a folder for unfinished files first, so that an earlier report stays whole until its
    files are replaced one right after the other. Tables that the new report has not go at the end. The summary names
    each table with its SHA-256 (`files`), by which a table of another report beside it is noticed.
    """
    sweep_beside(folder / SUMMARY)
    staging = temporary_for(folder / SUMMARY)
    tables = {_VERDICTS: verdicts, **{f"{name}.parquet": table for name, table in reports.items()}}
    try:
        with writing(folder):
            staging.mkdir()
            digests = {name: _write(staging / name, table) for name, table in tables.items()}
        write_json(staging / SUMMARY, {**summary, "files": digests})
        for name in (*tables, SUMMARY):
            commit(staging / name, folder / name)
        with writing(folder):
            for name in _NAMES:
                if name not in reports:
                    (folder / f"{name}.parquet").unlink(missing_ok=True)
    except BaseException:
        if not (folder / SUMMARY).exists():  # tables without a summary are no report
            for name in tables:
                discard(folder / name)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _starts(verdicts: pa.Table, units: Sequence[Unit]) -> Iterator[int]:
    """Where the verdicts on each unit begin: by file and row, they follow each other as the units do."""
    files, rows = verdicts.column("file").to_numpy(), verdicts.column("row").to_numpy()
    for unit in units:
        first, last = np.searchsorted(files, [unit.file, unit.file + 1])
        yield int(first + np.searchsorted(rows[first:last], unit.first_row))


def _write(path: Path, table: pa.Table) -> str:
    with publishing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return sha256_of(path)
