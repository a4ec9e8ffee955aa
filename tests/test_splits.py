"""Splits: each row is in one of them, by its prompt, whatever else there is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from arranged import convert, rows_of
from helpers import conversation, write_jsonl

import lookahead_data as la
from lookahead_data.reading.corpus import Corpus


def test_splits_divide_the_rows_and_keep_their_order(source: Path, tmp_path: Path) -> None:
    plain = rows_of(convert(source, tmp_path / "plain"))
    manifest = convert(source, tmp_path / "split", split={"validation": 0.2, "test": 0.1})
    parts = {name: rows_of(manifest, name) for name in manifest.splits}
    assert manifest.splits == ("train", "validation", "test")
    assert all(len(part) > 5 for part in parts.values())
    assert sorted(row for part in parts.values() for row in part) == sorted(plain)
    places = {tuple(row): at for at, row in enumerate(plain)}
    for name, part in parts.items():
        assert [places[tuple(row)] for row in part] == sorted(places[tuple(row)] for row in part)
        assert manifest.document["splits"][name]["rows"] == len(part)
        assert manifest.document["splits"][name]["tokens"] == sum(map(len, part))


def test_equal_prompts_are_in_one_split(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", split={"validation": 0.3}, mode="none")
    texts = {name: {prompt_of(row) for row in rows_of(manifest, name)} for name in manifest.splits}
    assert not texts["train"] & texts["validation"]
    assert len(texts["train"] | texts["validation"]) == 180


def prompt_of(ids: list[int]) -> str:
    from lookahead_data.model.tokenizer import load_tokenizer

    return load_tokenizer("builtin").decode(ids).split("<|im_end|>")[0]


def test_a_share_is_met_as_chance_has_it(tmp_path: Path) -> None:
    rows = [{"prompt": f"p {at}", "completion": "c"} for at in range(4000)]
    manifest = convert(
        write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out", split={"validation": 0.05}
    )
    # Five standard deviations of a binomial of 4,000 rows.
    assert abs(manifest.document["splits"]["validation"]["rows"] - 200) < 5 * (4000 * 0.05 * 0.95) ** 0.5


def test_new_files_move_no_old_row_to_another_split(source: Path, tmp_path: Path) -> None:
    more = write_jsonl(
        tmp_path / "more.jsonl", [{"prompt": f"More {at}?", "completion": "Yes."} for at in range(50)]
    )
    split = {"validation": 0.2}
    before = convert(source, tmp_path / "before", split=split)
    after = convert([more, source], tmp_path / "after", split=split, unit_size=2000)
    for name in before.splits:
        assert set(map(tuple, rows_of(before, name))) <= set(map(tuple, rows_of(after, name)))


def test_plain_text_is_split_by_the_text(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": f"Text {at % 100}."} for at in range(200)])
    manifest = convert(source, tmp_path / "out", mode="none", split={"validation": 0.3})
    train, validation = rows_of(manifest), rows_of(manifest, "validation")
    assert len(train) > 50 and len(validation) > 20
    assert not set(map(tuple, train)) & set(map(tuple, validation))


def test_a_prompt_is_all_that_is_said_before_the_last_answer(tmp_path: Path) -> None:
    rows = [{"messages": conversation("Hello.", "Hi.", f"Go on {at % 40}.", f"So {at}.")} for at in range(80)]
    manifest = convert(
        write_jsonl(tmp_path / "talks.jsonl", rows), tmp_path / "out", split={"validation": 0.4}
    )
    assert all(split["rows"] % 2 == 0 and split["rows"] for split in manifest.document["splits"].values())


def test_packed_splits_share_no_row(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", split={"validation": 0.2}, pack=256, preview_weight=0.5)
    alone = convert(source, tmp_path / "alone", split={"validation": 0.2})
    for name in manifest.splits:
        frame = pl.concat([pl.read_parquet(path) for path in manifest.shards_of(name)])
        documents = []
        for row in frame.iter_rows(named=True):
            ends = np.cumsum(row["seq_lengths"]).tolist()
            documents += [row["input_ids"][a:b] for a, b in pairwise([0, *ends])]
        assert sorted(documents) == sorted(rows_of(alone, name))


def test_the_seed_gives_other_splits(source: Path, tmp_path: Path) -> None:
    one, two = (
        rows_of(convert(source, tmp_path / str(seed), split={"validation": 0.2}, seed=seed), "validation")
        for seed in (0, 1)
    )
    assert sorted(one) != sorted(two)


def test_each_split_can_be_read(source: Path, tmp_path: Path) -> None:
    manifest = convert(source, tmp_path / "out", split={"validation": 0.2})
    for name in manifest.splits:
        assert Corpus.open(manifest.folder, name).rows.sum() == manifest.document["splits"][name]["rows"]
    with pytest.raises(la.SettingsError, match=r"no split 'dev'(?s:.*)train, validation"):
        Corpus.open(manifest.folder, "dev")
    card = (manifest.folder / "README.md").read_text()
    assert "  - split: train\n    path: data/train-*.parquet\n  - split: validation\n" in card
    shard = next(path for path in manifest.shards_of("validation"))
    assert shard.name.startswith("validation-")


def test_trainers_evaluate_on_the_split_validation(source: Path, tmp_path: Path) -> None:
    out = convert(source, tmp_path / "out", split={"validation": 0.2}).folder
    wanted = {
        "trl": 'eval_dataset=load_dataset("{out}", split="validation")',
        "hf": 'eval_dataset=load_dataset("{out}", split="validation")',
        "axolotl": 'test_datasets:\n  - path: "{out}"\n    ds_type: parquet\n    split: validation',
        "torch": 'Rows("validation-*.parquet")',
    }
    for trainer, line in wanted.items():
        assert line.format(out=out) in str(la.check_for(out, trainer).settings)
    packed = convert(
        source, tmp_path / "packed", split={"validation": 0.2}, profile="packed-megatron", pack=512
    )
    settings = str(la.check_for(packed.folder, "megatron").settings)
    assert "validation-*.parquet" in settings and "do_validation = True" in settings
    plain = convert(source, tmp_path / "plain")
    for trainer in wanted:
        assert "validation" not in str(la.check_for(plain.folder, trainer).settings)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"train": 0.5}, "'train' is what the rows of no other split are"),
        ({"Dev set": 0.5}, "is no name of a split"),
        ({"a-b": 0.5}, "is no name of a split"),
        ({"validation": 0}, "no share"),
        ({"validation": 1}, "no share"),
        ({"validation": True}, "no share"),
        ({"validation": 0.5, "test": 0.5}, "leave no rows"),
    ],
)
def test_splits_that_are_none(split: dict[str, Any], said: str) -> None:
    with pytest.raises(la.SettingsError, match=said):
        la.Settings(split=split)


def test_one_dataset_has_no_splits() -> None:
    with pytest.raises(la.SettingsError, match="llama-factory"):
        la.Settings(split={"validation": 0.1}, profile="llama-factory")


def test_shares_may_be_percentages(source: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    assert la.Settings(split={"validation": "10%"}) == la.Settings(split={"validation": 0.1})
    words = ["convert", str(source), "-o", str(tmp_path / "out"), "-t", "builtin", "-q"]
    result = CliRunner().invoke(main, [*words, "--split", "validation=20%"])
    assert result.exit_code == 0, result.output
    manifest = la.Manifest.load(tmp_path / "out")
    assert manifest.document["settings"]["split"] == {"validation": 0.2}
    other = convert(source, tmp_path / "other", split={"validation": 0.2})
    assert rows_of(manifest, "validation") == rows_of(other, "validation")
    result = CliRunner().invoke(main, [*words, "--split", "validation=20"])
    assert result.exit_code == 2 and "validation=1%" in result.output


def test_a_split_without_rows_is_told_and_named_nowhere(tmp_path: Path) -> None:
    from listeners import Warnings

    rows = [{"prompt": f"Question {at}?", "completion": "Yes, it is."} for at in range(5)]
    heard = Warnings()
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out"
    la.convert(source, out, tokenizer="builtin", split={"validation": 0.001}, listener=heard)
    assert any("validation has no rows" in text for text in heard.texts)
    assert "validation" not in (out / "README.md").read_text()
    for trainer in ("trl", "hf", "axolotl", "torch"):
        settings = str(la.check_for(out, trainer).settings)
        assert "validation" not in settings and "eval" not in settings
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 5}
