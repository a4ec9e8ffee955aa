"""Lines that differ in their texts alone are read as the strict reader reads each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_blocks import LINE, ODD_TEXT, PAIR, SHAPES, by_block, strictly

from lookahead_data.arrays import large_strings
from lookahead_data.source import alike, records
from lookahead_data.source.alike import find_alike
from lookahead_data.source.conversations import Shape

TEXT = st.one_of(ODD_TEXT, st.text(st.sampled_from('ab "\\/\n\t\x07\x7fé漢👩{[:,\u3000'), max_size=8))

TURNS = ["user", "assistant", "user", "assistant"]

FORMS: list[Callable[[str, str], Any]] = [
    lambda a, b: {"prompt": a, "completion": b},
    lambda a, b: {"id": 12, "completion": b, "source": "web", "prompt": a, "score": -1.5},
    lambda a, b: {"system": a, "prompt": b, "completion": a, "text": b},
    lambda a, b: {"instruction": a, "input": "", "output": b, "text": a},
    lambda a, b: {"instruction": a, "input": b, "output": a, "tags": [a, b]},
    lambda a, b: {"prompt": conversation(a)[:1], "completion": [{"role": "assistant", "content": b}]},
    lambda a, b: {"messages": conversation(a, b), "conversations": [], "text": ""},
    lambda a, b: {"messages": conversation(a, b, b, a, system=b), "text": a},
    lambda a, b: {"messages": [{"role": "user", "content": [{"type": "text", "text": a}, b]},
                               {"role": "assistant", "content": b, "thinking": a}]},
    lambda a, b: {"messages": [{"role": r, "content": c, "tool_calls": ""} for r, c in zip(TURNS, [a, b] * 2, strict=True)]},
    lambda a, b: {"messages": [{"role": "user", "content": a}, {"role": a, "content": b}]},
    lambda a, b: {"conversations": [{"from": "human", "value": a}, {"from": "gpt", "value": b}], "images": a},
    lambda a, b: {a: b, "text": a},
    lambda a, b: {"prompt": a, "context": b, "completion": a, "instruction": b, "output": a},
    lambda a, b: {"prompt": a, "history": [[a, b], ["x", a]], "completion": b},
    lambda a, b: {"prompt": a, "reasoning": b, "completion": b, "System Prompt": a},
    lambda a, b: {"prompt": a, "completion": b, "tools": a, "label": b, "mask": "User"},
    lambda a, b: {"prompt": a, "completion": b, "tools": [], "label": "True", "text": a, "image": b},
    lambda a, b: {"prompt": a, "completion": b, "tools": None, "label": 3, "images": [], "weight": None},
    lambda a, b: {"messages": [a, b], "conversations": [b, a, a, b]},
    lambda a, b: {"system": a, "messages": conversation(a, b, system=b), "mask": "User"},
    lambda a, b: {"messages": conversation(a, b), "system_prompt": a, "tools": [{"name": a}], "history": []},
    lambda a, b: {"messages": [{"role": "user", "content": a, "name": ""}, {"role": "assistant", "content": b, "weight": 0}, {"role": "assistant", "content": b}]},
    lambda a, b: {"messages": [{"role": "user", "parts": [{"text": a}]}, {"role": "model", "parts": [{"text": b}]}]},
    lambda a, b: {"conversations": [{"from": "human", "value": a, "weight": None}, {"from": "function_call", "value": b}, {"from": "gpt", "value": b}]},
]  # fmt: skip


NUMBERS = st.sampled_from([0, 1, 7, 10, 123, 10**17, 10**18, 10**30, -1, 1.5, 1e300, True, None])

COUNTED: list[Callable[[str, Any], Any]] = [
    lambda a, n: {"id": n, "prompt": a, "completion": a, "text": a},
    lambda a, n: {"prompt": a, "n": n, "completion": "b", "m": 5, "k": n},
    lambda a, n: {"messages": [{"role": "user", "content": a, "n": n}, {"role": "assistant", "content": "b"}], "images": n},
    lambda a, n: {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": "b", "images": n}]},
    lambda a, n: {"conversations": [{"from": "human", "value": a}, {"from": "gpt", "value": a}], "x": [n, 2, {"n": n}]},
    lambda a, n: {"instruction": a, "input": n, "output": a, "text": n},
    lambda a, n: {"text": a, "1": [n], "2": "", "3": n},
]  # fmt: skip


def written(form: Callable[[str, Any], Any], texts: list[tuple[str, Any]], style: str) -> list[bytes]:
    """Lines as one program writes them."""
    lines = []
    for a, b in texts:
        line = json.dumps(
            form(a, b), ensure_ascii=style == "ascii", separators=(",", ":") if style == "dense" else None
        )
        lines.append(line.encode("utf-8", "surrogatepass") + (b"\r" if style == "windows" else b""))
    return lines


STYLES = st.sampled_from(["plain", "ascii", "dense", "windows"])
ALIKE = st.one_of(
    st.builds(written, st.sampled_from(FORMS), st.lists(st.tuples(TEXT, TEXT), max_size=5), STYLES),
    st.builds(written, st.sampled_from(COUNTED), st.lists(st.tuples(TEXT, NUMBERS), max_size=5), STYLES),
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.one_of(ALIKE, st.lists(LINE, max_size=2)), max_size=4),
    part=st.sampled_from([1, 100, 1 << 20]),
    tries=st.sampled_from([1, 3, 1000]),
    end=st.booleans(),
)
def test_lines_are_read_as_the_strict_reader_reads_each(
    shape: Shape, groups: list[list[bytes]], part: int, tries: int, end: bool, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line for lines in groups for line in lines) + (b"\n" if end else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "FEWEST", 1)
        patch.setattr(alike, "PART", part)
        patch.setattr(alike, "TRIES", tries)
        found = by_block(path, shape, 10_000)
    assert found == strictly(path, shape)


def test_of_lines_alike_one_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    honest = records.parse_json
    monkeypatch.setattr(alike, "parse_json", lambda line: parsed.append(line) or honest(line))
    monkeypatch.setattr("lookahead_data.source.blocks._decode", None)
    for shape, form in [
        (PAIR, FORMS[0]),
        (SHAPES[1], FORMS[3]),
        (SHAPES[1], FORMS[4]),
        (SHAPES[2], FORMS[7]),
        (SHAPES[3], lambda a, b: {**FORMS[11](a, b), "images": []}),
        (SHAPES[4], lambda a, b: {"text": a, "source": b}),
        (PAIR, lambda a, b: {"id": 1 + len(b), "prompt": a, "completion": b, "score": len(a)}),
    ]:
        parsed.clear()
        texts = [(f'a "quoted" text {n} \\ é 漢\n', "line\n" * (n % 50) + ".") for n in range(300)]
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b"\n".join(written(form, texts, "plain")))
        rows, rejects, _ = by_block(path, shape, 1 << 20)
        assert (len(rows), rejects, len(parsed)) == (300, [], 1)


def test_patterns_tell_what_is_read_and_where() -> None:
    lines = [b'{"id": "%d", "completion": "b\\n%d", "prompt": "a"}\n' % (n, n) for n in range(20)]
    texts = pa.array([line.decode() for line in lines], pa.large_string())
    (found,) = find_alike(texts, np.ones(20, bool), PAIR)
    heads = [b'{"id": "', b'", "completion": "', b'", "prompt": "', b'"}']
    assert [stretch.head for stretch in found.pattern.stretches] == heads
    assert found.pattern.slots == (2, 6, 10)
    assert [said.content for said in found.pattern.messages] == [(2,), (1,)]
    assert found.pattern.read == [1, 2]
    assert found.contents(1).to_pylist() == [f"b\n{n}" for n in range(20)]
    raw = b"".join(lines)
    assert [raw[a:b] for a, b in zip(found.starts[:, 1], found.ends[:, 1], strict=True)] == [
        b"b\\n%d" % n for n in range(20)
    ]
    assert found.take(np.array([3, 5])).messages().to_pylist() == [
        [
            {"role": "user", "content": "a", "reasoning_content": None},
            {"role": "assistant", "content": f"b\n{n}", "reasoning_content": None},
        ]
        for n in (3, 5)
    ]


@pytest.mark.parametrize(
    "odd",
    [b"01", b"0", b"", b"-1", b"1.5", b"1e3", b"9" * 19, b"9" * 5000, b"1 2", b"x", b"null", b"\xd9\xa1"],
)
def test_a_number_is_one_as_json_writes_it(odd: bytes, tmp_path: Path) -> None:
    lines = [b'{"id": %d, "text": "a"}' % n for n in range(1, 40)]
    lines[20] = b'{"id": %b, "text": "a"}' % odd
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert by_block(path, SHAPES[4], 1 << 20) == strictly(path, SHAPES[4])
    bounds = np.cumsum([0, *(len(line) for line in lines)], dtype=np.int64)
    texts = large_strings(bounds, np.frombuffer(b"".join(lines), np.uint8))
    (found,) = find_alike(texts, np.ones(len(lines), bool), SHAPES[4])
    assert found.places.tolist() == [at for at in range(39) if at != 20]


def test_a_few_very_long_texts_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([json.dumps({"text": "a" * 100}) for _ in range(30)], pa.large_string())
    whole = np.ones(30, bool)
    assert [len(found.places) for found in find_alike(texts, whole, SHAPES[4])] == [30]
    monkeypatch.setattr(alike, "PART", 200)
    monkeypatch.setattr(alike, "_Part", None)
    assert find_alike(texts, whole, SHAPES[4]) == []
