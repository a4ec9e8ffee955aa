"""Inputs: rows of every shape, field and format are read as what they say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import zstandard
from helpers import PAIRS, as_chatml, conversation, convert, read_rows, texts_of, write_jsonl

import lookahead_data as la
from lookahead_data.errors import InputError
from lookahead_data.model.tokenizer import LoadedTokenizer

SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "prompt and completion": ({"prompt": "I", "completion": "O"}, as_chatml("I", "O")),
    "input and output": ({"input": "I", "output": "O"}, as_chatml("I", "O")),
    "question and answer": ({"question": "I", "answer": "O", "id": 7}, as_chatml("I", "O")),
    "a system field": ({"system": "S", "prompt": "I", "response": "O"}, as_chatml("I", "O", "S")),
    "Alpaca": ({"instruction": "I", "input": "x", "output": "O"}, as_chatml("I\nx", "O")),
    "Alpaca without input": ({"instruction": "I", "input": "", "output": "O"}, as_chatml("I", "O")),
    "messages": ({"messages": conversation("I", "O", system="S")}, as_chatml("I", "O", "S")),
    "ShareGPT": (
        {"system": "S", "conversations": [{"from": "human", "value": "I"}, {"from": "gpt", "value": "O"}]},
        as_chatml("I", "O", "S"),
    ),
    "conversations with roles": ({"conversations": conversation("I", "O")}, as_chatml("I", "O")),
    "lists of messages": (
        {"prompt": conversation("I"), "completion": [{"role": "assistant", "content": "O"}]},
        as_chatml("I", "O"),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_recognized(name: str, tmp_path: Path, builtin: LoadedTokenizer) -> None:
    row, expected = SHAPES[name]
    manifest = convert([row] * 3, tmp_path / "out", mode="none")
    assert texts_of(tmp_path / "out", builtin) == [expected] * 3
    assert manifest.document["inputs"][0]["shape"]["kind"]


def test_a_shape_can_be_set(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    row = {"instruction": "I", "output": "O", "text": "Some text.", "sys": "S", "a": "Another one.", "b": "B"}
    convert([row], tmp_path / "fields", mode="none", input_field="a", output_field="b", system_field="sys")
    assert texts_of(tmp_path / "fields", builtin) == [as_chatml("Another one.", "B", "S")]
    convert([row], tmp_path / "text", mode="none", shape="text")
    assert texts_of(tmp_path / "text", builtin) == ["Some text.<|im_end|>"]
    convert([row], tmp_path / "named", mode="none", shape="text", input_field="a")
    assert texts_of(tmp_path / "named", builtin) == ["Another one.<|im_end|>"]


def write_in(format: str, folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / f"rows.{format}"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if format == "json":
        path.write_text(json.dumps(rows, indent=2))
    elif format == "jsonl":
        path.write_bytes(lines)
    elif format == "jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif format == "jsonl.zst":
        path.write_bytes(zstandard.compress(lines))
    elif format in ("csv", "tsv"):
        pl.DataFrame(rows).write_csv(path, separator="\t" if format == "tsv" else ",")
    elif format == "parquet":
        pl.DataFrame(rows).write_parquet(path, row_group_size=1)
    elif format == "feather":
        pl.DataFrame(rows).write_ipc(path, compression="lz4")
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize(
    "format", ["json", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "tsv", "parquet", "feather", "arrow"]
)
def test_every_format_gives_the_same_rows(format: str, tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": 'a "quoted", one\nin two lines', "completion": "tab\there, and more of it"}]
    convert(rows, tmp_path / "expected")
    convert(write_in(format, tmp_path, rows), tmp_path / "out")
    assert read_rows(tmp_path / "out") == read_rows(tmp_path / "expected")


def test_data_in_memory_gives_the_same_rows(tmp_path: Path) -> None:
    convert(write_jsonl(tmp_path / "rows.jsonl", PAIRS), tmp_path / "expected")
    frame = pl.DataFrame(PAIRS)
    for at, data in enumerate(
        [PAIRS, frame, frame.lazy(), frame.to_arrow(), pa.RecordBatch.from_pylist(PAIRS)]
    ):
        manifest = convert(data, tmp_path / str(at))
        assert read_rows(tmp_path / str(at)) == read_rows(tmp_path / "expected")
        assert manifest.document["inputs"][0]["path"] == "<memory>"
    with pytest.raises(InputError, match="cannot be written as JSON"):
        convert([{"prompt": object()}], tmp_path / "bad")


def test_files_folders_and_patterns_in_order(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    for name in ("b", "a", "c"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"prompt": name, "completion": "x"}])
    convert([tmp_path / "c.jsonl", f"{tmp_path}/[ab].jsonl"], tmp_path / "out", mode="none")
    assert [text[len("<|im_start|>user\n")] for text in texts_of(tmp_path / "out", builtin)] == [
        "c",
        "a",
        "b",
    ]


def test_a_system_field_is_never_passed_over(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    rows = [{"sys": None, "prompt": "I", "completion": "O"}] * 30 + [
        {"sys": "S", "prompt": "I", "completion": "O"}
    ]
    convert(rows, tmp_path / "named", mode="none", system_field="sys")
    assert texts_of(tmp_path / "named", builtin)[-1] == as_chatml("I", "O", "S")
    rows = [{"system": row["sys"], "prompt": "I", "completion": "O"} for row in rows]
    convert(rows, tmp_path / "found", mode="none")
    convert(rows, tmp_path / "fields", mode="none", input_field="prompt", output_field="completion")
    for out in ("found", "fields"):
        assert texts_of(tmp_path / out, builtin)[-1] == as_chatml("I", "O", "S")


def test_messages_in_a_field_of_another_name(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    convert([{"chat": conversation("I", "O")}], tmp_path / "out", mode="none", input_field="chat")
    assert texts_of(tmp_path / "out", builtin) == [as_chatml("I", "O")]


def test_columns_that_are_not_needed_do_no_harm(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "when": pa.array([1, 10**18 + 1], pa.timestamp("ns")),
            "completion": pa.array(["one two three four five six seven"] * 2, pa.string_view()),
        }
    )
    assert convert(table, tmp_path / "out").totals["written"] == 2
    both = pa.concat_tables([table, table.slice(1)])
    assert convert(both, tmp_path / "chunks").totals["written"] == 3
    changed = la.preview(table, mode="virtual", phrase="P", connector="→").rows
    assert changed.column("prompt").to_pylist() == ["a→P", "b→P"]
    assert changed.select(["when"]).equals(table.select(["when"]))
    frame = pl.DataFrame(
        {"prompt": ["a", "b"], "completion": ["x", "y"]}, schema_overrides={"prompt": pl.Enum(["a", "b"])}
    )
    assert la.preview(frame, mode="virtual", phrase="P", connector="→").rows["prompt"].to_list() == [
        "a→P",
        "b→P",
    ]
