"""Whether the accounts of an output folder agree: plan, receipts and manifest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lookahead_data.check.report import Findings
from lookahead_data.config import Settings
from lookahead_data.errors import LookaheadError, OutputError
from lookahead_data.ordering import ranges_of
from lookahead_data.plan import FORMAT, READABLE, KeyRange, Unit, fingerprint_of
from lookahead_data.sink.folder import differences, short
from lookahead_data.sink.manifest import MANIFEST, PLAN, Manifest, account, content_digest
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import json_text, load_json
from lookahead_data.sink.receipts import Receipt, receipt_path
from lookahead_data.sink.shards import Shard
from lookahead_data.source.conversations import Shape, in_words

BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, LookaheadError)
"""What a document that is not what it should be may raise."""


_UNFINISHED = "Run the convert command again: it goes on where it stopped."


def words(error: Exception) -> str:
    """Why a file or a document cannot be used."""
    if isinstance(error, LookaheadError):
        return error.problem
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return f"is not valid: {f'{error} is missing' if isinstance(error, KeyError) else error}"


@dataclass(frozen=True)
class Account:
    """What a folder says of itself.

    Attributes:
        plan, manifest: the documents.
        settings, units: of the job.
        shape: of the inputs, in words.
        tokenizer: the SHA-256 of the one that the rows were made with.
        receipts: of the units that have a good one, by index.
        ranges: of the order in which rows are written, if there is one and all units have a good receipt.
        range_receipts: of the ranges that have a good one, by index.
        shards: of the manifest, in order.
        files: the SHA-256 of every other file of the folder, by path.
    """

    plan: Mapping[str, Any]
    manifest: Mapping[str, Any]
    settings: Settings
    units: tuple[Unit, ...]
    shape: str
    tokenizer: str
    receipts: Mapping[int, Receipt]
    shards: tuple[Shard, ...]
    files: Mapping[str, str]
    ranges: tuple[KeyRange, ...] = ()
    range_receipts: Mapping[int, Receipt] = field(default_factory=dict)

    @property
    def writers(self) -> Iterator[tuple[Unit | KeyRange, Receipt]]:
        """What wrote shards, and its receipt."""
        if self.settings.is_ordered:
            yield from ((self.ranges[index], receipt) for index, receipt in self.range_receipts.items())
        else:
            yield from ((self.units[index], receipt) for index, receipt in self.receipts.items())


def read_account(folder: Path, findings: Findings) -> Account | None:
    """Read the folder's accounts and hold them against each other; None if they say nothing certain."""
    if not (folder / MANIFEST).exists():
        findings.add(MANIFEST, "is missing, so the job is not finished", remedy=_UNFINISHED)
        return None
    try:
        document = Manifest.load(folder).document
    except OutputError as error:
        findings.add(MANIFEST, error.problem, remedy=error.remedy)
        return None
    if document.get("format") in READABLE and document["format"] < FORMAT:
        findings.add(
            MANIFEST,
            f"the folder has the older format {document['format']}, whose manifest does not name every file",
            remedy="Its rows can be loaded. To verify it, use the version of lookahead_data that made it (see "
            "its `versions`), or convert the corpus again.",
        )
        return None
    if document.get("format") != FORMAT:
        findings.add(
            MANIFEST,
            f"the folder has the format {short(document.get('format'))}, and this version reads {FORMAT}",
            remedy="Verify it with the version of lookahead_data that made it (see its `versions`).",
        )
        return None
    try:
        due = content_digest(document)
    except BROKEN as error:
        findings.add(MANIFEST, words(error))
        return None
    if document.get("content_sha256") != due:
        told = short(document.get("content_sha256"))
        findings.add(MANIFEST, f"was edited or damaged: its content_sha256 is {told}, not {short(due)}")
    elif (problem := _altered(folder, document)) is not None:
        findings.add(MANIFEST, problem)
    try:
        plan = load_json(folder / PLAN)
        fingerprint = fingerprint_of(plan)
        if document.get("fingerprint") != fingerprint:
            findings.add(MANIFEST, _other_plan(document, plan, fingerprint))
            return None
        settings = Settings.from_dict(plan["settings"])
        if not settings.tokenizer:
            raise ValueError("the settings name no tokenizer")
        units = tuple(Unit(**unit) for unit in plan["units"])
        if [unit.index for unit in units] != list(range(len(units))):
            raise ValueError("the units are not numbered from 0")
        if not {unit.file for unit in units} <= set(range(len(plan["inputs"]))):
            raise ValueError("a unit is of no input")
        shape = in_words(Shape(**entry["shape"]) for entry in plan["inputs"])
        tokenizer = str(plan["tokenizer"]["sha256"])
    except (OSError, *BROKEN) as error:
        findings.add(PLAN, words(error))
        return None
    try:
        shards = tuple(_shard(shard) for shard in document["shards"])
    except BROKEN as error:
        findings.add(MANIFEST, f"its shards: {words(error)}")
        return None
    try:
        files = {str(path): str(digest) for path, digest in document["files"].items()}
    except BROKEN as error:
        findings.add(MANIFEST, f"its files: {words(error)}")
        return None
    receipts = _receipts(folder, units, fingerprint, settings, findings)
    if len(receipts) < len(units):
        return Account(plan, document, settings, units, shape, tokenizer, receipts, shards, files)
    ranges: tuple[KeyRange, ...] = ()
    if settings.is_ordered:
        ranges = ranges_of(settings, list(receipts.values()))
    written = _receipts(folder, ranges, fingerprint, settings, findings)
    if len(written) == len(ranges):
        _compare(document, plan, fingerprint, list(receipts.values()), list(written.values()), findings)
    return Account(
        plan, document, settings, units, shape, tokenizer, receipts, shards, files, ranges, written
    )


def _compare(
    document: Mapping[str, Any],
    plan: Mapping[str, Any],
    fingerprint: str,
    receipts: Sequence[Receipt],
    ranges: Sequence[Receipt],
    findings: Findings,
) -> None:
    """Make the manifest anew from the plan and the receipts, and hold it against the one that is there."""
    try:
        wanted = account(
            plan,
            fingerprint,
            receipts,
            warnings=document["warnings"],
            timing=document["timing"],
            curation=document["curation"],
            ranges=ranges,
            files=document["files"],
        )
    except BROKEN as error:
        findings.add(MANIFEST, words(error))
        return
    for name, there, due in differences(document, wanted):
        if name == "content_sha256":  # told already
            continue
        findings.add(MANIFEST, f"{name} is {short(there)}, and by the plan and the receipts {short(due)}")


def _altered(folder: Path, document: Mapping[str, Any]) -> str | None:
    """What is wrong with the parts of the manifest's text that its `content_sha256` does not cover."""
    timing = document.get("timing")
    seconds = timing.get("seconds") if isinstance(timing, dict) and len(timing) == 1 else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return f"was edited or damaged: its timing is {short(timing)}, not the seconds that the job took"
    # Another layout may hide a repeated key, of which some readers take the first and some the last.
    if (folder / MANIFEST).read_bytes() != json_text(document).encode("utf-8", "surrogatepass"):
        return "was edited: it is laid out otherwise than convert writes it, or repeats a key"
    return None


def _other_plan(document: Mapping[str, Any], plan: Mapping[str, Any], fingerprint: str) -> str:
    told = f"its fingerprint is {short(document.get('fingerprint'))}, and that of {PLAN} is {fingerprint}"
    both = [name for name in plan if name in document and name != "units"]
    for name, there, now in differences({n: document[n] for n in both}, {n: plan[n] for n in both}):
        return f"{told}: {name} is {short(there)} here and {short(now)} there"
    return told


def _shard(document: Mapping[str, Any]) -> Shard:
    shard = Shard(**document)
    for name in ("rows", "tokens", "size"):
        if type(document[name]) is not int:
            raise ValueError(f"{name} is {short(document[name])}")
    return shard


def _receipts(
    folder: Path,
    tasks: Sequence[Unit | KeyRange],
    fingerprint: str,
    settings: Settings,
    findings: Findings,
) -> dict[int, Receipt]:
    """The good receipts, by index."""
    found = {task.index: _receipt(folder, task, fingerprint, settings, findings) for task in tasks}
    return {index: receipt for index, receipt in found.items() if receipt is not None}


def _receipt(
    folder: Path, task: Unit | KeyRange, fingerprint: str, settings: Settings, findings: Findings
) -> Receipt | None:
    path = receipt_path(folder, task)
    where = path.relative_to(folder).as_posix()
    try:
        document = load_json(path)
        receipt = Receipt.from_document(document)
        # What is not read, or not what it was taken for, would be missing here or differ.
        changed = next(differences(document, receipt.document()), None)
        if changed:
            raise ValueError(f"{changed[0]} is {short(changed[1])}")
        if isinstance(task, Unit):
            receipt.counts.check(where)
    except FileNotFoundError:
        findings.add(where, f"is missing: nothing says what became of the rows of {task.name}")
        return None
    except (OSError, *BROKEN) as error:
        findings.add(where, words(error))
        return None
    if (receipt.index, receipt.fingerprint) != (task.index, fingerprint):
        findings.add(where, "belongs to another job, or to another unit")
        return None
    if [shard.path for shard in receipt.shards] != _due_paths(task, receipt, settings):
        findings.add(where, f"names the shards {short([shard.path for shard in receipt.shards])}")
        return None
    return receipt


def _due_paths(task: Unit | KeyRange, receipt: Receipt, settings: Settings) -> list[str]:
    """What the shards of a receipt must be called: of each split in turn, numbered from 0."""
    if isinstance(task, Unit) and settings.is_ordered:
        return []
    ending = PROFILES[settings.chosen_profile].format
    splits, number = (
        ((task.split,), task.number) if isinstance(task, KeyRange) else (settings.splits, task.index)
    )
    shards = Counter(shard.split for shard in receipt.shards)
    return [f"data/{split}-{number:05d}-{at:05d}.{ending}" for split in splits for at in range(shards[split])]
