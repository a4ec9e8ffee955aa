"""`verify`: whole folders pass, and no changed one does."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers import PAIRS, conversation, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.batches import Staged
from lookahead_data.check.again import FEW, choose
from lookahead_data.check.report import PROBLEMS
from lookahead_data.cli import main
from lookahead_data.errors import InputError, OutputError, SettingsError, TokenizerError
from lookahead_data.plan import InputFile, Unit, fingerprint_of
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink import shards as shards_module
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.formats import WRITER
from lookahead_data.sink.manifest import account
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.receipts import Receipt

Row = dict[str, list[int]]

ROWS: list[dict[str, Any]] = [
    {"prompt": f"What is {n}?", "completion": "It is a number. " * (n % 5 + 1)} for n in range(90)
]
ROWS[40] = {"prompt": "Nothing is said to this.", "completion": ""}
ROWS[41] = {"prompt": "x"}
ROWS[70] = {"prompt": "Too long.", "completion": "word " * 200}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder with several units, shards and row groups, and rows of each outcome."""
    home = tmp_path_factory.mktemp("made")
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


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2))


def receipts(folder: Path) -> list[Path]:
    return sorted((folder / "_job" / "receipts").glob("*.json"))


def forge(folder: Path, change: Callable[[list[Row]], object], *, recount: bool = False) -> str:
    """Change rows of the first shard, and put its new size and hash into every account.

    With `recount` all counts are made right too. Gives the shard's path in the folder.
    """
    (path, receipt, document) = receipts(folder)[0], *_load(receipts(folder)[0])
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
    plan = json.loads((folder / "_job" / "plan.json").read_text())
    edit(
        folder / "manifest.json",
        lambda old: old.update(
            account(
                plan,
                document["fingerprint"],
                [_load(path)[0] for path in receipts(folder)],
                warnings=old["warnings"],
                timing=old["timing"],
            )
        ),
    )
    return shard.path


def _load(path: Path) -> tuple[Receipt, dict[str, Any]]:
    document = json.loads(path.read_text())
    return Receipt.from_document(document), document


FOLDERS: dict[str, dict[str, Any]] = {
    "real": {},
    "virtual": {"mode": "virtual"},
    "none": {"mode": "none"},
    "masked": {"mask_preview": True, "preview_tokens": 3},
    "dropped": {"short_answer": "drop", "max_length": 40},
    "cut": {"max_length": 30, "overlength": "truncate"},
    "gigatoken": {"engine": "gigatoken"},
    "plain": {"chat_template": "none"},
    "one row a unit": {"unit_size": 1},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_fresh_folder_is_all_right(name: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [*PAIRS, {"prompt": "x"}])
    manifest = la.convert(path, tmp_path / "out", **({"tokenizer": "builtin"} | FOLDERS[name]))
    found = la.verify(tmp_path / "out", deep=100)
    assert found.ok, found.problems
    assert found.warnings == ()
    assert (found.rows, found.tokens) == (manifest.totals["written"], manifest.totals["tokens"])
    assert found.rows + found.rejects == 5
    assert found.compared == found.rows
    assert found.shards == len(manifest.shards)


def test_folders_of_other_inputs_are_all_right(tmp_path: Path, llama_like: Path) -> None:
    talks = [{"messages": conversation("a", "one two three", "c", "the second answer of all")}] * 7
    write_jsonl(tmp_path / "a.jsonl", talks)
    pq.write_table(pa.Table.from_pylist(talks), tmp_path / "b.parquet", row_group_size=2)
    inputs = [tmp_path / "a.jsonl", tmp_path / "b.parquet"]
    la.convert(
        inputs, tmp_path / "talks", tokenizer=str(llama_like), chat_template="chatml", preview_turns="all"
    )
    write_jsonl(tmp_path / "text.jsonl", [{"text": "one two three four"}] * 5)
    la.convert(tmp_path / "text.jsonl", tmp_path / "text", tokenizer="builtin", mode="none")
    write_jsonl(tmp_path / "empty.jsonl", [])
    la.convert(tmp_path / "empty.jsonl", tmp_path / "empty", tokenizer="builtin")
    la.convert(PAIRS, tmp_path / "nothing", tokenizer="builtin", max_length=2)
    for name, rows, compared in (("talks", 14, 14), ("text", 5, 5), ("empty", 0, 0), ("nothing", 0, 0)):
        found = la.verify(tmp_path / name, deep=100)
        assert found.ok, found.problems
        assert (found.rows, found.compared) == (rows, compared)
    assert found.rejects == len(PAIRS)


def test_a_folder_of_several_units_is_all_right(made: Path) -> None:
    found = la.verify(made, deep=1000)
    assert found.ok, found.problems
    assert (found.rows, found.rejects, found.compared) == (87, 3, 87)
    assert la.verify(made, deep=30).compared == 30
    assert la.verify(made).compared == 0


def test_a_job_that_was_stopped_and_went_on_is_all_right(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(500)]
    )

    class Stop(la.Listener):
        batches = 0

        def advanced(self, rows: int, tokens: int, size: int) -> None:
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.convert(path, tmp_path / "out", tokenizer="builtin", unit_size=3000, listener=Stop())
    (problem,) = la.verify(tmp_path / "out").problems
    assert "the job is not finished" in str(problem)
    assert problem.remedy is not None
    assert "it goes on where it stopped" in problem.remedy
    la.convert(path, tmp_path / "out", tokenizer="builtin", unit_size=3000)
    found = la.verify(tmp_path / "out", deep=500)
    assert found.ok, found.problems
    assert found.compared == 500


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def shard(folder: Path) -> Path:
    return folder / "data" / "train-00000-00000.parquet"


def quarantine(folder: Path) -> Path:
    return next(iter(sorted((folder / "quarantine").glob("*.jsonl"))))


def set_token(column: str, row: int, place: int, value: int) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[row][column][place] = value

    return change


def both(rows: list[Row], row: int, change: Callable[[list[int]], list[int]]) -> None:
    """Change all columns of a row alike."""
    for name in rows[row]:
        rows[row][name] = change(rows[row][name])


def double(rows: list[Row]) -> None:
    """Row 3 a second time, in place of a row that is as long but not the same."""
    rows[8] = rows[3]


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


def fix_hash(folder: Path) -> None:
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


FIRST = "data/train-00000-00000.parquet"
RECEIPT = "_job/receipts/unit-00000.json"

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
        "manifest.json: the folder has the format 99, and this version reads 1",
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


def test_a_row_doubled_and_another_lost_is_found_by_converting_again(folder: Path) -> None:
    path = forge(folder, double)
    assert la.verify(folder).ok  # as long and as much supervised, and hashed anew: nothing else can tell
    found = la.verify(folder, deep=1000)
    (problem,) = found.problems
    assert (problem.where, problem.row) == (path, 8)
    assert "is converted again" in problem.what
    assert "row 8 of " in problem.what
    assert 8 < found.compared < found.rows


def test_counts_that_were_made_to_fit_are_found_by_converting_again(folder: Path) -> None:
    forge(folder, lambda rows: rows.pop(2), recount=True)
    found = la.verify(folder, deep=1000)
    assert any("is converted again" in problem.what for problem in found.problems)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("units", 4500, "units[0].stop is 4500, and planned again"),
        ("shape", "answer", "inputs[0].shape.output_field is"),
    ],
)
def test_a_plan_that_was_changed_with_all_its_fingerprints(
    key: str, value: object, words: str, folder: Path
) -> None:
    plan = json.loads((folder / "_job" / "plan.json").read_text())
    if key == "units":
        plan["units"][0]["stop"] = value
    else:
        plan["inputs"][0]["shape"]["output_field"] = value
    fingerprint = fingerprint_of(plan)
    (folder / "_job" / "plan.json").write_text(json.dumps(plan))
    for path in receipts(folder):
        edit(path, lambda document: document.update(fingerprint=fingerprint))
    made_of = [_load(path)[0] for path in receipts(folder)]
    forged = account(plan, fingerprint, made_of, warnings=[], timing={})
    (folder / "manifest.json").write_text(json.dumps(forged))
    assert la.verify(folder).ok
    (problem,) = la.verify(folder, deep=1).problems
    assert problem.where == "_job/plan.json"
    assert words in problem.what


def test_what_the_receipt_counts_is_counted_again(folder: Path) -> None:
    forge(folder, lambda rows: None)

    def fix(document: dict[str, Any]) -> None:
        for counts in (document.get("counts"), document.get("totals"), document.get("units", [None])[0]):
            if counts:
                counts["previewed_tokens"] += 1

    edit(receipts(folder)[0], fix)
    edit(folder / "manifest.json", fix)
    assert la.verify(folder).ok
    (problem,) = la.verify(folder, deep=1000).problems
    assert "its receipt says previewed_tokens" in str(problem)


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


def test_all_problems_are_told_up_to_a_bound(folder: Path) -> None:
    def change(rows: list[Row]) -> None:
        for row in rows:
            row["labels"][1] = 5
        rows[1]["input_ids"][3] = -5

    path = forge(folder, change)
    found = la.verify(folder)
    labels = next(problem for problem in found.problems if "label" in problem.what)
    assert (labels.where, labels.row) == (path, 0)
    assert "(so in " in labels.what
    assert any("has the id -5" in problem.what and problem.row == 1 for problem in found.problems)
    for n in range(30):
        (folder / "data" / f"more-{n}.parquet").touch()
    found = la.verify(folder)
    assert len(found.problems) == PROBLEMS
    assert found.more > 10
    assert found.to_dict()["more"] == found.more


def test_without_the_tokenizer_the_vocabulary_is_not_checked(
    llama_like: Path, metaspace_first: Path, tmp_path: Path
) -> None:
    there, moved = tmp_path / "there", tmp_path / "moved"
    shutil.copytree(llama_like, there)
    write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    la.convert(tmp_path / "rows.jsonl", tmp_path / "out", tokenizer=str(there), chat_template="chatml")
    there.rename(moved)
    found = la.verify(tmp_path / "out")
    assert found.ok
    (warning,) = found.warnings
    assert "were not held against the vocabulary" in warning
    right = la.verify(tmp_path / "out", tokenizer=str(moved), deep=9)
    assert (right.ok, right.warnings, right.compared) == (True, (), 4)
    with pytest.raises(OutputError, match="is not the one that these rows were made with"):
        la.verify(tmp_path / "out", tokenizer=str(metaspace_first))
    with pytest.raises(TokenizerError):
        la.verify(tmp_path / "out", tokenizer=str(there))
    shutil.copytree(metaspace_first, there)
    assert "is not the one that these rows were made with" in la.verify(tmp_path / "out").warnings[0]
    shutil.rmtree(there)
    forge(tmp_path / "out", set_token("input_ids", 0, 0, 1_000_000))
    assert la.verify(tmp_path / "out").ok
    assert "token 0 has the id 1000000" in str(la.verify(tmp_path / "out", tokenizer=str(moved)).problems)
    forge(tmp_path / "out", set_token("input_ids", 0, 0, -1))
    assert "token 0 has the id -1, which is less than 0" in str(la.verify(tmp_path / "out").problems)


def test_inputs_that_are_gone_or_changed_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    la.convert(path, tmp_path / "out", tokenizer="builtin")
    la.convert(PAIRS, tmp_path / "memory", tokenizer="builtin")

    def said(folder: str, ok: bool = True) -> str:
        found = la.verify(tmp_path / folder, deep=2)
        assert (found.ok, found.compared) == (ok, 0)
        (warning,) = found.warnings
        return warning

    assert "in memory" in said("memory")
    path.write_text(path.read_text().replace("Blue", "Grey"))
    assert "inputs[0].sha256 was" in said("out")
    path.unlink()
    assert "there is no such file" in said("out")
    write_jsonl(path, PAIRS)
    monkeypatch.setattr("lookahead_data.plan.versions", lambda: {"numpy": "0.1"})
    found = la.verify(tmp_path / "out", deep=2)
    assert (found.ok, found.compared) == (True, 2)
    assert any("made with numpy" in warning for warning in found.warnings)
    (tmp_path / "out" / "data" / "more").touch()
    assert "problems already" in said("out", ok=False)


def test_an_input_that_changes_meanwhile_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(file: InputFile) -> None:
        raise InputError("changed while the job was running", where=file.name)

    monkeypatch.setattr(InputFile, "check_unchanged", changed)
    (problem,) = la.verify(made, deep=1).problems
    assert "cannot be converted again" in problem.what
    assert "rows.jsonl: changed while" in problem.what


def test_template_arguments_of_any_kind_keep_the_fingerprint(tmp_path: Path) -> None:
    arguments = {"pair": (1, 2), "table": {10: "a", 9: "b"}}
    for _ in range(2):  # the second time it is the same job, and complete
        la.convert(PAIRS, tmp_path / "out", tokenizer="builtin", template_args=arguments)
    assert la.verify(tmp_path / "out").ok


def test_a_card_without_its_list_of_shards_is_noticed(folder: Path) -> None:
    (folder / "README.md").write_text("# Mine\n")
    found = la.verify(folder)
    assert found.ok
    assert "README.md does not tell datasets.load_dataset" in found.warnings[0]


@pytest.mark.parametrize("rows", [1, 7, FEW, 100, 999, 5000, 10**9])
def test_the_sample_is_spread_over_the_units(rows: int) -> None:
    units = [Unit(index, 0, 0, 0, 0, 0) for index in range(50)]
    written = {unit.index: unit.index * 3 % 100 for unit in units}
    made = {
        index: Receipt(index, "", Counts(written=count), (), None, "tokenizers")
        for index, count in written.items()
    }
    chosen = list(choose(units, made, rows))
    assert [*choose(units, made, rows)] == chosen
    assert sum(count for _, count in chosen) == min(rows, sum(written.values()))
    assert all(count <= written[unit.index] for unit, count in chosen)
    assert len({unit.index for unit, _ in chosen}) == len(chosen)
    places = sorted(unit.index for unit, _ in chosen)
    if rows == 100:
        assert max(right - left for left, right in zip([0, *places], [*places, 50], strict=True)) <= 25
    if rows > sum(written.values()):
        assert places == list(range(50))


def test_hashes_of_rows_add_up_in_any_order() -> None:
    assert hash_rows([0], 0) == 0xE220A8397B1DCDAF  # the first number of splitmix64 from 0
    assert hash_rows([], 3) == 0
    assert hash_rows([5, 1, 9], 2) == hash_rows([9, 5, 1], 2)
    parts = RowsHash(read=hash_rows([1, 5], 2)) + RowsHash(read=hash_rows([9], 2))
    assert parts.read == hash_rows([1, 5, 9], 2)
    assert hash_rows([1, 5, 9], 2) != hash_rows([1, 5, 9], 1)
    assert hash_rows([1, 1], 0) != hash_rows([0, 2], 0)
    whole = RowsHash(hash_rows(range(100), 0), hash_rows(range(60), 0), hash_rows(range(60, 100), 0))
    assert whole.balanced
    assert not replace(whole, written=hash_rows(range(1, 61), 0)).balanced
    assert RowsHash.from_dict(whole.to_dict()) == whole


def test_a_stage_that_loses_a_row_and_doubles_another_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty:
        name = "faulty"
        needs = ("row",)
        gives = ()

        def __call__(self, batch: pa.RecordBatch) -> Staged:
            return Staged(batch.take(pa.array([0, 1, 1, 3])))

    build = pipeline.build_stages
    monkeypatch.setattr(pipeline, "build_stages", lambda *given: [*build(*given), Faulty()])
    with pytest.raises(OutputError, match="read 4 rows and accounted for as many, but they are not the same"):
        la.convert(PAIRS, tmp_path / "out", tokenizer="builtin")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_arguments_that_cannot_be(tmp_path: Path, made: Path) -> None:
    with pytest.raises(OutputError, match="there is no such folder"):
        la.verify(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="a number of rows, not -1"):
        la.verify(made, deep=-1)


def test_progress_is_told_shard_by_shard(made: Path) -> None:
    class Ear(la.Listener):
        rows = size = planned_size = 0
        done = False

        def planned(self, *, size: int, units: int, shape: str) -> None:
            self.planned_size = size

        def advanced(self, rows: int, tokens: int, size: int) -> None:
            self.rows += rows
            self.size += size

        def finished(self) -> None:
            self.done = True

    ear = Ear()
    la.verify(made, listener=ear)
    assert ear.rows == len(read_rows(made))
    assert 0.9 * ear.planned_size < ear.size <= ear.planned_size
    assert ear.done


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    yield lambda *args: CliRunner().invoke(main, ["verify", *map(str, args)])


def test_the_command(run: Callable[..., Any], folder: Path) -> None:
    good = run(folder, "--deep", 5)
    assert good.exit_code == 0
    assert "all right. 87 rows" in good.stdout
    assert "3 rows left out; 5 rows are the same when converted again" in good.stdout
    assert json.loads(run(folder, "--json").stdout)["ok"] is True
    assert run(folder, "-q").output == ""
    forge(folder, set_token("labels", 2, -1, 7))
    bad = run(folder)
    assert bad.exit_code == 1
    assert f"{FIRST} row 2: token " in bad.stdout
    assert "Do not train on this folder" in bad.stdout
    report = json.loads(run(folder, "--json").stdout)
    assert report["ok"] is False
    assert report["problems"][0]["where"] == FIRST
    assert report["problems"][0]["row"] == 2
    assert run(folder, "-q").exit_code == 1
    (folder / "manifest.json").unlink()
    unfinished = run(folder)
    assert unfinished.exit_code == 1
    assert "the job is not finished" in unfinished.stdout
    assert "it goes on where it stopped" in unfinished.stdout
    gone = run(folder / "nowhere")
    assert gone.exit_code == 1
    assert "there is no such folder" in gone.stderr
