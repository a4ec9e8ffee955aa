"""Other people's loaders read the output folder, and all see the same rows and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from helpers import PAIRS, write_jsonl

import lookahead_data as la


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("loaders")
    rows = [
        *PAIRS,
        {"prompt": "bad"},
        *({"prompt": f"p {n}", "completion": f"c {n} " * 9} for n in range(2500)),
    ]
    la.convert(
        write_jsonl(home / "rows.jsonl", rows),
        home / "out",
        tokenizer="builtin",
        shard_size=20_000,
        unit_size=50_000,
    )
    return home / "out"


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[dict[str, list[int]]]:
    rows: list[dict[str, list[int]]] = []
    for shard in la.Manifest.load(folder).shards:
        rows += pl.read_parquet(shard).to_dicts()
    assert len(rows) == 2504
    assert len(la.Manifest.load(folder).shards) > 3
    assert {name for row in rows for name in row} == {"input_ids", "attention_mask", "labels"}
    return rows


def test_datasets(folder: Path, expected: list[dict[str, list[int]]], tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == expected


def test_polars(folder: Path, expected: list[dict[str, list[int]]]) -> None:
    assert pl.scan_parquet(folder / "data").collect().to_dicts() == expected
    assert pl.scan_parquet(folder / "**" / "*.parquet").collect().height == len(expected)


def test_pyarrow(folder: Path, expected: list[dict[str, list[int]]]) -> None:
    assert ds.dataset(folder / "data").to_table().to_pylist() == expected


def test_duckdb(folder: Path, expected: list[dict[str, list[int]]]) -> None:
    names = ", ".join(expected[0])
    rows = duckdb.sql(f"SELECT {names} FROM '{folder}/**/*.parquet'").fetchall()
    assert sorted(rows) == sorted(tuple(row.values()) for row in expected)
