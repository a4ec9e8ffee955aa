"""`verify`: whole folders pass; what it tells, warns of and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from forgery import FIRST, Row, forge, set_token
from helpers import PAIRS, conversation, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.check.report import PROBLEMS
from lookahead_data.cli import main
from lookahead_data.errors import OutputError, SettingsError, TokenizerError

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


def test_template_arguments_of_any_kind_keep_the_fingerprint(tmp_path: Path) -> None:
    arguments = {"pair": (1, 2), "table": {10: "a", 9: "b"}}
    for _ in range(2):  # the second time it is the same job, and complete
        la.convert(PAIRS, tmp_path / "out", tokenizer="builtin", template_args=arguments)
    assert la.verify(tmp_path / "out").ok


def test_a_card_without_its_list_of_shards_is_noticed(folder: Path) -> None:
    (folder / "README.md").write_text("# Mine\n")
    found = la.verify(folder)
    assert any("README.md: does not tell datasets.load_dataset" in str(p) for p in found.problems)


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
