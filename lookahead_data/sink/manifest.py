"""Accounts: what became of every row, per unit (the receipt) and for the job (the manifest)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lookahead_data.batches import Packing
from lookahead_data.config import Settings
from lookahead_data.errors import OutputError
from lookahead_data.plan import Plan, Unit
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink.publish import sha256_of, write_json
from lookahead_data.sink.shards import Shard

MANIFEST = "manifest.json"
PLAN = "_job/plan.json"
RECEIPTS = "_job/receipts"
QUARANTINE = "quarantine"

QUANTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
"""Percentiles of the row lengths that the manifest states."""


@dataclass
class Counts:
    """Rows and tokens, of a unit or of the whole job.

    `read == written + sum(filtered.values()) + sum(quarantined.values())` always holds, and so it does
    for the hashes of these rows.

    Attributes:
        read, written: rows.
        filtered, quarantined: rows that were not written, by reason.
        tokens, supervised_tokens: in the rows written, padding not counted.
        previewed_rows, previews, previewed_tokens, whole_answers: rows written that have a preview;
            their previews; the answer tokens that these show; those that show the whole answer.
        audited: rows encoded by `tokenizers` too, to hold a faster engine to it.
        notes: rows that are worth knowing of, by kind (see `NOTES`).
        lengths: how many of the rows written have how many tokens.
        packed_rows, capacity: rows into which the documents were packed, and the tokens that these may hold.
        pad_tokens: with which packed rows were filled up.
        dropped_rows, dropped_tokens: packed rows that were not written since they were not full, and
            their tokens. A document that stood in such a row as a whole is not written, but `filtered`.
        rows_hash: which rows were read, written and rejected.
    """

    read: int = 0
    written: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    supervised_tokens: int = 0
    previewed_rows: int = 0
    previews: int = 0
    previewed_tokens: int = 0
    whole_answers: int = 0
    audited: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    packed_rows: int = 0
    capacity: int = 0
    pad_tokens: int = 0
    dropped_rows: int = 0
    dropped_tokens: int = 0
    rows_hash: RowsHash = field(default_factory=RowsHash)

    def __iadd__(self, other: Counts) -> Counts:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)
        return self

    def take_packing(self, packed: Packing, file: int) -> None:
        """Count the rows into which all the documents were packed.

        Where documents were cut, each piece has a first token that is not supervised.

        Args:
            file: the place of the documents' file among the inputs.

        Raises:
            OutputError: documents or tokens were lost or doubled.
        """
        for name, now, then in (
            ("documents", packed.documents, self.written),
            ("tokens", packed.tokens + packed.dropped_tokens, self.tokens),
        ):
            if now != then:
                raise OutputError(f"packed {now} of {then} {name}", remedy=_FAULT)
        if packed.balance:
            raise OutputError("packed as many tokens as there were, but not the same ones", remedy=_FAULT)
        self.packed_rows, self.capacity = packed.rows, packed.rows * packed.capacity
        self.tokens, self.supervised_tokens = packed.tokens, packed.supervised_tokens
        self.pad_tokens = packed.pad_tokens
        self.dropped_rows, self.dropped_tokens = packed.dropped_rows, packed.dropped_tokens
        self.notes += Counter(row_not_learned=packed.rows_not_learned)
        moved = hash_rows([reject.row for reject in packed.left_out], file)
        self.rows_hash += RowsHash(written=-moved, rejected=moved)
        self.written -= len(packed.left_out)
        self.filtered.update(reject.reason for reject in packed.left_out)
        self.lengths -= Counter(packed.left_out.values())

    def check(self, where: str) -> None:
        """Raise `OutputError` if a row is not accounted for."""
        accounted = self.written + self.filtered.total() + self.quarantined.total()
        if self.read != accounted:
            raise OutputError(
                f"read {self.read} rows and accounted for {accounted}", where=where, remedy=_FAULT
            )
        if not self.rows_hash.balanced:
            raise OutputError(
                f"read {self.read} rows and accounted for as many, but they are not the same ones",
                where=where,
                remedy=_FAULT,
            )

    def quantiles(self) -> dict[str, int]:
        """Percentiles of the row lengths, in tokens (nearest rank)."""
        ranked = sorted(self.lengths.items())
        found: dict[str, int] = {}
        for percent in QUANTILES if self.written else ():
            rank = max(-(-percent * self.written // 100), 1)
            seen = 0
            for length, rows in ranked:
                seen += rows
                if seen >= rank:
                    found[f"p{percent}"] = length
                    break
        return found

    def summary(self) -> dict[str, Any]:
        """The counts as plain values, the histogram as quantiles."""
        plain: dict[str, Any] = {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
            if name != "lengths"
        }
        if self.capacity:
            plain["packing_efficiency"] = round(self.tokens / self.capacity, 4)
        return plain | {"rows_hash": self.rows_hash.to_dict(), "length_quantiles": self.quantiles()}

    def document(self) -> dict[str, Any]:
        """All of the counts as plain values, for the receipt."""
        return self.summary() | {"lengths": {str(k): v for k, v in sorted(self.lengths.items())}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Counts:
        """The counts of a receipt; what is not as it should be is a `ValueError`, `KeyError` or `TypeError`."""
        values = dict(document)
        values.pop("length_quantiles")
        values.pop("packing_efficiency", None)
        for name in ("filtered", "quarantined", "notes"):
            values[name] = Counter(dict(values[name]))
        values["lengths"] = Counter({int(k): v for k, v in dict(values["lengths"]).items()})
        for name, value in values.items():
            numbers = value.values() if isinstance(value, Counter) else (value,)
            if name != "rows_hash" and not all(type(number) is int for number in numbers):
                raise ValueError(f"{name} holds something that is no whole number")
        values["rows_hash"] = RowsHash.from_dict(values["rows_hash"])
        return cls(**values)


_FAULT = "This is a fault of lookahead_data; please report it."

NOTES: dict[str, str] = {
    "nul_in_text": "the text holds a NUL character (written \\u0000)",
    "preview_without_user_message": "no preview: no user message stands right before the answer, or the answer is empty",
    "preview_differs": "previewed the slow way, since the quick one gave another preview on a sample",
    "trace_differs": "rendered one by one, since the traced layout of their shape did not hold",
    "reasoning_before_answer": "the model learns to reason before the answer that is previewed",
    "template_rewrites_answer": "the template changes more of an answer than white space around it",
    "answer_without_preview": "an answer is learned that no prompt previews "
    "(--preview-turns all previews each, --supervise last learns the last alone)",
    "short_answer_skipped": "no preview: the answer has no more tokens than the preview would show",
    "differs_from_inference": "the template renders a supervised turn otherwise than at inference",
    "turn_without_end_token": "no special token ends a supervised turn, so none is learned "
    "(name one with --end-token)",
    "reasoning_left_out": "the template leaves out the reasoning of a message",
    "safety": "rows read whose answer begins as refusals do",
    "refusal_without_preview": "a refusal that no prompt previews, since its first tokens are the ones to keep",
    "truncated": "cut to the maximum length",
    "split": "cut into documents of at most the maximum length, each packed by itself",
    "row_not_learned": "packed rows of nothing but pieces of one token, of which no token counts in the loss",
}
"""What `Counts.notes` counts."""


@dataclass(frozen=True)
class Receipt:
    """What became of one unit.

    Attributes:
        unit: its index.
        fingerprint: of the plan that it belongs to.
        counts: rows and tokens.
        shards: what was published, in order.
        quarantine: the SHA-256 of the file of rejected rows, or None if there are none.
        engine: what encoded it.
        engine_differed: the row on which the faster engine gave other ids, so that it was left.
    """

    unit: int
    fingerprint: str
    counts: Counts
    shards: tuple[Shard, ...]
    quarantine: str | None
    engine: str
    engine_differed: str | None = None

    def save(self, folder: Path, unit: Unit) -> None:
        """Publish the receipt in the output folder."""
        write_json(receipt_path(folder, unit), self.document())

    def document(self) -> dict[str, Any]:
        """The receipt as plain values."""
        return {
            "unit": self.unit,
            "fingerprint": self.fingerprint,
            "engine": self.engine,
            "engine_differed": self.engine_differed,
            "counts": self.counts.document(),
            "quarantine": self.quarantine,
            "shards": [asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Receipt:
        """The receipt of a document; one that is none is a `ValueError`, `KeyError` or `TypeError`."""
        return cls(
            document["unit"],
            document["fingerprint"],
            Counts.from_document(document["counts"]),
            tuple(Shard(**shard) for shard in document["shards"]),
            document["quarantine"],
            document["engine"],
            document["engine_differed"],
        )


def receipt_path(folder: Path, unit: Unit) -> Path:
    return folder / RECEIPTS / f"{unit.name}.json"


def load_receipt(folder: Path, unit: Unit, fingerprint: str) -> Receipt | None:
    """The receipt of a unit that was finished before, if its files are still what it says."""
    try:
        document = json.loads(receipt_path(folder, unit).read_text(encoding="utf-8"))
        if document["fingerprint"] != fingerprint or document["unit"] != unit.index:
            return None
        receipt = Receipt.from_document(document)
        files = [(folder / path, digest) for shard in receipt.shards for path, digest in shard.files.items()]
        if receipt.quarantine is not None:
            files.append((folder / QUARANTINE / f"{unit.name}.jsonl", receipt.quarantine))
        if any(sha256_of(path) != digest for path, digest in files):
            return None
        return receipt
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not whole: the unit is converted again


def account(
    plan: Mapping[str, Any],
    fingerprint: str,
    receipts: Sequence[Receipt],
    *,
    warnings: Sequence[str],
    timing: Mapping[str, Any],
    curation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the manifest holds: all of it follows from `Plan.document()` and the receipts of its units."""
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
    return {
        "format": plan["format"],
        "fingerprint": fingerprint,
        "settings": plan["settings"],
        "shape": plan["shape"],
        "tokenizer": plan["tokenizer"],
        "template": plan["template"],
        "inputs": plan["inputs"],
        "evaluation": plan["evaluation"],
        "curation": dict(curation) if curation is not None else None,
        "totals": totals.summary(),
        "shards": [shard.to_dict() for receipt in receipts for shard in receipt.shards],
        "warnings": list(warnings),
        "units": units,
        "versions": plan["versions"],
        "timing": dict(timing),
    }


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
    ) -> Manifest:
        """The manifest of a job from the receipts of all its units.

        Args:
            curation: what the passes over the whole corpus found (see `sink.verdicts`).

        Raises:
            OutputError: a unit has no receipt, or a row is not accounted for.
        """
        if [receipt.unit for receipt in receipts] != [unit.index for unit in plan.units]:
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
            document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
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

    def save(self) -> None:
        write_json(self.folder / MANIFEST, self.document)

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
        """The paths of the shards, in order."""
        return [self.folder / shard["path"] for shard in self.document["shards"]]

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
