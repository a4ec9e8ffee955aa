"""Weights of previewed tokens: beside the shards, row for row and token for token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from forgery import write_manifest
from helpers import PAIRS, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.sink.profiles import documents_of
from lookahead_data.sink.publish import sha256_of

ROWS = [
    {"prompt": f"{pair['prompt']} ({at})", "completion": pair["completion"] * (1 + at % 3)}
    for at in range(12)
    for pair in PAIRS
]


def convert(tmp_path: Path, name: str = "out", **changes: Any) -> la.Manifest:
    source = tmp_path / "rows.jsonl"
    if not source.exists():
        write_jsonl(source, ROWS)
    return la.convert(source, tmp_path / name, tokenizer="builtin", workers=1, **changes)


def weights_of(folder: Path) -> list[list[float]]:
    return ds.dataset(folder / "weights", format="parquet").to_table().column("weights").to_pylist()


@pytest.mark.parametrize("mode", ["real", "virtual"])
def test_previewed_tokens_have_the_weight_and_other_supervised_ones_1(mode: str, tmp_path: Path) -> None:
    convert(tmp_path, preview_weight=0.25, mode=mode)
    convert(tmp_path, "masked", mask_preview=True, mode=mode)
    rows, masked = read_rows(tmp_path / "out"), read_rows(tmp_path / "masked")
    for row, hidden, weights in zip(rows, masked, weights_of(tmp_path / "out"), strict=True):
        assert row["input_ids"] == hidden["input_ids"]
        assert weights == [
            0 if label == -100 else 0.25 if without == -100 else 1
            for label, without in zip(row["labels"], hidden["labels"], strict=True)
        ]
        assert 0.25 in weights
        assert 1 in weights


def test_shards_and_their_weights_have_the_same_groups(tmp_path: Path) -> None:
    manifest = convert(tmp_path, preview_weight=2, shard_size=1)
    assert len(manifest.shards) == 1
    for shard in manifest.document["shards"]:
        main = pq.ParquetFile(tmp_path / "out" / shard["path"])
        beside = tmp_path / "out" / "weights" / Path(shard["path"]).name
        assert sha256_of(beside) == shard["weights"]
        weights = pq.ParquetFile(beside)
        assert weights.schema_arrow == pa.schema([("weights", pa.list_(pa.float32()))])
        assert weights.metadata.num_rows == main.metadata.num_rows
        assert weights.num_row_groups == main.num_row_groups
    assert pq.read_schema(manifest.shards[0]).names == ["input_ids", "attention_mask", "labels"]


@pytest.mark.parametrize("profile", ["packed-trl", "packed-hf", "packed-megatron"])
@pytest.mark.parametrize("tail", ["keep", "pad"])
def test_packed_rows_have_the_weights_of_their_documents(profile: str, tail: str, tmp_path: Path) -> None:
    plain = convert(tmp_path, preview_weight=0.5)
    changes: dict[str, Any] = {"end_token": None}
    convert(tmp_path, "packed", preview_weight=0.5, pack=512, profile=profile, tail=tail, **changes)
    expected = sorted(
        (row["input_ids"], weights)
        for row, weights in zip(read_rows(tmp_path / "out"), weights_of(tmp_path / "out"), strict=True)
    )
    found = []
    for row, weights in zip(read_rows(tmp_path / "packed"), weights_of(tmp_path / "packed"), strict=True):
        assert len(weights) == len(row["input_ids"])
        at = 0
        for ids, labels in documents_of(row):
            if any(label != -100 for label in labels):
                found.append((ids, weights[at : at + len(ids)]))
            else:
                assert set(weights[at : at + len(ids)]) == {0}
            at += len(ids)
    assert sorted(found) == expected
    assert plain.totals["supervised_tokens"] == sum(sum(w != 0 for w in weights) for _, weights in expected)
    assert la.verify(tmp_path / "packed", deep=100).ok


def test_they_are_cut_with_their_rows(tmp_path: Path) -> None:
    convert(tmp_path, preview_weight=0.5, max_length=30, overlength="truncate")
    for row, weights in zip(read_rows(tmp_path / "out"), weights_of(tmp_path / "out"), strict=True):
        assert len(row["input_ids"]) == len(weights) <= 30


FORGERIES = {
    "another weight": (lambda rows: rows[3].__setitem__(-1, 0.75), "has the weight 0.75, which is none of 0, 1 and 0.5"),
    "context that counts": (lambda rows: rows[3].__setitem__(0, 1.0), "has the weight 1 where the label is −100"),
    "supervised tokens that do not": (lambda rows: rows[3].__setitem__(-2, 0.0), "has the weight 0 where the label is an id"),
    "too few": (lambda rows: rows[3].pop(), "weights for"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_verify_finds_wrong_weights(name: str, tmp_path: Path) -> None:
    folder = convert(tmp_path, preview_weight=0.5).folder
    assert la.verify(folder).ok
    forge, message = FORGERIES[name]
    path = next((folder / "weights").glob("*.parquet"))
    before = sha256_of(path)
    rows = pq.read_table(path).column("weights").to_pylist()
    forge(rows)
    pq.write_table(pa.table({"weights": pa.array(rows, pa.list_(pa.float32()))}), path, row_group_size=1000)
    for place in folder.glob("_job/receipts/*.json"):
        place.write_text(place.read_text().replace(before, sha256_of(path)))
    write_manifest(folder)
    report = la.verify(folder)
    assert not report.ok
    assert any(message in problem.what for problem in report.problems), report.problems


def test_verify_finds_weights_that_are_swapped(tmp_path: Path) -> None:
    """Equally long, of the right values, and in the right places: only converting again tells."""
    folder = convert(tmp_path, preview_weight=0.5).folder
    path = next((folder / "weights").glob("*.parquet"))
    before = sha256_of(path)
    rows = np.array(pq.read_table(path).column("weights").to_pylist(), dtype=object)
    rows[5] = [{0.5: 1.0, 1.0: 0.5}.get(weight, weight) for weight in rows[5]]
    pq.write_table(
        pa.table({"weights": pa.array(list(rows), pa.list_(pa.float32()))}), path, row_group_size=1000
    )
    for place in folder.glob("_job/receipts/*.json"):
        place.write_text(place.read_text().replace(before, sha256_of(path)))
    write_manifest(folder)
    assert la.verify(folder).ok
    report = la.verify(folder, deep=100)
    assert any("weights" in problem.what for problem in report.problems)


def test_a_damaged_or_missing_file_is_found_and_made_anew(tmp_path: Path) -> None:
    folder = convert(tmp_path, preview_weight=0.5).folder
    path = next((folder / "weights").glob("*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert any("changed or damaged" in problem.what for problem in la.verify(folder).problems)
    path.unlink()
    assert any("is missing" in problem.what for problem in la.verify(folder).problems)
    convert(tmp_path, preview_weight=0.5)
    assert path.read_bytes() == whole
    (folder / "weights" / "stray.parquet").write_bytes(whole)
    assert any("is not of this job" in problem.what for problem in la.verify(folder).problems)


def test_another_job_takes_them_away(tmp_path: Path) -> None:
    folder = convert(tmp_path, preview_weight=0.5).folder
    assert list((folder / "weights").iterdir())
    convert(tmp_path, overwrite=True)
    assert not list((folder / "weights").iterdir())
    assert la.verify(folder).ok


@pytest.mark.parametrize(
    "changes",
    [{"mask_preview": True}, {"mode": "none"}, {"preview_weight": -1.0}, {"preview_weight": float("nan")}],
)
def test_what_cannot_be_weighed_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(la.SettingsError):
        convert(tmp_path, **({"preview_weight": 0.5} | changes))


@pytest.mark.parametrize("trainer", ["trl", "hf", "axolotl", "torch"])
def test_check_says_that_trainers_pass_them_over(trainer: str, tmp_path: Path) -> None:
    folder = convert(tmp_path, preview_weight=0.5).folder
    assert any("weights/) are not read" in pitfall for pitfall in la.check_for(folder, trainer).pitfalls)


def test_a_finished_folder_says_that_there_are_weights(tmp_path: Path) -> None:
    folder = convert(tmp_path, preview_weight=0.5).folder
    assert "weights/" in (folder / "README.md").read_text()
    assert json.loads((folder / "manifest.json").read_text())["settings"]["preview_weight"] == 0.5
    shutil.rmtree(folder)
