"""Receipts: what became of one unit, or one range of an order, published when all of it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookahead_data.plan import KeyRange, Unit
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.publish import load_json, sha256_of, write_json
from lookahead_data.sink.runs import Run
from lookahead_data.sink.shards import Shard

RECEIPTS = "_job/receipts"
ORIGINS = "_job/origins"
"""Where in the output folder stands which rows of the corpus the rows of a range are."""
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Receipt:
    """What became of one unit, or of one range of an order.

    Attributes:
        index: of the unit, or the range.
        fingerprint: of the plan that it belongs to.
        counts: rows and tokens.
        shards: what was published, in order.
        quarantine: the SHA-256 of the file of rejected rows, or None if there are none.
        runs: of a unit whose rows are put in order later: where they are until then.
        origins: of a range, the SHA-256 of the file that tells whose rows it has (see `origins_path`).
        engine: what encoded it.
        engine_differed: the row on which the faster engine gave other ids, so that it was left.
    """

    index: int
    fingerprint: str
    counts: Counts
    shards: tuple[Shard, ...]
    quarantine: str | None
    engine: str
    engine_differed: str | None = None
    runs: tuple[Run, ...] = ()
    origins: str | None = None

    def save(self, folder: Path, task: Unit | KeyRange) -> None:
        """Publish the receipt in the output folder."""
        write_json(receipt_path(folder, task), self.document())

    def document(self) -> dict[str, Any]:
        """The receipt as plain values."""
        return {
            "index": self.index,
            "fingerprint": self.fingerprint,
            "engine": self.engine,
            "engine_differed": self.engine_differed,
            "counts": self.counts.document(),
            "quarantine": self.quarantine,
            "shards": [asdict(shard) for shard in self.shards],
            "runs": [asdict(run) for run in self.runs],
            "origins": self.origins,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Receipt:
        """The receipt of a document; one that is none is a `ValueError`, `KeyError` or `TypeError`."""
        return cls(
            document["index"],
            document["fingerprint"],
            Counts.from_document(document["counts"]),
            tuple(Shard(**shard) for shard in document["shards"]),
            document["quarantine"],
            document["engine"],
            document["engine_differed"],
            tuple(Run(**run) for run in document["runs"]),
            document["origins"],
        )


def receipt_path(folder: Path, task: Unit | KeyRange) -> Path:
    return folder / RECEIPTS / f"{task.name}.json"


def quarantine_path(folder: Path, task: Unit | KeyRange) -> Path:
    return folder / QUARANTINE / f"{task.name}.jsonl"


def origins_path(folder: Path, part: KeyRange) -> Path:
    """Where the rows of a range come from: a Parquet file with the columns `file` (the place of a row's file
    among the inputs) and `row` (its place there), one row for each document, in the order in which they were
    written, or packed."""
    return folder / ORIGINS / f"{part.name}.parquet"


def load_receipt(folder: Path, task: Unit | KeyRange, fingerprint: str) -> Receipt | None:
    """The receipt of what was finished before, if its files are still what it says."""
    try:
        document = load_json(receipt_path(folder, task))
        if document["fingerprint"] != fingerprint or document["index"] != task.index:
            return None
        receipt = Receipt.from_document(document)
        files = [(folder / path, digest) for shard in receipt.shards for path, digest in shard.files.items()]
        files += [(folder / run.path, run.sha256) for run in receipt.runs]
        if receipt.quarantine is not None:
            files.append((quarantine_path(folder, task), receipt.quarantine))
        if receipt.origins is not None and isinstance(task, KeyRange):
            files.append((origins_path(folder, task), receipt.origins))
        if any(sha256_of(path) != digest for path, digest in files):
            return None
        return receipt
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not whole: it is done again
