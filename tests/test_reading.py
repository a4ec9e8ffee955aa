"""A finished folder is read back as it is, and one that was changed is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, READ, in_all_profiles, read_rows, rows_in

import lookahead_data as la
from lookahead_data.errors import OutputError, SettingsError, TokenizerError
from lookahead_data.model.tokenizer import load_tokenizer
from lookahead_data.reading.collate import flat, pad_id_of, padded
from lookahead_data.reading.corpus import Corpus
from lookahead_data.reading.course import Course
from lookahead_data.reading.order import Shuffle
from lookahead_data.sink.profiles import PROFILES, documents_of
from lookahead_data.sink.publish import sha256_of

pytestmark = pytest.mark.usefixtures("little_at_once")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One corpus in all profiles, in several shards of several row groups."""
    return in_all_profiles(tmp_path_factory.mktemp("reading"), count=2600, repeats=13, unit_size=80_000)


@pytest.fixture
def folder(folders: Path, tmp_path: Path) -> Path:
    """One to break."""
    return Path(shutil.copytree(folders / "sft", tmp_path / "out"))


def course_over(folder: Path, **options: Any) -> Course:
    order = Shuffle(**({"seed": 1, "epoch": 0, "shuffle": True, "buffer_tokens": 30_000} | options))
    return Course(Corpus.open(folder), order, batch_size=16)


@pytest.mark.parametrize("profile", READ)
def test_the_rows_of_a_folder_are_read_as_they_are(folders: Path, profile: str) -> None:
    raw = read_rows(folders / profile)
    documents = [documents_of(row) for row in raw]
    expected = [
        (
            [token for ids, _ in row for token in ids],
            [label for _, labels in row for label in labels],
            [place for ids, _ in row for place in range(len(ids))],
        )
        for row in documents
    ]
    found = []
    course = course_over(folders / profile, shuffle=False)
    assert len(course.corpus.rows) > 3
    assert course.corpus.tokens.sum() == sum(len(ids) for ids, _, _ in expected)
    for batch in course.batches():
        positions = flat(batch)["position_ids"][0]
        assert (batch.positions is None) == (profile == "sft")
        columns = (batch.ids, batch.labels, positions)
        for a, b in pairwise(batch.bounds.tolist()):
            found.append(tuple(column[a:b].tolist() for column in columns))
    assert found == expected
    shuffled = [row for batch in course_over(folders / profile).batches() for row in rows_in(batch)]
    assert sorted(shuffled) == sorted((ids, labels) for ids, labels, _ in expected)
    assert shuffled != [(ids, labels) for ids, labels, _ in expected]


@pytest.mark.parametrize("profile", ["sft", "packed-hf"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_batches_are_filled_up_as_told(folders: Path, profile: str, multiple: int) -> None:
    packed = profile != "sft"
    for rows, _ in zip(course_over(folders / profile).batches(), range(30), strict=False):
        batch = padded(rows, 7, multiple_of=multiple)
        longest = max(len(ids) for ids, _ in rows_in(rows))
        width = next(width for width in range(longest, longest + multiple) if width % multiple == 0)
        assert set(batch) == {"input_ids", "labels", "position_ids" if packed else "attention_mask"}
        for at, (ids, labels) in enumerate(rows_in(rows)):
            rest = width - len(ids)
            assert batch["input_ids"][at].tolist() == ids + [7] * rest
            assert batch["labels"][at].tolist() == labels + [-100] * rest
            if packed:
                places = batch["position_ids"][at].tolist()
                starts = [place for place, position in enumerate(places) if position == 0]
                assert places == [place for a, b in pairwise([*starts, width]) for place in range(b - a)]
                assert (len(ids) in starts) == bool(rest)
            else:
                assert batch["attention_mask"][at].tolist() == [1] * len(ids) + [0] * rest
        line = flat(rows)
        assert {values.shape for values in line.values()} == {(1, len(rows.ids))}
        assert line["input_ids"][0].tolist() == rows.ids.tolist()
        if packed:
            assert rows.positions is not None
            assert line["position_ids"][0].tolist() == rows.positions.tolist()
        else:
            assert line["position_ids"][0].tolist() == [
                at for ids, _ in rows_in(rows) for at in range(len(ids))
            ]
        assert line["labels"][0].tolist() == [
            label for _, labels in rows_in(rows) for label in (-100, *labels[1:])
        ]
        assert {values.dtype for values in (*batch.values(), *line.values())} == {np.dtype(np.int64)}


def test_what_to_fill_up_with(folder: Path, llama_like: Path, wordpiece: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("builtin")
    assert pad_id_of(la.Manifest.load(folder)) == tokenizer.token_id("<|endoftext|>")

    def made_with(source: Path) -> la.Manifest:
        moved = shutil.copytree(source, tmp_path / source.name)
        out = tmp_path / f"{source.name}-out"
        return la.convert(PAIRS, out, tokenizer=str(moved), chat_template="none")

    manifest = made_with(llama_like)
    assert pad_id_of(manifest) == load_tokenizer(str(llama_like)).token_id("</s>")
    config = Path(str(manifest.settings.tokenizer), "tokenizer_config.json")
    config.write_text(config.read_text().replace("</s>", "<unk>"))
    with pytest.raises(TokenizerError, match=r"not the one that these rows were made with\n  .*pad_id="):
        pad_id_of(manifest)
    shutil.rmtree(config.parent)
    with pytest.raises(TokenizerError, match=r"no such file or folder\n  .*pad_id="):
        pad_id_of(manifest)
    with pytest.raises(SettingsError, match=r"names neither .*\n  .*pad_id="):
        pad_id_of(made_with(wordpiece))


def shard_of(folder: Path) -> Path:
    return la.Manifest.load(folder).shards[1]


def change_manifest(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def state_sizes(folder: Path) -> None:
    """Let the manifest tell the size and hash that a changed shard has."""
    shard = shard_of(folder)
    size, digest = shard.stat().st_size, sha256_of(shard)
    change_manifest(folder, lambda document: document["shards"][1].update(size=size, sha256=digest))


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(shard_of(folder))), shard_of(folder))
    state_sizes(folder)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "there is no manifest.json"),
    "a broken manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
    "a manifest of something else": (lambda folder: change_manifest(folder, lambda it: it["shards"][0].pop("size")), "is not valid"),
    "another format": (lambda folder: change_manifest(folder, lambda it: it.update(format=99)), "the format 99, and this"),
    "a shard that is missing": (lambda folder: shard_of(folder).unlink(), "00000.parquet: is missing"),
    "a shard that was cut": (lambda folder: shard_of(folder).write_bytes(shard_of(folder).read_bytes()[:-9]), "bytes long, and manifest.json says"),
    "a shard that is no Parquet": (lambda folder: (shard_of(folder).write_bytes(b"x" * 99), state_sizes(folder)), "cannot be read: "),
    "a shard with other rows": (lambda folder: rewrite(folder, lambda table: table.slice(1)), "rows, and manifest.json says"),
    "a shard with other columns": (lambda folder: rewrite(folder, lambda table: table.drop_columns("labels")), "has the columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_not_as_its_manifest_says_is_refused(name: str, folder: Path) -> None:
    change, words = REFUSED[name]
    change(folder)
    with pytest.raises(OutputError, match=words) as caught:
        Corpus.open(folder)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(folder))


def test_arrow_shards_are_left_to_datasets(tmp_path: Path) -> None:
    la.convert(
        [{"prompt": "a", "completion": "b"}], tmp_path / "out", tokenizer="builtin", profile="llama-factory"
    )
    with pytest.raises(OutputError, match="the profile llama-factory, which are not read here"):
        Corpus.open(tmp_path / "out")


def test_a_profile_that_is_not_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(PROFILES["sft"], columns=("input_ids", "logits"))
    monkeypatch.setitem(PROFILES, "sft", other)
    with pytest.raises(OutputError, match="the profile sft, which are not read here"):
        Corpus.open(folder)


def of_first_row(name: str, change: Callable[[list[Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        change(rows[0][name])
        return pa.Table.from_pylist(rows, table.schema)

    return changed


MISFITS: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "fewer labels than ids": ("sft", of_first_row("labels", list.pop), "another number of labels"),
    "a null": ("sft", of_first_row("labels", lambda row: row.__setitem__(0, None)), "a null"),
    "a document too many": ("packed-trl", of_first_row("seq_lengths", lambda row: row.append(3)), "do not add up"),
    "an empty document": ("packed-trl", of_first_row("seq_lengths", lambda row: row.append(0)), "do not add up"),
    "a start out of order": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.append(0)), "do not add up"),
    "no start": ("packed-megatron", of_first_row("seq_start_id", list.clear), "do not add up"),
    "a start beyond the row": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.append(10**6)), "do not add up"),
    "a first start that is none": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.__setitem__(0, 1)), "do not add up"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_rows_whose_columns_do_not_fit_are_never_given_out(name: str, folders: Path, tmp_path: Path) -> None:
    profile, change, words = MISFITS[name]
    folder = Path(shutil.copytree(folders / profile, tmp_path / "out"))
    rewrite(folder, change)
    with pytest.raises(OutputError, match=words):
        list(course_over(folder).batches())


def test_damage_that_comes_later_is_told(folder: Path) -> None:
    course = course_over(folder)
    raw = bytearray(shard_of(folder).read_bytes())
    raw[200] ^= 1
    shard_of(folder).write_bytes(raw)
    with pytest.raises(OutputError, match="cannot be read") as caught:
        list(course.batches())
    assert caught.value.where == str(shard_of(folder))
    course = course_over(folder)
    shard_of(folder).unlink()
    with pytest.raises(OutputError, match="is missing"):
        list(course.batches())


def test_a_state_is_of_the_rows_and_not_of_the_folders_name(folders: Path, folder: Path) -> None:
    state = course_over(folders / "sft").state()
    course_over(folder).load(state)
    with pytest.raises(SettingsError, match="another corpus"):
        course_over(folders / "packed-hf").load(state)


def test_a_folder_made_anew_is_read_anew(tmp_path: Path) -> None:
    for times in (3, 4):
        la.convert(PAIRS * times, tmp_path / "out", tokenizer="builtin", overwrite=True)
        course = course_over(tmp_path / "out")
        assert sum(len(batch.bounds) - 1 for batch in course.batches()) == 4 * times


def test_a_folder_without_rows_has_no_batches(tmp_path: Path) -> None:
    la.convert([PAIRS[0]], tmp_path / "out", tokenizer="builtin", max_length=2)
    course = course_over(tmp_path / "out")
    assert (len(course), list(course.batches()), course.state()["left"]) == (0, [], [])


def test_without_pytorch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None; import lookahead_data.torch"
    ran = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'lookahead_data[torch]'" in ran.stderr.splitlines()[-1]
