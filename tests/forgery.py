"""Changes to a finished folder, some with every account made to fit, for `verify` to find."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl

import lookahead_data as la
from lookahead_data.ordering import ranges_of
from lookahead_data.plan import Unit, fingerprint_of
from lookahead_data.sink import shards as shards_module
from lookahead_data.sink.formats import WRITER
from lookahead_data.sink.inventory import inventory
from lookahead_data.sink.manifest import account
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.receipts import Receipt, receipt_path

Row = dict[str, list[int]]

FIRST = "data/train-00000-00000.parquet"
RECEIPT = "_job/receipts/unit-00000.json"

ROWS: list[dict[str, Any]] = [
    {"prompt": f"What is {n}?", "completion": "It is a number. " * (n % 5 + 1)} for n in range(90)
]
ROWS[40] = {"prompt": "Nothing is said to this.", "completion": ""}
ROWS[41] = {"prompt": "x"}
ROWS[70] = {"prompt": "Too long.", "completion": "word " * 200}


def folder_of_several_units(home: Path) -> Path:
    """A finished folder with several units, shards and row groups, and rows of each outcome."""
    write_jsonl(home / "rows.jsonl", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "GROUP_ROWS", 8)
        manifest = la.convert(
            home / "rows.jsonl",
            home / "out",
            tokenizer="builtin",
            max_length=150,
            unit_size=2500,
            shard_size=1500,
        )
    assert len(manifest.document["units"]) == 4
    assert len(manifest.shards) > 4
    return home / "out"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2))


def receipts(folder: Path) -> list[Path]:
    """The receipts of all units, in order."""
    return sorted((folder / "_job" / "receipts").glob("*.json"))


def forge(folder: Path, change: Callable[[list[Row]], object], *, recount: bool = False) -> str:
    """Change rows of the first shard, and put its new size and hash into every account.

    With `recount` all counts are made right too. Gives the shard's path in the folder.
    """
    path = receipts(folder)[0]
    receipt, _ = load(path)
    shard = receipt.shards[0]
    target = folder / shard.path
    rows = pq.read_table(target).to_pylist()
    change(rows)
    table = pa.Table.from_pylist(rows, PROFILES["sft"].schema)
    pq.write_table(table, target, row_group_size=8, **WRITER)
    new = replace(shard, size=target.stat().st_size, sha256=sha256_of(target))
    if recount:
        new = replace(new, rows=len(rows), tokens=sum(len(row["input_ids"]) for row in rows))
    shards = (new, *receipt.shards[1:])
    counts = receipt.counts
    if recount:
        everything = [row for part in shards for row in pq.read_table(folder / part.path).to_pylist()]
        counts.read += len(everything) - counts.written
        counts.written = len(everything)
        counts.tokens = sum(len(row["input_ids"]) for row in everything)
        counts.supervised_tokens = sum(label != -100 for row in everything for label in row["labels"])
        counts.lengths = Counter(len(row["input_ids"]) for row in everything)
    path.write_text(json.dumps(replace(receipt, shards=shards, counts=counts).document()))
    write_manifest(folder)
    return shard.path


def write_manifest(folder: Path) -> None:
    """Make the manifest of a job anew from the plan and the receipts, as if nothing were amiss."""
    plan = json.loads((folder / "_job" / "plan.json").read_text())
    old = json.loads((folder / "manifest.json").read_text())
    settings = la.Settings.from_dict(plan["settings"])
    units = [Unit(**unit) for unit in plan["units"]]
    of_units = [load(receipt_path(folder, unit))[0] for unit in units]
    ranges = ranges_of(settings, of_units) if settings.is_ordered else ()
    of_ranges = [load(receipt_path(folder, part))[0] for part in ranges]
    document = account(
        plan,
        fingerprint_of(plan),
        of_units,
        warnings=old["warnings"],
        timing=old["timing"],
        curation=old["curation"],
        ranges=of_ranges,
    )
    files = inventory(
        folder,
        [*zip(units, of_units, strict=True), *zip(ranges, of_ranges, strict=True)],
        profile=settings.chosen_profile,
        curated=settings.looks_at_all,
    )
    la.Manifest(folder, document).with_files(files).save()


def load(path: Path) -> tuple[Receipt, dict[str, Any]]:
    """A receipt, and the document that it was read from."""
    document = json.loads(path.read_text())
    return Receipt.from_document(document), document


def flip(path: Path, at: float) -> None:
    """Flip a bit of a file, at a share of its length."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def shard(folder: Path) -> Path:
    """The first shard."""
    return folder / FIRST


def quarantine(folder: Path) -> Path:
    """The first file of rejects."""
    return min((folder / "quarantine").glob("*.jsonl"))


def set_token(column: str, row: int, place: int, value: int) -> Callable[[list[Row]], None]:
    """A change of one value of one row."""

    def change(rows: list[Row]) -> None:
        rows[row][column][place] = value

    return change


def both(rows: list[Row], row: int, change: Callable[[list[int]], list[int]]) -> None:
    """Change all columns of a row alike."""
    for name in rows[row]:
        rows[row][name] = change(rows[row][name])


def fix_hash(folder: Path) -> None:
    """Have the accounts say what size and hash the first shard has."""

    def fix(document: dict[str, Any]) -> None:
        document["shards"][0]["size"] = shard(folder).stat().st_size
        document["shards"][0]["sha256"] = sha256_of(shard(folder))

    edit(receipts(folder)[0], fix)
    edit(folder / "manifest.json", fix)


def set_in(name: str, *keys: str | int, value: object) -> Callable[[Path], None]:
    """A change of one value of a JSON document."""

    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return lambda folder: edit(folder / name, change)
