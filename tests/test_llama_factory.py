"""The profile `llama-factory`: a folder that `datasets.load_from_disk` takes for one of its own."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import PAIRS, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.backends import local
from lookahead_data.errors import SettingsError
from lookahead_data.sink import shards as shards_module
from lookahead_data.sink.formats import open_shard


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        *PAIRS * 30,
        {"prompt": "bad"},
        *({"prompt": f"p {n}", "completion": f"c {n} " * 9} for n in range(400)),
    ]
    return write_jsonl(tmp_path_factory.mktemp("llama_factory") / "rows.jsonl", rows)


def converted(source: Path, out: Path, **changes: object) -> Path:
    """A job of several units with several shards each."""
    options: dict[str, object] = {"tokenizer": "builtin", "unit_size": 12_000, "shard_size": 4_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "GROUP_ROWS", 20)
        la.convert(source, out, **options | changes)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(source, tmp_path_factory.mktemp("made") / "out", profile="llama-factory")


def test_datasets_loads_the_rows_of_an_sft_folder(source: Path, folder: Path, tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    assert len(list((folder / "data").iterdir())) > 5
    assert loaded.split == "train"
    assert loaded.column_names == ["input_ids", "attention_mask", "labels"]
    assert loaded.to_list() == read_rows(converted(source, tmp_path / "sft"))


def test_datasets_saves_the_same_columns_and_state(folder: Path, tmp_path: Path) -> None:
    """What `save_to_disk` writes has the same types, and its state the same keys."""
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    loaded.save_to_disk(str(tmp_path / "again"))
    again = datasets.load_from_disk(str(tmp_path / "again"))
    assert again.features == loaded.features
    assert again.to_list() == loaded.to_list()
    ours, theirs = (json.loads((home / "state.json").read_text()) for home in (folder, tmp_path / "again"))
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} <= {"_data_files", "_fingerprint"}


def test_rows_are_mapped_into_memory_and_not_read(folder: Path) -> None:
    shard = next((folder / "data").iterdir())
    before = pa.total_allocated_bytes()
    with open_shard(shard) as reader:
        groups = [reader.group(at) for at in range(len(reader.group_rows))]
        assert sum(group.nbytes for group in groups) > 10_000
        assert pa.total_allocated_bytes() - before < 1_000


def test_workers_do_not_change_a_byte(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SMALL", 0)  # so that workers start at all
    made = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        la.convert(source, out, tokenizer="builtin", profile="llama-factory", unit_size=9000, workers=workers)
        files = [*sorted((out / "data").iterdir()), out / "state.json", out / "dataset_info.json"]
        made.append({path.relative_to(out): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert len(made[0]) > 4


def test_verify_and_inspect_read_it(source: Path, folder: Path) -> None:
    found = la.verify(folder, deep=1000)
    assert found.ok, found.problems
    assert found.rows == found.compared == 520
    rows, _ = la.inspect(folder, rows=2, start=300)
    assert len(rows) == 2
    assert rows[0].input_ids


def test_a_stopped_job_goes_on(source: Path, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    lost = max((again / "data").iterdir())
    lost.unlink()
    assert any("is missing" in str(problem) for problem in la.verify(again).problems)
    converted(source, again, profile="llama-factory")
    assert la.verify(again).ok
    assert lost.read_bytes() == (folder / "data" / lost.name).read_bytes()


def test_another_profile_takes_all_of_it_away(source: Path, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    converted(source, again, overwrite=True)
    assert la.verify(again).ok
    assert not list(again.rglob("*.arrow"))
    assert not (again / "state.json").exists()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard changed": (lambda f: _flip(next((f / "data").iterdir())), "was changed or damaged"),
    "a shard cut": (lambda f: next((f / "data").iterdir()).write_bytes(b"x"), "is 1 bytes long"),
    "no state": (lambda f: (f / "state.json").unlink(), "state.json: cannot be read"),
    "a state that is none": (lambda f: (f / "state.json").write_text("{"), "state.json: is not valid"),
    "a state with fewer shards": (
        lambda f: (f / "state.json").write_text((f / "state.json").read_text().replace("00000-00001", "00000-00000")),
        "state.json: is not what manifest.json makes of it",
    ),
    "no info": (lambda f: (f / "dataset_info.json").unlink(), "dataset_info.json: cannot be read"),
    "a stray": (lambda f: (f / "data" / "more.arrow").touch(), "more.arrow: is not of this job"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(name: str, source: Path, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    damage, words = DAMAGES[name]
    damage(again)
    assert any(words in str(problem) for problem in la.verify(again).problems)
    if name != "a stray":
        converted(source, again, profile="llama-factory", overwrite=True)
        assert la.verify(again).ok


def test_damaged_shards_are_no_danger(folder: Path, tmp_path: Path) -> None:
    """Reading back what was not compared with its hash ends in a result, whatever bits are wrong."""
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    shard = next((again / "data").iterdir())
    whole = shard.read_bytes()
    chance = random.Random(0)
    outcomes = set()
    for _ in range(40):
        data = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.choice([1, 50])):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        shard.write_bytes(data)
        outcomes.add(la.check_for(again, "llama-factory").ok)
    assert False in outcomes


def test_a_folder_without_rows_loads(tmp_path: Path) -> None:
    import datasets

    la.convert(
        [{"prompt": "p", "completion": ""}], tmp_path / "out", tokenizer="builtin", profile="llama-factory"
    )
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert (len(loaded), loaded.column_names) == (0, ["input_ids", "attention_mask", "labels"])


def test_it_does_not_pack() -> None:
    with pytest.raises(SettingsError, match="llama-factory cannot tell the documents"):
        la.Settings(profile="llama-factory", pack=100)
