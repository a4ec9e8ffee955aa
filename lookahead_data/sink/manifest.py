"""The manifest: the account of a finished job, which follows from its plan and its receipts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lookahead_data.config import Settings
from lookahead_data.curation.mixing import source_of
from lookahead_data.errors import OutputError, SettingsError
from lookahead_data.plan import Plan
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.publish import load_json, sha256_of, write_json
from lookahead_data.sink.receipts import Receipt

MANIFEST = "manifest.json"
PLAN = "_job/plan.json"


def account(
    plan: Mapping[str, Any],
    fingerprint: str,
    receipts: Sequence[Receipt],
    *,
    warnings: Sequence[str],
    timing: Mapping[str, Any],
    curation: Mapping[str, Any] | None = None,
    ranges: Sequence[Receipt] = (),
    files: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the manifest holds: all of it follows from `Plan.document()` and the receipts.

    Args:
        receipts: of the units, in order.
        ranges: the receipts of the ranges of an order, if rows are written in one.
        files: the SHA-256 of every other file of the folder, by path (see `sink.inventory`).
    """
    totals = Counts()
    units = []
    for unit, receipt in zip(plan["units"], receipts, strict=True):
        totals += receipt.counts
        units.append(
            {
                "unit": unit["index"],
                "input": plan["inputs"][unit["file"]]["path"],
                "start": unit["start"],
                "stop": unit["stop"],
                "engine": receipt.engine,
                "engine_differed": receipt.engine_differed,
                "quarantine": receipt.quarantine,
                **receipt.counts.summary(),
            }
        )
    writers = ranges or receipts
    if ranges:
        totals.take_ranges([receipt.counts for receipt in ranges])
    settings = Settings.from_dict(plan["settings"])
    splits = settings.splits
    shards = sorted(
        (shard for receipt in writers for shard in receipt.shards),
        key=lambda shard: splits.index(shard.split),
    )
    document = {
        "format": plan["format"],
        "fingerprint": fingerprint,
        "settings": plan["settings"],
        "tokenizer": plan["tokenizer"],
        "template": plan["template"],
        "inputs": plan["inputs"],
        "fields": plan["fields"],
        "evaluation": plan["evaluation"],
        "curation": dict(curation) if curation is not None else None,
        "totals": totals.summary(),
        "classes": _classes(totals) if settings.tells_safety else None,
        "sources": _sources(plan, settings, receipts) if settings.mix else None,
        "splits": {
            name: {
                "rows": sum(shard.rows for shard in shards if shard.split == name),
                "tokens": sum(shard.tokens for shard in shards if shard.split == name),
            }
            for name in splits
        },
        "shards": [shard.to_dict() for shard in shards],
        "warnings": list(warnings),
        "units": units,
        "versions": plan["versions"],
        "files": dict(files or {}),
    }
    return document | {"content_sha256": content_digest(document), "timing": dict(timing)}


def content_digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 of what a manifest says, less how long the job took.

    It shows accidental changes. Whoever edits a manifest on purpose can compute it again; against that there is
    only the digest of the file, kept elsewhere.
    """
    kept = {name: value for name, value in document.items() if name not in ("content_sha256", "timing")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _classes(totals: Counts) -> dict[str, Any]:
    """What part of the corpus rows of the class safety are, before and after."""
    parts = {
        "rows_read": (totals.safety_read, totals.read),
        "rows_written": (totals.safety_written, totals.written),
        "supervised_tokens": (totals.safety_supervised_tokens, totals.supervised_tokens),
    }
    return {
        "safety": {
            name: {"count": part, "share": round(part / whole, 6) if whole else 0.0}
            for name, (part, whole) in parts.items()
        }
    }


def _sources(plan: Mapping[str, Any], settings: Settings, receipts: Sequence[Receipt]) -> dict[str, Any]:
    """What each source of `mix`, and the inputs of none, gave; tokens are counted before rows are put in order and
    packed."""
    names = [*settings.mix, "other inputs"]
    places = [source_of(entry["path"], list(settings.mix)) for entry in plan["inputs"]]
    found = {name: dict.fromkeys(("files", *_OF_SOURCES), 0) for name in names}
    for place in places:
        found[names[place]]["files"] += 1
    for unit, receipt in zip(plan["units"], receipts, strict=True):
        for name in _OF_SOURCES:
            found[names[places[unit["file"]]]][name] += getattr(receipt.counts, name)
    return {name: counts for name, counts in found.items() if counts["files"]}


_OF_SOURCES = ("read", "written", "repeated", "tokens", "supervised_tokens")


class Manifest:
    """The account of a finished job, as `manifest.json` in its folder holds it.

    Attributes:
        folder: the output folder.
        document: the JSON document; its keys are described in the README.
    """

    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        self.document = document

    @classmethod
    def build(
        cls,
        folder: Path,
        plan: Plan,
        receipts: Sequence[Receipt],
        timing: Mapping[str, Any],
        curation: Mapping[str, Any] | None = None,
        ranges: Sequence[Receipt] = (),
    ) -> Manifest:
        """The manifest of a job from the receipts of all its units.

        Args:
            curation: what the passes over the whole corpus found (see `sink.verdicts`).
            ranges: the receipts of all ranges, in order, if rows are written in an order.

        Raises:
            OutputError: a unit has no receipt, or a row is not accounted for.
        """
        if [receipt.index for receipt in receipts] != [unit.index for unit in plan.units]:
            raise OutputError("not every unit has a receipt", where=str(folder))
        for unit, receipt in zip(plan.units, receipts, strict=True):
            receipt.counts.check(unit.name)
        document = account(
            plan.document(),
            plan.fingerprint,
            receipts,
            warnings=plan.warnings,
            timing=timing,
            curation=curation,
            ranges=ranges,
        )
        return cls(folder, document)

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Read the manifest of a finished job.

        Raises:
            OutputError: the folder has no manifest, or a broken one.
        """
        folder = Path(folder)
        try:
            document = load_json(folder / MANIFEST)
            _check_paths(document["shards"], folder)
        except FileNotFoundError:
            raise OutputError(
                f"there is no {MANIFEST}, so this is no finished output folder",
                where=str(folder),
                remedy="Run the convert command again: it goes on where it stopped.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{MANIFEST} cannot be read: {error}", where=str(folder)) from None
        return cls(folder, document)

    def with_files(self, files: Mapping[str, str]) -> Manifest:
        """The same manifest, naming these files of the folder by path with their SHA-256."""
        document = {**self.document, "files": dict(sorted(files.items()))}
        return Manifest(self.folder, document | {"content_sha256": content_digest(document)})

    def save(self) -> None:
        write_json(self.folder / MANIFEST, self.document)

    @property
    def digest(self) -> str:
        """The SHA-256 of `manifest.json`, which stands for the whole folder: the manifest names every other file
        with its own."""
        return sha256_of(self.folder / MANIFEST)

    @property
    def settings(self) -> Settings:
        return Settings.from_dict(self.document["settings"], str(self.folder / MANIFEST))

    @property
    def totals(self) -> Mapping[str, Any]:
        """`Counts.summary()` of the whole job."""
        totals: Mapping[str, Any] = self.document["totals"]
        return totals

    @property
    def shards(self) -> list[Path]:
        """The paths of the shards, split by split, in order."""
        return [self.folder / shard["path"] for shard in self.document["shards"]]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits."""
        return tuple(self.document["splits"])

    def shards_of(self, split: str) -> list[Path]:
        """The paths of the shards of one split, in order.

        Raises:
            SettingsError: there is no such split.
        """
        if split not in self.splits:
            raise SettingsError(
                f"there is no split {split!r}",
                where=str(self.folder),
                remedy=f"It has: {', '.join(self.splits)}.",
            )
        return [self.folder / shard["path"] for shard in self.document["shards"] if shard["split"] == split]

    def __repr__(self) -> str:
        return (
            f"<Manifest of {self.folder}: {self.totals['written']:,} rows, {self.totals['tokens']:,} tokens>"
        )


def _check_paths(shards: Iterable[Mapping[str, Any]], folder: Path) -> None:
    for shard in shards:
        path = Path(shard["path"])
        if path.is_absolute() or ".." in path.parts:
            raise OutputError(
                f"{MANIFEST} names a shard outside its folder: {shard['path']}",
                where=str(folder),
                remedy="Do not use this folder; somebody has changed it.",
            )
