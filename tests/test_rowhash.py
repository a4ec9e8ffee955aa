"""Hashes of rows: their sums tell which rows went where, in any order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import PAIRS

import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.batches import Staged
from lookahead_data.errors import OutputError
from lookahead_data.rowhash import RowsHash, hash_rows


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
