"""`verify` finds each change to a folder, and names its place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forgery import (
    FIRST,
    RECEIPT,
    both,
    edit,
    fix_hash,
    flip,
    forge,
    quarantine,
    receipts,
    set_in,
    set_token,
    shard,
)

import lookahead_data as la


def drop_line(folder: Path) -> None:
    lines = quarantine(folder).read_bytes().splitlines(keepends=True)
    quarantine(folder).write_bytes(b"".join(lines[1:]))


def rename_row(folder: Path) -> None:
    quarantine(folder).write_text(quarantine(folder).read_text().replace('"row": 40', '"row": 39', 1))


def drop_row(folder: Path) -> None:
    """A row less in the shard, and the count of rows made right everywhere."""
    forge(folder, lambda rows: rows.pop(2))

    def fix(document: dict[str, Any]) -> None:
        counts = document.get("counts") or document["totals"]
        counts["written"] -= 1
        counts["read"] -= 1
        document["shards"][0]["rows"] -= 1
        if "units" in document:
            document["units"][0]["written"] -= 1
            document["units"][0]["read"] -= 1

    edit(receipts(folder)[0], fix)
    edit(folder / "manifest.json", fix)


def rename_shard(folder: Path) -> None:
    def fix(document: dict[str, Any]) -> None:
        document["shards"][0]["path"] = "data/first.parquet"

    shard(folder).rename(folder / "data" / "first.parquet")
    edit(receipts(folder)[0], fix)
    edit(folder / "manifest.json", fix)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_schema(folder: Path) -> None:
    forge(folder, lambda rows: None)
    table = pq.read_table(shard(folder))
    pq.write_table(
        table.cast(pa.schema([(n, pa.list_(pa.int64())) for n in table.schema.names])), shard(folder)
    )
    fix_hash(folder)


def no_parquet(folder: Path) -> None:
    shard(folder).write_bytes(b"PAR1 this is none, though it says so PAR1")
    fix_hash(folder)


def bad_page(folder: Path) -> None:
    data = bytearray(shard(folder).read_bytes())
    data[60] ^= 1
    shard(folder).write_bytes(data)
    fix_hash(folder)


MUTATIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte at the start of a shard": (lambda f: flip(shard(f), 0), f"{FIRST}: was changed or damaged"),
    "a byte within a shard": (lambda f: flip(shard(f), 0.3), f"{FIRST}: was changed or damaged"),
    "a byte of the footer": (lambda f: flip(shard(f), 0.9), f"{FIRST}: was changed or damaged"),
    "the last byte of a shard": (lambda f: flip(shard(f), 1), f"{FIRST}: was changed or damaged"),
    "a shard cut short": (
        lambda f: shard(f).write_bytes(shard(f).read_bytes()[:-100]),
        f"{FIRST}: is .* bytes long, and manifest.json says",
    ),
    "a shard emptied": (lambda f: shard(f).write_bytes(b""), f"{FIRST}: is 0 bytes long"),
    "a shard removed": (lambda f: shard(f).unlink(), f"{FIRST}: is missing"),
    "another shard in its place": (
        lambda f: shutil.copy(f / "data" / "train-00001-00000.parquet", shard(f)),
        f"{FIRST}: is .* bytes long|{FIRST}: was changed",
    ),
    "another shard in its place, hashed": (
        lambda f: (shutil.copy(f / "data" / "train-00002-00000.parquet", shard(f)), fix_hash(f)),
        f"{FIRST}: holds .* tokens, and manifest.json says",
    ),
    "a damaged page, hashed": (bad_page, f"{FIRST}: cannot be read"),
    "no Parquet, hashed": (no_parquet, f"{FIRST}: cannot be read"),
    "another schema": (other_schema, f"{FIRST}: has the columns .*int64"),
    "an id beyond the vocabulary": (
        lambda f: forge(f, set_token("input_ids", 9, 4, 1_000_000)),
        f"{FIRST} row 9: token 4 has the id 1000000, which is not in the vocabulary",
    ),
    "a negative id": (
        lambda f: forge(f, set_token("input_ids", 0, 0, -1)),
        f"{FIRST} row 0: token 0 has the id -1",
    ),
    "a mask of 0": (
        lambda f: forge(f, set_token("attention_mask", 3, 7, 0)),
        f"{FIRST} row 3: token 7 has the attention mask 0",
    ),
    "a label that is another id": (
        lambda f: forge(f, set_token("labels", 2, -1, 7)),
        f"{FIRST} row 2: token .* has the label 7, which is neither its id",
    ),
    "a label below": (
        lambda f: forge(f, set_token("labels", 2, 1, -101)),
        f"{FIRST} row 2: token 1 has the label -101, which is neither its id",
    ),
    "the first token supervised": (
        lambda f: forge(f, lambda rows: rows[5]["labels"].__setitem__(0, rows[5]["input_ids"][0])),
        f"{FIRST} row 5: token 0 is supervised",
    ),
    "nothing supervised": (
        lambda f: forge(f, lambda rows: rows[4].update(labels=[-100] * len(rows[4]["labels"]))),
        f"{FIRST} row 4: none of its .* tokens is supervised",
    ),
    "a token less supervised": (
        lambda f: forge(f, set_token("labels", 4, -2, -100)),
        "unit-00000: its shards hold .* supervised tokens, and its receipt says",
    ),
    "a label less": (
        lambda f: forge(f, lambda rows: rows[6]["labels"].pop()),
        f"{FIRST} row 6: holds .* input_ids and .* labels",
    ),
    "a longer mask": (
        lambda f: forge(f, lambda rows: rows[6]["attention_mask"].append(1)),
        f"{FIRST} row 6: holds .* input_ids and .* attention_mask",
    ),
    "an empty row": (
        lambda f: forge(f, lambda rows: both(rows, 7, lambda values: []), recount=True),
        f"{FIRST} row 7: holds no token",
    ),
    "a row too long": (
        lambda f: forge(f, lambda rows: both(rows, 7, lambda values: values * 9), recount=True),
        f"{FIRST} row 7: holds .* tokens, and the maximum is 150",
    ),
    "a null row": (
        lambda f: forge(f, lambda rows: rows[11].update(labels=None)),  # type: ignore[call-overload]
        f"{FIRST} row 11: labels is null",
    ),
    "a null in a row": (
        lambda f: forge(f, set_token("input_ids", 11, 2, None)),  # type: ignore[arg-type]
        f"{FIRST} row 11: token 2 has null in input_ids",
    ),
    "a row dropped": (
        lambda f: forge(f, lambda rows: rows.pop(2)),
        f"{FIRST}: holds .* rows, and manifest.json says",
    ),
    "a row dropped and not counted": (drop_row, f"{FIRST}: holds .* tokens, and manifest.json says"),
    "a row dropped, and another split": (
        lambda f: forge(f, lambda rows: (rows.pop(1), rows.append(rows[0]))),
        f"{FIRST}: holds .* tokens|rows of its shards have",
    ),
    "a token moved to another row": (
        lambda f: forge(
            f, lambda rows: (both(rows, 0, lambda v: v[:-1]), both(rows, 1, lambda v: [*v, v[-1]]))
        ),
        "unit-00000: .* rows of its shards have .* tokens",
    ),
    "a count of the totals": (
        set_in("manifest.json", "totals", "previewed_rows", value=3),
        "manifest.json: totals.previewed_rows is 3, and by the plan and the receipts 87",
    ),
    "a note": (
        set_in("manifest.json", "totals", "notes", "truncated", value=1),
        "manifest.json: totals.notes.truncated is 1",
    ),
    "a quantile": (
        set_in("manifest.json", "totals", "length_quantiles", "p50", value=1),
        "manifest.json: totals.length_quantiles.p50 is 1",
    ),
    "a count of a unit": (
        set_in("manifest.json", "units", 1, "read", value=0),
        r"manifest.json: units\[1\].read is 0",
    ),
    "a count of a receipt": (
        set_in(RECEIPT, "counts", "read", value=99),
        f"{RECEIPT}: read 99 rows and accounted for",
    ),
    "rows lost and others doubled": (
        set_in(RECEIPT, "counts", "rows_hash", "written", value="00000000000000ff"),
        f"{RECEIPT}: read .* but they are not the same ones",
    ),
    "a count that is none": (
        set_in(RECEIPT, "counts", "tokens", value="many"),
        f"{RECEIPT}: is not valid: tokens holds something",
    ),
    "a receipt of another job": (
        set_in(RECEIPT, "fingerprint", value="0" * 64),
        f"{RECEIPT}: belongs to another",
    ),
    "a receipt of another unit": (
        lambda f: shutil.copy(receipts(f)[1], receipts(f)[0]),
        f"{RECEIPT}: belongs to another job, or to another unit",
    ),
    "a receipt that names other shards": (
        set_in(RECEIPT, "shards", value=[]),
        f"{RECEIPT}|manifest.json: shards",
    ),
    "a shard of another name": (rename_shard, f"{RECEIPT}: names the shards"),
    "a receipt too many": (
        lambda f: shutil.copy(receipts(f)[0], f / "_job" / "receipts" / "unit-00007.json"),
        "_job/receipts/unit-00007.json: is not of this job",
    ),
    "no receipt": (lambda f: receipts(f)[2].unlink(), "_job/receipts/unit-00002.json: is missing"),
    "a broken receipt": (
        lambda f: receipts(f)[2].write_text("{"),
        "_job/receipts/unit-00002.json: is not valid",
    ),
    "another mode": (
        set_in("manifest.json", "settings", "mode", value="virtual"),
        'manifest.json: settings.mode is "virtual", and by the plan and the receipts "real"',
    ),
    "another tokenizer": (
        set_in("manifest.json", "tokenizer", "sha256", value="0"),
        "manifest.json: tokenizer.sha256",
    ),
    "another plan": (
        set_in("_job/plan.json", "settings", "mode", value="virtual"),
        'its fingerprint is .*: settings.mode is "real" here and "virtual" there',
    ),
    "another fingerprint": (set_in("manifest.json", "fingerprint", value="0"), 'its fingerprint is "0"'),
    "no plan": (
        lambda f: (f / "_job" / "plan.json").unlink(),
        "_job/plan.json: cannot be read: No such file",
    ),
    "a broken plan": (lambda f: (f / "_job" / "plan.json").write_text("[]"), "fingerprint|not valid"),
    "a stale shard": (
        lambda f: shutil.copy(shard(f), f / "data" / "train-00009-00000.parquet"),
        "data/train-00009-00000.parquet: is not of this job",
    ),
    "a leftover, which Polars and DuckDB read": (
        lambda f: shutil.copy(shard(f), f / "data" / ".tmp-train-00001-00000.parquet"),
        "data/.tmp-train-00001-00000.parquet: is not of this job",
    ),
    "a shard that the manifest has lost": (
        lambda f: edit(f / "manifest.json", lambda document: document["shards"].pop()),
        "data/train-00003-.*.parquet: is not of this job",
    ),
    "a shard named twice": (
        lambda f: edit(
            f / "manifest.json", lambda document: document["shards"].append(document["shards"][0])
        ),
        "manifest.json: shards",
    ),
    "a folder among the shards": (lambda f: (f / "data" / "more").mkdir(), "data/more: is not of this job"),
    "a reject removed": (
        drop_line,
        "quarantine/unit-.*: 0 rows are quarantined for .*, and the receipt says 1",
    ),
    "a reject that is another row": (rename_row, "quarantine/unit-.*: names other rows"),
    "a reject that is no JSON": (
        lambda f: quarantine(f).write_text(quarantine(f).read_text()[:-3]),
        "quarantine/unit-.*: line .* is not valid",
    ),
    "a reject of another file": (
        lambda f: quarantine(f).write_text(quarantine(f).read_text().replace("rows.jsonl", "cows.jsonl", 1)),
        "quarantine/unit-.*: line 1: .*it names the file",
    ),
    "no quarantine": (
        lambda f: quarantine(f).unlink(),
        "quarantine/unit-.*: is missing, and the receipt says",
    ),
    "a folder in place of rejects": (
        lambda f: make_folder(quarantine(f)),
        "quarantine/unit-.*: cannot be read: Is a directory",
    ),
    "a quarantine too many": (
        lambda f: shutil.copy(quarantine(f), f / "quarantine" / "unit-00009.jsonl"),
        "quarantine/unit-00009.jsonl: is not of this job",
    ),
    "a path that leads out": (
        set_in("manifest.json", "shards", 0, "path", value="../data/train-00000-00000.parquet"),
        "manifest.json: manifest.json names a shard outside its folder",
    ),
    "a whole path": (
        set_in("manifest.json", "shards", 0, "path", value="/data/train-00000-00000.parquet"),
        "manifest.json: manifest.json names a shard outside its folder",
    ),
    "another format": (
        set_in("manifest.json", "format", value=99),
        "manifest.json: the folder has the format 99, and this version reads 2",
    ),
    "no manifest": (
        lambda f: (f / "manifest.json").unlink(),
        "manifest.json: is missing, so the job is not finished",
    ),
    "a broken manifest": (
        lambda f: (f / "manifest.json").write_text("{}"),
        "manifest.json: .*cannot be read",
    ),
    "a manifest with a key too few": (
        lambda f: edit(f / "manifest.json", lambda document: document.pop("warnings")),
        "manifest.json: is not valid: 'warnings' is missing",
    ),
    "a manifest with a key too many": (set_in("manifest.json", "more", value=1), "manifest.json: more is 1"),
    "a shard of a size in words": (
        set_in("manifest.json", "shards", 0, "size", value="big"),
        "its shards: .*size",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_is_found_and_named(name: str, folder: Path) -> None:
    change, words = MUTATIONS[name]
    change(folder)
    found = la.verify(folder)
    assert not found.ok
    assert any(re.search(words, str(problem)) for problem in found.problems), found.problems


def test_every_flipped_byte_is_found(folder: Path) -> None:
    files = [folder / "manifest.json", folder / "_job" / "plan.json", receipts(folder)[1], shard(folder)]
    missed = []
    for path in files:
        data = path.read_bytes()
        free = data.find(b'"timing"') if path.name == "manifest.json" else len(data)
        for at in range(0, min(free, len(data)), max(len(data) // 60, 1)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            if la.verify(folder).ok:
                missed.append((path.name, at, data[max(at - 20, 0) : at + 20]))
        path.write_bytes(data)
    assert not missed
    assert la.verify(folder).ok


def test_files_cut_anywhere_are_found(folder: Path) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("README.md", "lock")):
        data = path.read_bytes()
        for length in (0, 1, len(data) // 2, len(data) - 2):
            path.write_bytes(data[:length])
            assert not la.verify(folder).ok, (path, length)
        path.write_bytes(data)
    assert la.verify(folder).ok
