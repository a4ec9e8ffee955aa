"""Orders: shuffles and sorting by length, whatever units and workers did the work, and through damage and stops."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from arranged import ROWS, convert, rows_of, shas
from forgery import write_manifest
from helpers import write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from publications import fail_at_each

import lookahead_data as la
from lookahead_data.ordering import KEYS, _length_bounds
from lookahead_data.stages.arrange import HASH_BITS

# --- the order

MASK = (1 << 64) - 1


def mixed(value: int) -> int:
    """splitmix64, in Python's own numbers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def due_order(rows: list[list[int]], files: list[int], *, seed: int, by_length: bool) -> list[list[int]]:
    """The slow way: every row with its key, sorted."""
    starts = {file: files.index(file) for file in set(files)}
    keyed = []
    for at, (row, file) in enumerate(zip(rows, files, strict=True)):
        chance = mixed(mixed((file << 40) + at - starts[file]) ^ mixed(seed))
        keyed.append(((len(row), chance >> 24) if by_length else chance, row))
    return [row for _, row in sorted(keyed, key=lambda pair: pair[0])]


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("seed", [0, 7])
def test_an_order_is_that_of_its_keys(source: Path, tmp_path: Path, by_length: bool, seed: int) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", ROWS[100:160])
    plain = rows_of(convert([source, more], tmp_path / "plain"))
    changes: dict[str, Any] = {"shuffle": seed} | ({"order": "length"} if by_length else {})
    ordered = convert([source, more], tmp_path / "ordered", **changes)
    files = [0] * len(ROWS) + [1] * 60
    assert rows_of(ordered) == due_order(plain, files, seed=seed, by_length=by_length)


def test_an_order_does_not_depend_on_workers_units_or_batches(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lookahead_data.backends import local
    from lookahead_data.sink import runs
    from lookahead_data.source import unit

    changes: dict[str, Any] = {"shuffle": 3, "split": {"validation": 0.2}, "pack": 256, "preview_weight": 0.5}
    one = convert(source, tmp_path / "one", **changes)
    alone = convert(source, tmp_path / "alone", shuffle=3)
    larger = convert(source, tmp_path / "larger", shuffle=3, unit_size=1 << 20)
    assert rows_of(alone) == rows_of(larger)
    monkeypatch.setattr(local, "SMALL", 0)
    assert shas(convert(source, tmp_path / "two", **{**changes, "workers": 2})) == shas(one)
    monkeypatch.setattr(unit, "BATCH_BYTES", 500)
    monkeypatch.setattr(runs, "SORTED_BYTES", 3000)
    assert shas(convert(source, tmp_path / "parts", **changes)) == shas(one)


def test_length_goes_up(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", order="length", split={"validation": 0.2})
    for name in manifest.splits:
        lengths = list(map(len, rows_of(manifest, name)))
        assert lengths == sorted(lengths) and len(set(lengths)) > 10
    assert len(manifest.shards) > 4


def test_rows_of_one_length_are_divided_too(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}] * 300)
    manifest = convert(source, tmp_path / "out", order="length", unit_size=3000)
    sizes = [pq.read_metadata(path).num_rows for path in manifest.shards]
    assert len(sizes) > 4
    assert max(sizes) < 300 / len(sizes) * 3


@given(st.dictionaries(st.integers(1, 1 << 26), st.integers(1, 1000), max_size=30), st.integers(1, 40))
def test_bounds_hold_every_key_once(lengths: dict[int, int], count: int) -> None:
    bounds = _length_bounds(lengths, count)
    assert bounds[0] == 0 and bounds[-1] == KEYS
    assert all(low <= high for low, high in pairwise(bounds))
    assert len(bounds) <= count + 1


def test_bounds_divide_the_tokens() -> None:
    lengths = dict.fromkeys(range(1, 200), 100)
    total = sum(length * rows for length, rows in lengths.items())
    for low, high in pairwise(_length_bounds(lengths, 10)):
        inside = sum(
            length * rows
            for length, rows in lengths.items()
            if low >> HASH_BITS <= length < high >> HASH_BITS
        )
        assert abs(inside - total / 10) < total / 50


def test_origins_tell_whose_rows_they_are(source: Path, tmp_path: Path) -> None:
    plain = rows_of(convert(source, tmp_path / "plain"))
    manifest = convert(source, tmp_path / "out", shuffle=1)
    paths = sorted((manifest.folder / "_job" / "origins").glob("*.parquet"))
    origins = pl.concat([pl.read_parquet(path) for path in paths])
    assert [plain[row] for row in origins["row"]] == rows_of(manifest)
    assert not (manifest.folder / "_job" / "runs").exists()


def test_packing_goes_across_units(source: Path, tmp_path: Path) -> None:
    packed = convert(source, tmp_path / "packed", pack=2048, shuffle=1, unit_size=1 << 20)
    apart = convert(source, tmp_path / "apart", pack=2048, unit_size=1000)
    assert packed.totals["packed_rows"] < apart.totals["packed_rows"]
    assert packed.totals["tokens"] == apart.totals["tokens"]


def test_text_is_concatenated_in_order(tmp_path: Path) -> None:
    source = write_jsonl(
        tmp_path / "texts.jsonl", [{"text": f"Text {at}. " * (at % 7 + 1)} for at in range(90)]
    )
    changes: dict[str, Any] = {"mode": "none", "pack": 64, "packing": "concat", "unit_size": 1 << 20}
    manifest = convert(source, tmp_path / "out", shuffle=1, **changes)
    plain = rows_of(convert(source, tmp_path / "plain", mode="none", shuffle=1, unit_size=1 << 20))
    assert [token for row in rows_of(manifest) for token in row] == [token for row in plain for token in row]


def test_an_empty_corpus_has_a_shard_of_each_split(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "", "completion": ""}])
    manifest = convert(
        source, tmp_path / "out", shuffle=1, split={"validation": 0.5}, shape="prompt-completion"
    )
    assert [path.name for path in manifest.shards] == [
        "train-00000-00000.parquet",
        "validation-00000-00000.parquet",
    ]
    assert manifest.totals["written"] == 0


def test_tails_are_not_dropped_of_ordered_rows() -> None:
    with pytest.raises(la.SettingsError, match="across units"):
        la.Settings(pack=64, packing="concat", mode="none", tail="drop", shuffle=1)


def test_the_command_line_arranges(source: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    out = tmp_path / "out"
    words = [
        "convert",
        str(source),
        "-o",
        str(out),
        "-t",
        "builtin",
        "--split",
        "validation=0.2",
        "--shuffle",
        "3",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "  splits     train" in result.output
    assert shas(la.Manifest.load(out)) == shas(
        convert(source, tmp_path / "python", split={"validation": 0.2}, shuffle=3, unit_size=64 << 20)
    )
    for bad in ("validation", "validation=much"):
        result = CliRunner().invoke(main, ["convert", str(source), "-o", str(out), "--split", bad])
        assert result.exit_code == 2 and "NAME=SHARE" in result.output


# --- damage and stops


def test_a_row_in_another_place_is_found(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", shuffle=1, unit_size=1 << 20)
    (path,) = manifest.shards
    table = pq.read_table(path)
    order = [1, 0, *range(2, table.num_rows)]
    pq.write_table(table.take(order), path)
    restate(manifest, path)
    assert la.verify(manifest.folder).ok
    found = la.verify(manifest.folder, deep=50)
    assert not found.ok and "when row" in found.problems[0].what


def test_other_origins_are_found(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", shuffle=1, unit_size=1 << 20)
    path = manifest.folder / "_job/origins/range-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 5), path)
    assert "SHA-256" in la.verify(manifest.folder).problems[0].what
    receipt = manifest.folder / "_job/receipts/range-00000.json"
    document = json.loads(receipt.read_text())
    document["origins"] = hashlib.sha256(path.read_bytes()).hexdigest()
    receipt.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write_manifest(manifest.folder)
    assert "does not name the rows" in la.verify(manifest.folder).problems[0].what


def restate(manifest: la.Manifest, shard: Path) -> None:
    """Have the accounts say of a changed shard what it is now."""
    name, digest, size = (
        shard.relative_to(manifest.folder).as_posix(),
        hashlib.sha256(shard.read_bytes()).hexdigest(),
        shard.stat().st_size,
    )
    for path in manifest.folder.glob("_job/receipts/*.json"):
        document = json.loads(path.read_text())
        for entry in document["shards"]:
            if entry["path"] == name:
                entry |= {"sha256": digest, "size": size}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write_manifest(manifest.folder)


def test_lost_rows_end_the_job(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookahead_data import ordering
    from lookahead_data.sink.runs import merged

    def less(*args: Any) -> Any:
        table, places = merged(*args)
        return table.slice(1), places[1:]

    monkeypatch.setattr(ordering, "merged", less)
    with pytest.raises(la.OutputError, match="240 rows were converted, and put in order are"):
        la.convert(source, tmp_path / "out", tokenizer="builtin", shuffle=1)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_damaged_run_is_made_anew(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookahead_data.backends import local

    golden = convert(source, tmp_path / "golden", shuffle=1)

    def fails(*_: Any) -> Any:
        raise la.OutputError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(local, "run_range", fails)
        with pytest.raises(la.OutputError, match="injected"):
            la.convert(source, tmp_path / "out", tokenizer="builtin", unit_size=8000, shuffle=1)
    run = sorted((tmp_path / "out/_job/runs").glob("*.arrow"))[1]
    run.write_bytes(run.read_bytes()[:-100])
    assert shas(convert(source, tmp_path / "out", shuffle=1)) == shas(golden)


@pytest.mark.slow
def test_a_failure_at_any_publication_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", ROWS[:12])
    changes: dict[str, Any] = {
        "shuffle": 3,
        "split": {"validation": 0.3},
        "unit_size": 1500,
        "preview_weight": 0.5,
    }
    changes |= {"tokenizer": "builtin", "workers": 1}
    assert fail_at_each(lambda out: la.convert(source, out, **changes), tmp_path, monkeypatch) > 15


def test_runs_left_by_a_stop_behind_the_manifest_go(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", shuffle=1)
    left = manifest.folder / "_job/runs/train-00000.arrow"
    left.parent.mkdir()
    left.write_bytes(b"left")
    assert shas(convert(source, tmp_path / "out", shuffle=1)) == shas(manifest)
    assert not left.exists()


def test_counts_are_those_of_the_rows_written(source: Path, tmp_path: Path) -> None:
    plain, ordered = (
        convert(source, tmp_path / "plain").totals,
        convert(source, tmp_path / "out", shuffle=1).totals,
    )
    assert plain == ordered
