"""Reading Parquet and Arrow by the column gives what the strict reader gives row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import conversation, given_columns, read_quarantine, read_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.errors import InputError
from lookahead_data.source import readers, tables
from lookahead_data.source.conversations import Pending, Shape, converse
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import columnar
from lookahead_data.source.records import Split

PAIR = Shape("prompt-completion", "prompt", "completion", system_field="system")
TALKS = Shape("messages", "messages", system_field="system")
SHAPES = [
    PAIR,
    Shape("alpaca", "instruction", "output", context_fields=("input",)),
    Shape("messages", "messages"),
    TALKS,
    Shape("sharegpt", "conversations"),
    Shape("text", "text"),
]
FORMATS = ["parquet", "arrow", "stream"]
SIMPLE = [pa.string(), pa.large_string()]
VIEW, DICTIONARY = pa.string_view(), pa.dictionary(pa.int32(), pa.string())
WORDS = [*SIMPLE, VIEW, DICTIONARY]

ODD_TEXT = st.sampled_from(["", " ", "\u2028", "\x1c", "a\0b", "\0", "é漢👩‍", "\ufeff", "x" * 50])
TEXT = st.one_of(st.none(), ODD_TEXT, st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
ROLE = st.sampled_from(["user", "assistant", "system", "human", "gpt", "GPT", "wizard", "", None])
MORE: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "name": (pa.string(), TEXT),
    "weight": (pa.float64(), st.sampled_from([None, 0.5, float("nan")])),
    "reasoning": (pa.large_string(), TEXT),
    "thinking": (pa.string(), TEXT),
    "reasoning_content": (pa.bool_(), st.sampled_from([None, False, True])),
    "tool_calls": (
        pa.list_(pa.struct([("id", pa.int64())])),
        st.sampled_from([None, [], [None], [{"id": 1}], [{"id": None}, {"id": 2}]]),
    ),
    "function_call": (pa.struct([("name", pa.string())]), st.sampled_from([None, {"name": None}])),
    "images": (pa.null(), st.none()),
    "audio": (pa.large_binary(), st.sampled_from([None, b"", b"\xff"])),
}
GOOD = ["user", "assistant"]


@st.composite
def texts(draw: st.DrawFn, rows: int) -> pa.Array:
    if draw(st.integers(0, 9)) == 0:
        return pa.nulls(rows)
    usual = st.one_of(st.sampled_from(["a", "b c"]), TEXT)
    return pa.array(draw(st.lists(usual, min_size=rows, max_size=rows)), draw(st.sampled_from(WORDS)))


@st.composite
def talks(draw: st.DrawFn, rows: int, words: Sequence[pa.DataType]) -> pa.Array:
    keys = draw(st.sampled_from([["role", "content"], ["from", "value"], ["from", "role", "content"]]))
    more = draw(st.lists(st.sampled_from(sorted(MORE)), max_size=3, unique=True))
    kinds = {name: draw(st.sampled_from(words)) for name in keys} | {name: MORE[name][0] for name in more}
    usual = st.integers(1, 3).map(lambda turns: [GOOD[at % 2] for at in range(2 * turns)])
    values: list[Any] = []
    for _ in range(rows):
        roles = draw(st.one_of(usual, usual, usual, st.lists(ROLE, max_size=3), st.none()))
        if roles is None:
            values.append(None)
            continue
        turns: list[dict[str, Any] | None] = []
        for role in roles:
            turn = {name: role if name in ("role", "from") else draw(texts_of_turns) for name in keys}
            turn |= {name: draw(st.one_of(st.none(), st.none(), MORE[name][1])) for name in more}
            turns.append(draw(st.sampled_from([turn] * 30 + [None])))
        values.append(turns)
    struct = pa.struct(list(kinds.items()))
    make = draw(st.sampled_from([pa.list_, pa.large_list]))
    return pa.array(values, make(struct))


texts_of_turns = st.one_of(st.just("a"), st.just("b c"), st.just("d"), TEXT)


@st.composite
def tables_of(draw: st.DrawFn, shape: Shape, name: str) -> pa.Table:
    rows = draw(st.integers(0, 12))
    # Inside of messages, Arrow does not write views to Parquet, nor read dictionaries of many row groups;
    # and it checks a dictionary by its indices for null messages, and then cannot take views.
    words = draw(st.sampled_from([[VIEW], [DICTIONARY], SIMPLE] if name != "parquet" else [SIMPLE]))
    columns: dict[str, pa.Array] = {"id": pa.array(range(rows))}
    for field in shape.all_fields:
        if field in ("messages", "conversations"):
            columns[field] = draw(talks(rows, words))
        elif field in shape.fields or draw(st.booleans()):
            columns[field] = draw(texts(rows))
    return pa.table({field: columns[field] for field in draw(st.permutations(sorted(columns)))})


def write(folder: Path, name: str, table: pa.Table, rows: int = 1 << 20) -> Path:
    """The table as a file of this format, in batches or row groups of so many rows."""
    path = folder / ("rows.parquet" if name == "parquet" else "rows.arrow")
    if name == "parquet":
        pq.write_table(table, path, row_group_size=rows)
        return path
    make = pa.ipc.new_file if name == "arrow" else pa.ipc.new_stream
    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    with make(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def strictly(path: Path, shape: Shape) -> Any:
    file = describe(str(path))
    return told(converse(readers.read_all(file, max_line_size=1, names=shape.all_fields), shape))


def by_column(path: Path, shape: Shape, size: int = 1 << 22) -> Any:
    file = describe(str(path))
    assert tables.handles(columnar.schema(file), shape)
    stop = columnar.row_groups(file) if file.format == "parquet" else file.size
    return told(tables.conversations(file, Split(0, stop, 0, file.size), shape, size))


def told(batches: Any) -> Any:
    rows: list[Any] = []
    rejects: list[Any] = []
    notes: dict[str, int] = {}
    for staged, _ in batches:
        staged.batch.validate(full=True)
        rows += given_columns(staged.batch)
        rejects += staged.rejects
        for name, count in staged.notes.items():
            notes[name] = notes.get(name, 0) + count
    return rows, rejects, notes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    name=st.sampled_from(FORMATS),
    rows=st.integers(1, 5),
    size=st.sampled_from([1, 300, 1 << 22]),
)
def test_tables_are_read_as_their_rows_are(
    shape: Shape, data: st.DataObject, name: str, rows: int, size: int, tmp_path: Path
) -> None:
    path = write(tmp_path, name, data.draw(tables_of(shape, name)), rows)
    assert by_column(path, shape, size) == strictly(path, shape)


def never(*_: object) -> None:
    raise AssertionError("read row by row")


TALK = conversation("a", "b é\n", "c", "d", system="s")
ORDINARY: list[tuple[Shape, dict[str, Any]]] = [
    (PAIR, {"id": 3, "prompt": "", "completion": "b", "system": "s", "tags": [{"x": 1}]}),
    (PAIR, {"prompt": "a", "completion": "b", "system": None}),
    (PAIR, {"prompt": "a", "completion": "b"}),
    (SHAPES[1], {"instruction": "a", "input": "", "output": "b"}),
    (SHAPES[2], {"messages": TALK, "id": 1, "prompt": "a"}),
    (SHAPES[2], {"messages": [{**turn, "tool_calls": [], "thinking": "", "weight": None} for turn in TALK]}),
    (SHAPES[2], {"messages": [{**turn, "from": None, "reasoning": None} for turn in TALK]}),
    (TALKS, {"messages": TALK[1:], "system": "s"}),
    (TALKS, {"messages": TALK}),
    (SHAPES[4], {"conversations": [{"from": "human", "value": "a"}, {"from": "GPT", "value": "b"}]}),
    (SHAPES[5], {"text": "a text 👩‍👩‍👧"}),
]


@pytest.mark.parametrize(("shape", "row"), ORDINARY)
def test_ordinary_rows_never_go_the_slow_way(
    shape: Shape, row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.Table.from_pylist([row] * 2500)
    expected = strictly(write(tmp_path, "arrow", table), shape)
    monkeypatch.setattr(Pending, "add", never)
    for name in FORMATS:
        assert by_column(write(tmp_path, name, table, rows=1100), shape) == expected
    pl.DataFrame(table).write_ipc(tmp_path / "polars.arrow")  # texts are views, lists are large
    assert by_column(tmp_path / "polars.arrow", shape) == expected


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [PAIR, TALKS], ids=str)
def test_a_bad_row_costs_its_neighbours_nothing(shape: Shape, name: str, tmp_path: Path) -> None:
    good, bad, rows = b"good", b"b\xffd", 3000
    marks = pa.array([bad if at in (1500, 2999) else good for at in range(rows)], pa.binary()).view(
        pa.string()
    )
    talk = pa.array([conversation("a", "b")] * rows)
    columns = {"prompt": marks, "completion": pa.array([*["b"] * 700, None, *[" "], *["b"] * (rows - 702)])}
    if shape is TALKS:
        turns = pa.StructArray.from_arrays(
            [
                talk.flatten().field("role"),
                talk.flatten().field("content"),
                marks.take(pa.array(np.arange(2 * rows) // 2)),
            ],
            names=["role", "content", "name"],
        )
        columns = {
            "messages": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * 2), turns)
        }
    path = write(tmp_path, name, pa.table(columns))
    found, rejects, notes = by_column(path, shape)
    expected = (
        ["invalid_utf8", "invalid_utf8"]
        if shape is TALKS
        else ["missing_field", "empty_answer", "invalid_utf8", "invalid_utf8"]
    )
    assert [reject.reason for reject in rejects] == expected
    assert (found, rejects, notes) == strictly(path, shape)
    assert len(found) + len(rejects) == rows


def test_slow_rows_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    add = Pending.add
    monkeypatch.setattr(
        Pending, "add", lambda self, record, shape: seen.append(record.row) or add(self, record, shape)
    )
    rows = [{"text": "a\0b" if at == 1234 else " " if at == 8 else "a"} for at in range(3000)]
    found, _, notes = by_column(write(tmp_path, "parquet", pa.Table.from_pylist(rows), rows=1100), SHAPES[5])
    assert (seen, notes, len(found)) == ([8, 1234], {"nul_in_text": 1}, 2999)


TURN = [("role", pa.string()), ("content", pa.string())]


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        (PAIR, {"prompt": pa.string()}),
        (PAIR, {"prompt": pa.string(), "completion": pa.int64()}),
        (PAIR, {"prompt": pa.string(), "completion": pa.string(), "system": pa.timestamp("ns")}),
        (PAIR, {"prompt": pa.list_(pa.struct(TURN)), "completion": pa.list_(pa.struct(TURN))}),
        (PAIR, {"prompt": pa.string(), "completion": pa.dictionary(pa.int8(), pa.string_view())}),
        (SHAPES[2], {"messages": pa.string()}),
        (SHAPES[2], {"messages": pa.list_(pa.string())}),
        (SHAPES[2], {"messages": pa.list_(pa.map_(pa.string(), pa.string()))}),
        (SHAPES[2], {"messages": pa.list_(pa.struct(TURN[:1]))}),
        (SHAPES[2], {"messages": pa.list_(pa.struct([TURN[0], ("content", pa.list_(pa.string()))]))}),
        (SHAPES[2], {"messages": pa.list_(pa.struct([*TURN, ("at", pa.timestamp("ns"))]))}),
        (SHAPES[2], {"messages": pa.list_(pa.struct([*TURN, ("name", pa.int8()), ("name", pa.int8())]))}),
        (Shape("messages", "messages", system_field="messages"), {"messages": pa.list_(pa.struct(TURN))}),
    ],
)  # fmt: skip
def test_types_that_are_not_known_are_left_to_the_strict_reader(
    shape: Shape, columns: dict[str, pa.DataType]
) -> None:
    assert not tables.handles(pa.schema(columns), shape)


def test_columns_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    """One of them has a name as if it were part of another."""
    columns = {"text.more": ["x" * 500] * 50, "text": ["a"] * 50, "other": [["y" * 500]] * 50}
    path = write(tmp_path, "parquet", pa.table(columns))
    leaf = pq.ParquetFile(path).metadata.row_group(0).column(2)
    data = bytearray(path.read_bytes())
    data[leaf.data_page_offset : leaf.data_page_offset + 30] = bytes(30)
    path.write_bytes(data)
    found, rejects, _ = by_column(path, SHAPES[5])
    assert (len(found), rejects) == (50, [])
    with pytest.raises(InputError, match="cut short or damaged"):
        list(readers.read_all(describe(str(path)), max_line_size=1))


@pytest.mark.parametrize("name", FORMATS)
def test_batches_are_bounded_by_bytes(name: str, tmp_path: Path) -> None:
    size = 10_000
    texts = pa.array(["a" * 50_000 if at % 100 == 50 else "b" * (at % 7) + "c" for at in range(1000)])
    many = pa.array(["d" * 1000]).dictionary_encode().take(pa.array(np.zeros(1000, np.int64)))
    for column in (texts, many):
        path = write(tmp_path, name, pa.table({"text": column}))
        file = describe(str(path))
        part = Split(0, 1 if name == "parquet" else file.size, 0, file.size)
        batches = [(staged.batch, took) for staged, took in tables.conversations(file, part, SHAPES[5], size)]
        assert all(took <= size or batch.num_rows == 1 for batch, took in batches)
        assert sum(batch.num_rows for batch, _ in batches) == 1000
        assert len(batches) < 300


def test_a_conversion_is_the_same_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"messages": conversation(f"question {at}", f"answer {at} " * 5)} for at in range(300)]
    rows[7] = {"messages": []}
    path = write(tmp_path, "parquet", pa.Table.from_pylist(rows), rows=90)
    fast = la.convert(path, tmp_path / "fast", tokenizer="builtin", chat_template="chatml", workers=1)
    monkeypatch.setattr(tables, "handles", lambda *_: False)
    slow = la.convert(path, tmp_path / "slow", tokenizer="builtin", chat_template="chatml", workers=1)
    assert fast.totals == slow.totals
    assert fast.totals["written"] == 299
    assert read_rows(tmp_path / "fast") == read_rows(tmp_path / "slow")
    assert read_quarantine(tmp_path / "fast") == read_quarantine(tmp_path / "slow")


def test_one_bad_value_of_a_dictionary_costs_only_its_own_rows(tmp_path: Path) -> None:
    values = pa.array([b"good", b"\xff bad"]).view(pa.string())
    prompts = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), values)
    table = pa.table({"prompt": prompts, "completion": ["a b", "c d", "e f"]})
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    totals = la.convert(path, tmp_path / "out", tokenizer="builtin").totals
    assert (totals["written"], totals["quarantined"]) == (2, {"invalid_utf8": 1})
