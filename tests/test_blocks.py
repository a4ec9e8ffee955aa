"""Reading JSON Lines by the block gives what the strict reader gives line by line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import conversation, given_columns
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_bad_input import QUARANTINED

from lookahead_data.source import blocks
from lookahead_data.source.blocks import Block
from lookahead_data.source.brackets import hold_one_value
from lookahead_data.source.conversations import Shape, converse
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Split

LIMIT = 5000
PAIR = Shape("prompt-completion", "prompt", "completion", system_field="system")
SHAPES = [
    PAIR,
    Shape("alpaca", "instruction", "output", context_fields=("input",)),
    Shape("messages", "messages"),
    Shape("sharegpt", "conversations"),
    Shape("text", "text"),
]

ODD_TEXT = st.sampled_from(
    [
        "",
        " ",
        "\u2028",
        "\u0000",
        "é漢👩‍",
        '"prompt": "x"',
        '\\"',
        "a\\",
        '{"a": [',
        "null",
        "\ufeff",
        "x" * 50,
        "\x1c",
        "1e999",
    ]
)
SCALAR = st.one_of(
    ODD_TEXT, st.text(max_size=6), st.none(), st.integers(), st.booleans(), st.floats(allow_nan=True)
)
ROLE = st.sampled_from(["user", "assistant", "system", "human", "gpt", "GPT", "wizard", None, 3])
TURN = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, ROLE, SCALAR),
    st.builds(lambda role, text: {"from": role, "value": text}, ROLE, SCALAR),
    st.builds(lambda text, more: {"role": "assistant", "content": text, **more}, ODD_TEXT, st.sampled_from(
        [{"name": "x"}, {"thinking": "hm"}, {"tool_calls": []}, {"tool_calls": [1]}, {"weight": 0}])),
    SCALAR,
)  # fmt: skip
TALK = st.one_of(
    st.lists(TURN, max_size=4),
    st.lists(st.text(max_size=5), min_size=2, max_size=4).map(lambda texts: conversation(*texts)),
    SCALAR,
)
NAMES = ["prompt", "completion", "system", "instruction", "input", "output", "text", "id"]
MEANT = {
    "tools": st.sampled_from([None, [], "[]", "", [{"name": "f"}]]),
    "context": ODD_TEXT,
    "history": st.sampled_from([None, [], [["a", "b"]], "x"]),
    "System-Prompt": ODD_TEXT,
    "reasoning": st.sampled_from(["on", "because", "", None]),
    "label": st.sampled_from([True, "false", 3, "x", None]),
    "images": st.sampled_from([[], None, ["x"]]),
    "chat_template_kwargs": st.sampled_from([{}, None, {"a": None}, {"a": 1}]),
    "weight": st.sampled_from([None, 0, 1]),
    "mask": st.sampled_from(["User", "Assistant", None, 3]),
}
MEANT_TURNS = st.lists(
    st.builds(
        lambda turn, more: {**turn, **more},
        st.sampled_from(conversation("a", "b", system="s")),
        st.sampled_from([{}, {}, {"weight": 0}, {"weight": None}, {"name": "x"}, {"train": True}, {"loss": "false"},
                         {"thinking": ""}, {"reasoning_content": ""}, {"prefix": True}, {"images": []},
                         {"tool_calls": [{"name": "f", "arguments": "{}"}]}, {"refusal": None}]),
    ),
    max_size=4,
)  # fmt: skip
RECORD = st.one_of(
    st.fixed_dictionaries(
        {"prompt": st.just("p"), "completion": st.just("c"), "text": st.just("t"), "messages": MEANT_TURNS},
        optional=MEANT,
    ),
    st.dictionaries(st.sampled_from(NAMES), SCALAR, max_size=8),
    st.fixed_dictionaries(dict.fromkeys(NAMES, ODD_TEXT)),
    st.builds(lambda a, b: {"messages": a, "conversations": b}, TALK, TALK),
)
LINE = st.one_of(
    RECORD.map(lambda record: json.dumps(record).encode()),
    RECORD.map(lambda record: json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.sampled_from([line.rstrip(b"\n") for line, _ in QUARANTINED.values()]),
    st.sampled_from(
        [
            b"",
            b"  ",
            b"\r",
            b"[]",
            b"1",
            b"\xef\xbb\xbf{}",
            b'{"text": "a"} ',
            b'{"te\\u0078t": "a"}',
            b'{"text": "\\ud83d\\ude00"}',
            b'{"text": "\\\\ud83d\\ude00"}',
            b'{"text": "\\ud83d\\ud83d\\ude00\\ude00"}',
            b'{"x\\"text": "a", "text": "b"}',
            b'{"x\\"text": "a", "id": "b"}',
            b'{"text" : "b"}',
        ]
    ),
)


def strictly(path: Path, shape: Shape) -> Any:
    file = describe(str(path))
    records = jsonl.read(file, Split(0, file.size, 0, file.size), max_line_size=LIMIT)
    return told(converse(records, shape))


def by_block(path: Path, shape: Shape, size: int) -> Any:
    file = describe(str(path))
    found = jsonl.blocks(file, Split(0, file.size, 0, file.size), size, LIMIT)
    return told(blocks.conversations((Block(*block) for block in found), shape, LIMIT))


def told(batches: Any) -> Any:
    rows: list[Any] = []
    rejects: list[Any] = []
    notes: dict[str, int] = {}
    for staged, _ in batches:
        rows += given_columns(staged.batch)
        rejects += [(r.row, r.offset, r.reason) for r in staged.rejects]
        for name, count in staged.notes.items():
            notes[name] = notes.get(name, 0) + count
    return rows, rejects, notes


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=12), size=st.sampled_from([1, 60, 10_000]), end=st.booleans())
@example(lines=[b'{"text":"a","x":[{}', b'{"text":"b"}]}', b'{"text":"a"},{}'], size=10_000, end=True)
@example(lines=[line.rstrip(b"\n") for line, _ in QUARANTINED.values()], size=10_000, end=True)
@example(lines=[b'{"text": "a"},{}', b'{"text": "b"}'], size=10_000, end=True)
@example(lines=[b'{"text": "a", "x": [{}', b'{"text": "b"}]}', b'{"text": "c"}'], size=10_000, end=True)
def test_blocks_are_read_as_their_lines_are(
    shape: Shape, lines: list[bytes], size: int, end: bool, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + (b"\n" if end else b""))
    assert by_block(path, shape, size) == strictly(path, shape)


def test_ordinary_lines_never_reach_the_strict_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("read line by line")

    monkeypatch.setattr(jsonl, "record_of", never)
    rows: list[tuple[Shape, dict[str, Any]]] = [
        (PAIR, {"id": 3, "prompt": 'a "quoted" é\n', "completion": "b", "tags": ["x", {"y": 1}]}),
        (PAIR, {"system": None, "prompt": "a", "completion": "b"}),
        (SHAPES[1], {"instruction": "a", "input": "", "output": "b"}),
        (SHAPES[2], {"messages": conversation("a", "b", "c", "d", system="s"), "id": 1}),
        (SHAPES[3], {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        (SHAPES[4], {"text": "a text"}),
        (PAIR, {"prompt": 'say "x": 👩‍👩‍👧', "completion": "b 🎉", **dict.fromkeys("abcdefgh", 0)}),
    ]
    for (shape, row), ascii_only in itertools.product(rows, (True, False)):
        path = tmp_path / "rows.jsonl"
        path.write_text((json.dumps(row, ensure_ascii=ascii_only) + "\n") * 50, encoding="utf-8")
        found, rejects, _ = by_block(path, shape, 1000)
        assert (len(found), rejects) == (50, [])


def test_one_broken_line_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    good = b'{"text": "a"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(good * 500 + b'{"text": "a", "x": [1,}\n' + good * 500)
    rows, rejects, _ = by_block(path, SHAPES[4], 1 << 20)
    assert len(rows) == 1000
    assert rejects == [(500, 7000, "invalid_json")]


def test_a_line_is_whole_if_python_says_so() -> None:
    texts = [
        b'{}', b'{"a": [1, {"b": "}"}]}', b' {"a": 1} ', b'{}{}', b'{},{}', b'{"a": [{}', b'{"b": 1}]}', b'{"a": "x}',
        b'{"a": "\\\\"}', b'{"a": "\\"}', b'{"a": "\\\""}', b'', b'1', b'"{"', b'{"', b'}{', b'[{}]', b'{"a": "' + b"\\" * 200 + b'"}',
        b'{"a": ' * 501 + b"1" + b"}" * 501,
    ]  # fmt: skip
    raw = np.frombuffer(b"".join(texts), np.uint8)
    bounds = np.cumsum([0, *map(len, texts)])
    whole = hold_one_value(raw, bounds)
    for text, found in zip(texts, whole.tolist(), strict=True):
        try:
            expected = isinstance(json.loads(text), dict | list) and len(text) < 200
        except ValueError:
            expected = False
        assert found == expected, text
