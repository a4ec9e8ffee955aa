"""Receipts: what became of one unit, published when all of it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookahead_data.plan import Unit
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.publish import sha256_of, write_json
from lookahead_data.sink.shards import Shard

RECEIPTS = "_job/receipts"
QUARANTINE = "quarantine"


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
