"""Folders that people have: saved data sets, caches, repositories with splits; and files that are not what they seem."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import convert, write_jsonl

import lookahead_data as la
from lookahead_data.errors import InputError, LookaheadError, OutputError
from lookahead_data.source import readers
from lookahead_data.source.discover import describe, discover
from lookahead_data.source.splits import split_of

ROW = {"prompt": "Name a tree.", "completion": "The fir is a tall tree."}


def numbered(count: int, name: str = "p") -> list[dict[str, str]]:
    return [{"prompt": f"{name}{at}", "completion": f"Answer {at} to a question."} for at in range(count)]


def write_arrow(path: Path, table: pa.Table, rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def saved(folder: Path, rows: list[dict[str, str]], indices: list[int] | None = None) -> Path:
    """A folder as `save_to_disk` writes it, with two data files and a cache file that belongs to neither."""
    half = len(rows) // 2
    for at, part in enumerate((rows[:half], rows[half:])):
        write_arrow(folder / f"data-0000{at}-of-00002.arrow", pa.Table.from_pylist(part))
    write_arrow(folder / "cache-0123.arrow", pa.Table.from_pylist(rows))
    state = {"_data_files": [{"filename": f"data-0000{at}-of-00002.arrow"} for at in (0, 1)], "_split": None}
    if indices is not None:
        write_arrow(folder / "indices.arrow", pa.table({"indices": pa.array(indices, pa.uint64())}))
        state["_indices_files"] = [{"filename": "indices.arrow"}]
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def prompts(source: Path | str, **options: object) -> list[str]:
    files = discover([source], **options)  # type: ignore[arg-type]
    return [
        str(record.value["prompt"])  # type: ignore[index]
        for file in files
        for record in readers.read_all(file, max_line_size=1 << 20)
    ]


def test_a_saved_data_set_is_read_by_its_state(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = saved(tmp_path / "ds", numbered(8))
    assert prompts(folder, notes=notes) == [f"p{at}" for at in range(8)]
    assert "1 cache files of datasets" in notes[0]
    assert convert(str(folder), tmp_path / "out").totals["written"] == 8


@pytest.mark.parametrize("indices", [[7, 0, 5, 5, 3], [], list(range(8)), [2]])
def test_selected_and_shuffled_rows_are_read_in_their_order(indices: list[int], tmp_path: Path) -> None:
    folder = saved(tmp_path / "ds", numbered(8), indices)
    assert prompts(folder) == [f"p{at}" for at in indices]
    manifest = convert(str(folder), tmp_path / "out", workers=1)
    assert manifest.totals["written"] == len(indices)
    if indices:
        assert la.verify(tmp_path / "out", deep=10).ok


def test_indices_beyond_the_data_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ds", numbered(8), [1, 8])
    with pytest.raises(InputError, match="row index 8 points beyond the 8 rows"):
        prompts(folder)
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match="no such file"):
        prompts(folder)


def test_a_change_of_the_data_behind_indices_is_another_job(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ds", numbered(8), [1, 2])
    convert(str(folder), tmp_path / "out")
    saved(tmp_path / "ds", numbered(8, "q"), [1, 2])
    with pytest.raises(OutputError):
        convert(str(folder), tmp_path / "out")


def test_a_dictionary_of_splits_is_read_by_its_training_split(tmp_path: Path) -> None:
    for name in ("test", "train"):
        saved(tmp_path / "dd" / name, numbered(4, name))
    (tmp_path / "dd" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    notes: list[str] = []
    assert {prompt[:-1] for prompt in prompts(tmp_path / "dd", notes=notes)} == {"train"}
    assert any("reading the split train; not reading test" in note for note in notes)
    assert {prompt[:-1] for prompt in prompts(tmp_path / "dd", splits=["test"])} == {"test"}
    assert {prompt[:-1] for prompt in prompts(tmp_path / "dd", splits=["all"])} == {"train", "test"}
    with pytest.raises(InputError, match="has no split 'dev'; its splits: test, train"):
        discover([tmp_path / "dd"], ["dev"])


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_sft-00000-of-00001.parquet", "train_sft"),
        ("test.jsonl", "test"),
        ("my_dev.csv", "validation"),
        ("eval/rows.jsonl", "test"),
        ("train/part-0.parquet", "train"),
        ("gsm8k_train.jsonl", "train"),
        ("contest.jsonl", None),
        ("latest/devices.jsonl", None),
        ("data/part-00000-of-00010.parquet", None),
    ],
)
def test_names_tell_splits(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_a_repository_with_splits(tmp_path: Path) -> None:
    for name in ("train", "test", "extra"):
        write_jsonl(tmp_path / f"{name}.jsonl", numbered(1, name))
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".git").mkdir()
    write_jsonl(tmp_path / ".git" / "train.jsonl", numbered(1, "git"))
    assert prompts(tmp_path) == ["extra0", "train0"]
    assert prompts(tmp_path, splits=["test"]) == ["test0"]
    (tmp_path / "train.jsonl").unlink()
    write_jsonl(tmp_path / "validation.jsonl", numbered(1, "validation"))
    with pytest.raises(InputError, match="several splits, and none is train"):
        discover([tmp_path])


def test_a_cache_of_the_hub_is_read_at_its_revision(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--a--b"
    for revision in ("111", "222"):
        (repository / "snapshots" / revision).mkdir(parents=True)
        write_jsonl(repository / "snapshots" / revision / "train.jsonl", numbered(1, revision))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("222")
    assert prompts(tmp_path) == ["2220"]
    (repository / "refs" / "main").unlink()
    with pytest.raises(InputError, match="2 snapshots"):
        discover([tmp_path])


def test_shards_of_equal_content_in_a_hub_cache_are_all_read(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--me--mine"
    for name in ("blobs", "refs", "snapshots/r1/data"):
        (cache / name).mkdir(parents=True)
    (cache / "refs" / "main").write_text("r1")
    (cache / "blobs" / "b").write_text('{"prompt": "a", "completion": "b"}\n')
    for at in range(2):
        shard = cache / "snapshots" / "r1" / "data" / f"train-0000{at}-of-00002.jsonl"
        shard.symlink_to(cache / "blobs" / "b")
    assert len(discover([str(cache)])) == 2
    assert len(discover([str(cache), str(cache / "snapshots" / "r1")])) == 2


def test_text_files_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("First line.\n\nSecond line.\n")
    options = {"mode": "none", "tokenizer": "builtin"}
    assert la.convert(tmp_path / "a.txt", tmp_path / "files", **options).totals["read"] == 1
    manifest = la.convert(tmp_path / "a.txt", tmp_path / "lines", text_unit="line", **options)
    assert manifest.totals["read"] == 2
    assert la.verify(tmp_path / "lines", deep=10).ok
    write_jsonl(tmp_path / "b.jsonl", [ROW])
    assert [Path(file.path).name for file in discover([tmp_path])] == ["b.jsonl"]


SEEM = {
    "a Git LFS pointer": ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "pretty-printed objects": ("a.jsonl", json.dumps(ROW, indent=1) + "\n" + json.dumps(ROW, indent=1), "jq -c"),
    "rows under a key": ("a.json", json.dumps({"train": [ROW], "test": [ROW]}), "'train', 'test'"),
    "columns of pandas": ("a.json", json.dumps({"prompt": {"0": "a"}, "completion": {"0": "b"}}), "orient='records'"),
    "Python's repr": ("a.jsonl", f"{ROW}\n{ROW}\n", "ast.literal_eval"),
    "bzip2": ("a.jsonl.bz2", "x", "bunzip2"),
}  # fmt: skip


@pytest.mark.parametrize("case", SEEM)
def test_what_a_file_really_is_and_what_to_do_is_said(case: str, tmp_path: Path) -> None:
    name, text, words = SEEM[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        convert(str(tmp_path / name), tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_named_jsonl_is_read(indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps([ROW, ROW], indent=indent))
    assert convert(str(tmp_path / "a.jsonl"), tmp_path / "out").totals["written"] == 2


@pytest.mark.parametrize("sign", [";", "\t", ","])
def test_what_separates_columns_is_told_by_the_header(sign: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"prompt{sign}completion\nName a tree{sign}The fir is tall\n")
    assert convert(str(tmp_path / "a.csv"), tmp_path / "out").totals["written"] == 1


def test_a_row_that_spans_lines_by_mistake_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a",\n' + (json.dumps(ROW) + "\n") * 3)
    totals = convert(str(tmp_path / "a.jsonl"), tmp_path / "out").totals
    assert (totals["written"], totals["quarantined"]) == (3, {"invalid_json": 1})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tatsu-lab/alpaca", "hf download --repo-type dataset tatsu-lab/alpaca"),
        ("hf://datasets/tatsu-lab/alpaca/x.jsonl", "hf download --repo-type dataset tatsu-lab/alpaca"),
        ("https://user:secret@example.org/x.jsonl?token=secret", "curl -LO"),
        ("-", "standard input"),
    ],
)
def test_inputs_that_are_no_files_here(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert(name, tmp_path / "out")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_finished_folder_is_no_input(tmp_path: Path) -> None:
    convert([ROW], tmp_path / "first")
    with pytest.raises(InputError, match="finished output folder"):
        convert(str(tmp_path / "first"), tmp_path / "second")


def test_only_regular_files_are_read_and_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "folder" / "rows.jsonl"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    for source in (pipe, pipe.parent):
        with pytest.raises(InputError, match="not a regular file"):
            convert(str(source), tmp_path / "out")
    with pytest.raises(LookaheadError, match="not a regular file"):
        convert([ROW], tmp_path / "out", decontaminate=[str(pipe)])
    target = tmp_path / "pipe.jsonl"
    os.mkfifo(target)
    with pytest.raises(OutputError, match="not a regular file"):
        la.preview([ROW], target, tokenizer="builtin", overwrite=True)


def test_an_output_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    la.preview([ROW], tmp_path / "link.jsonl", tokenizer="builtin", overwrite=True)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text().count("\n") == 1


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a\xff.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"prompt": "a", "completion": "b"}\n')
    for source in (os.fsdecode(path), tmp_path):
        with pytest.raises(InputError, match=r"a\\xff.jsonl: the name is not UTF-8"):
            discover([source])


def test_outputs_inside_patterns_and_other_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "a.jsonl", [ROW])
    (tmp_path / "safe").mkdir()
    write_jsonl(tmp_path / "safe" / "b.jsonl", [ROW])
    with pytest.raises(OutputError, match="nested"):
        convert(f"{tmp_path}/in/**/*.jsonl", tmp_path / "in" / "out")
    with pytest.raises(OutputError, match="nested"):
        convert(str(tmp_path / "in"), tmp_path / "safe" / "out", safety_set=[str(tmp_path / "safe")])
    with pytest.raises(OutputError, match="nested"):
        la.curate(str(tmp_path / "in"), tmp_path / "in" / "report", dedup="prompt")


def test_describe_finds_what_indices_belong_to(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ds", numbered(4), [0])
    assert len(describe(str(folder / "indices.arrow")).parts) == 2
    assert describe(str(folder / "data-00000-of-00002.arrow")).parts == ()


def test_data_of_other_packages(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = numbered(6)
    data = datasets.Dataset.from_list(rows)
    expected = [row["prompt"] for row in rows]
    forms = {
        "Dataset": (data, expected),
        "a selection": (data.select([4, 1]), ["p4", "p1"]),
        "IterableDataset": (data.to_iterable_dataset(), expected),
        "DatasetDict": (datasets.DatasetDict({"train": data, "test": data.select([0])}), expected),
        "pandas": (data.to_pandas(), expected),
        "a generator": ((row for row in rows), expected),
        "a reader": (pa.Table.from_pylist(rows).to_reader(), expected),
        "an Arrow dataset": (pa.dataset.dataset(pa.Table.from_pylist(rows)), expected),
    }
    for name, (form, wanted) in forms.items():
        changed = la.preview(form, mode="virtual").rows
        found = [str(row["prompt"]) for row in changed]
        assert [prompt.split(" ")[0] for prompt in found] == wanted, name


@pytest.mark.parametrize("data", [7, {"prompt": "a"}, b"x", [1, 2]])
def test_other_data_is_refused(data: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows cannot be read from|is a int, not a dict"):
        convert(data, tmp_path / "out")
