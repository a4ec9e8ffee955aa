"""Reading a JSON array by the block gives what the strict reader gives element by element."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard
from helpers import conversation, given_columns, read_quarantine, read_rows
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_blocks import LIMIT, LINE, PAIR, RECORD, SHAPES

import lookahead_data as la
from lookahead_data.errors import InputError
from lookahead_data.source import arrays_of_json, blocks, readers
from lookahead_data.source.arrays_of_json import conversations
from lookahead_data.source.conversations import Pending, Shape
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import json_array
from lookahead_data.source.records import Split, open_bytes

BOM = b"\xef\xbb\xbf"
SIZES = st.sampled_from([1, 60, 10_000])
TEXT = SHAPES[4]
TRICKY = ["}, {", "[", "]}", '"', '\\"', "\\", "\\\\", '\\\\"', '{"text": "', "\u2028", "é漢👩‍", "a, b"]
ODD_RECORD = st.dictionaries(
    st.sampled_from([*TRICKY, "text", "prompt", "completion"]),
    st.lists(st.sampled_from(TRICKY), max_size=3).map("".join),
    max_size=4,
).map(lambda record: {"text": "a", "prompt": "b", "completion": "c", **record})
SPACES = st.text(" \t\r\n", max_size=3).map(str.encode)
BETWEEN = st.builds(lambda before, behind: before + b"," + behind, SPACES, SPACES)


@st.composite
def dumped(draw: st.DrawFn, records: st.SearchStrategy[Any] = RECORD | ODD_RECORD) -> bytes:
    """A record as JSON, on one line or many."""
    text = json.dumps(
        draw(records),
        indent=draw(st.sampled_from([None, None, 0, 1, 4, "\t", "\r\n"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\n", " :\n")])),
        ensure_ascii=draw(st.booleans()),
    )
    return text.encode("utf-8", "surrogatepass")


@st.composite
def arrays(draw: st.DrawFn, elements: st.SearchStrategy[bytes], between: st.SearchStrategy[bytes]) -> bytes:
    found = draw(st.lists(elements, max_size=12))
    body = b"".join(draw(between) + element if at else element for at, element in enumerate(found))
    ends = [draw(SPACES) for _ in range(4)]
    return draw(st.sampled_from([b"", BOM])) + ends[0] + b"[" + ends[1] + body + ends[2] + b"]" + ends[3]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """An array with something wrong at any place; sometimes it makes no difference."""
    data = draw(arrays(dumped(), BETWEEN))
    at = draw(st.integers(0, len(data)))
    new = draw(
        st.sampled_from(
            [
                *(
                    b",",
                    b",,",
                    b"]",
                    b"[",
                    b"}",
                    b"{",
                    b'"',
                    b"\\",
                    b" ",
                    b"\n",
                    b"\0",
                    b"\x0c",
                    b"\xff",
                    b"7",
                ),
                *(b", 7, ", b', "x", ', b", null,", b", [{}],", b", {},", b"{}", b"NaN", b"\xc3", b"e", b":"),
            ]
        )
    )
    kind = draw(st.sampled_from(["cut", "change", "insert", "comma", "behind"]))
    if kind == "comma":  # something between two elements, more or less
        commas = [place for place, byte in enumerate(data) if byte == ord(",")] or [0]
        at = draw(st.sampled_from(commas))
        return data[:at] + new + data[at + draw(st.integers(0, 1)) :]
    return {
        "cut": data[:at],
        "change": data[:at] + new[:1] + data[at + 1 :],
        "insert": data[:at] + new + data[at:],
        "behind": data + new,
    }[kind]


def write(folder: Path, data: bytes, name: str = "rows.json") -> Path:
    path = folder / name
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)(data)
    path.write_bytes(packed)
    return path


def strictly(path: Path, shape: Shape, limit: int = LIMIT) -> Any:
    """All rows, rejects and notes up to an error, and the error."""
    file, pending = describe(str(path)), Pending()
    error = None
    try:
        for record in readers.read_all(file, max_line_size=limit):
            pending.add(record, shape)
    except InputError as found:
        error = str(found)
    staged = pending.staged()
    return given_columns(staged.batch), staged.rejects, dict(staged.notes), error


def by_block(path: Path, shape: Shape, size: int, limit: int = LIMIT) -> Any:
    file = describe(str(path))
    rows: list[Any] = []
    rejects: list[Any] = []
    notes: dict[str, int] = {}
    try:
        for staged, _ in conversations(file, Split(0, file.size, 0, file.size), shape, limit, size):
            staged.batch.validate(full=True)
            rows += given_columns(staged.batch)
            rejects += staged.rejects
            for name, count in staged.notes.items():
                notes[name] = notes.get(name, 0) + count
    except InputError as error:
        return rows, rejects, notes, str(error)
    return rows, rejects, notes, None


def same(path: Path, shape: Shape, size: int, limit: int = LIMIT) -> None:
    expected, found = strictly(path, shape, limit), by_block(path, shape, size, limit)
    if expected[3] is None:
        assert found == expected
        return
    assert found[3] == expected[3]
    # Rows before the error may be lost with their batch, or with the block that is not UTF-8.
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert all(map(operator.eq, one, other))


QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
@QUICK
@given(data=arrays(dumped(), BETWEEN), size=SIZES)
def test_arrays_are_read_as_their_elements_are(shape: Shape, data: bytes, size: int, tmp_path: Path) -> None:
    same(write(tmp_path, data), shape, size)


@pytest.mark.parametrize("shape", [PAIR, SHAPES[2], TEXT], ids=lambda shape: shape.kind)
@QUICK
@given(data=arrays(LINE, st.just(b",\n")) | broken(), size=SIZES)
@example(data=b"", size=1)
@example(data=b" \n", size=1)
@example(data=BOM, size=1)
@example(data=b"7", size=60)
@example(data=b'\\"[{"text": "a"}]', size=60)
@example(data=b'[\\"{"text": "a"}]', size=60)
@example(data=b'[{"text": "a"}\\]', size=60)
@example(data=b'[{"text": "a"}, {"text": "b"}', size=60)
@example(data=b'[{"text": "a"}, {"text": "b', size=1)
@example(data=b'[{"text": "a"}}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"], {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "b"}}', size=60)
@example(data=b'[{"text": "a"} {"text": "b"}]', size=60)
@example(data=b'[,{"text": "a"}]', size=60)
@example(data=b'[{"text": "a"},]', size=1)
@example(data=b'[{"text": "a"}] []', size=1)
@example(data=b'[{"text": "a", "text": "b", "x": }, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "a\nb"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "a\\\\\\\\\\"b"}, {"text": "c\\\\\\\\"}]', size=60)
@example(data=b'[{"text": "' + b"\\\\" * 100 + b'"}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "b", "x": ' + b"[" * 600 + b"]" * 600 + b"}, {}]", size=60)
@example(data=b'[{"text": "a"}, {"text": "b", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}, {}]", size=60)
@example(data=b'[{"text": "a", "x": ' + b"9" * 4500 + b'}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "\xff"}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, \xff {"text": "b"}]', size=60)
@example(data=b'[{"text": "' + b"a" * 6000 + b'"}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "' + b"b" * 3_000_000 + b'"}, {"text": "b"}]', size=60)
@example(data=b'[{"text": "a"}, {"text": "' + b"b" * 3_000_000 + b'"}, {"text": "b"}]', size=1 << 22)
@example(data=b'[{"text": "a"}, ' + b" " * 9000 + b'{"text": "b"}' + b"\n" * 9000 + b"]", size=60)
@example(data=b"[" + b"1," * 9000 + b"1]", size=60)
def test_what_is_odd_is_told_as_the_strict_reader_tells_it(
    shape: Shape, data: bytes, size: int, tmp_path: Path
) -> None:
    if data.removeprefix(BOM).lstrip()[:1] in (b"[", b""):
        same(write(tmp_path, data), shape, size)


ORDINARY: list[tuple[Shape, dict[str, Any]]] = [
    (PAIR, {"id": 3, "prompt": 'a "quoted" é\n', "completion": "b", "tags": ["x", {"y": 1}]}),
    (PAIR, {"system": None, "prompt": "a", "completion": "\\"}),
    (SHAPES[1], {"instruction": "a", "input": "", "output": "b"}),
    (SHAPES[2], {"messages": conversation("a", "b", "c", "d", system="s"), "id": 1}),
    (SHAPES[3], {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
    (TEXT, {"text": '}, { ] [ \\" \\\\'}),
    (PAIR, {"prompt": 'say "x": 👩‍👩‍👧', "completion": "b 🎉", **dict.fromkeys("abcdefgh", 0)}),
]


def never(*_: object, **__: object) -> None:
    raise AssertionError("read element by element")


@pytest.mark.parametrize(("shape", "row"), ORDINARY)
def test_ordinary_elements_never_reach_the_strict_reader(
    shape: Shape, row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "record_of", never)
    monkeypatch.setattr(json_array, "read", never)
    names = itertools.cycle(["rows.json", "rows.json.gz", "rows.json.zst"])
    for name, ascii_only, indent in zip(names, [True, False] * 2, [None, 0, 4, "\t"], strict=False):
        text = json.dumps([row] * 50, ensure_ascii=ascii_only, indent=indent)
        found, rejects, _, error = by_block(write(tmp_path, BOM + text.encode(), name), shape, 1000)
        assert (len(found), rejects, error) == (50, [], None)


def test_only_doubtful_elements_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    record_of = json_array.record_of
    monkeypatch.setattr(json_array, "read", never)
    monkeypatch.setattr(
        json_array, "record_of", lambda text, row: (seen.append(row), record_of(text, row))[1]
    )
    rows: list[dict[str, Any]] = [{"text": f"text {at}"} for at in range(1000)]
    rows[500], rows[700], rows[701] = {"text": 7}, {"text": "a", "x": float("nan")}, {"text": "a\0"}
    path = write(tmp_path, json.dumps(rows, indent=2).encode())
    found, rejects, notes, error = by_block(path, TEXT, 3000)
    assert {500, 700, 701} <= set(seen)
    assert len(seen) < 3 + blocks.SMALLEST  # one that does not decode takes its neighbours with it
    assert [(reject.row, reject.offset, reject.reason) for reject in rejects] == [
        (500, None, "not_text"),
    ]
    assert (notes, error) == ({"nul_in_text": 1}, None)
    assert [row["row"] for row in found] == sorted(set(range(1000)) - {500})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are asked for at a time."""
    sizes: list[int] = []

    class Told:
        def __init__(self, stream: BinaryIO) -> None:
            self._stream = stream

        def read(self, size: int) -> bytes:
            sizes.append(size)
            return self._stream.read(size)

    @contextlib.contextmanager
    def told(file: Any) -> Iterator[Any]:
        with open_bytes(file) as stream:
            yield Told(stream)

    monkeypatch.setattr(arrays_of_json, "open_bytes", told)
    return sizes


def test_the_file_is_read_in_blocks(asked: list[int], tmp_path: Path) -> None:
    size = 10_000
    texts = ["b" * 50_000 if at == 700 else "a" * (at % 200) for at in range(1, 1500)]
    path = write(tmp_path, json.dumps([{"text": text} for text in texts], indent=4).encode())
    file = describe(str(path))
    taken = 0
    for staged, took in conversations(file, Split(0, file.size, 0, file.size), TEXT, 1 << 20, size):
        taken += took
        assert staged.batch.num_rows + len(staged.rejects) < 500
        assert sum(asked) - taken < 150_000
    assert file.size - 10 < taken <= file.size
    assert max(asked) < 60_000  # what is read at once grows with the longest element alone
    assert len(asked) > 15


@pytest.mark.parametrize("rest", [b'{"text": "' + b"b" * 50_000, b" " * 50_000, b"1," * 50_000])
def test_no_more_than_an_element_may_have_is_held(rest: bytes, asked: list[int], tmp_path: Path) -> None:
    same(write(tmp_path, b'[{"text": "a"}, ' + rest), TEXT, 1000)
    assert LIMIT < sum(asked) <= LIMIT + 2000


@pytest.mark.parametrize("name", ["rows.json.gz", "rows.json.zst"])
def test_a_compressed_array_that_is_cut_is_told_as_the_strict_reader_tells_it(
    name: str, tmp_path: Path
) -> None:
    data = json.dumps([{"text": f"{at} {at * at}"} for at in range(5000)], indent=1).encode()
    path = write(tmp_path, data, name)
    whole = path.read_bytes()
    same(path, TEXT, 10_000)
    for stop in (len(whole) - 3, len(whole) // 2):
        path.write_bytes(whole[:stop])
        same(path, TEXT, 10_000)
    # What is broken before the damage is what the strict reader comes to first.
    path = write(tmp_path, b'[{"text": "a"} 7' + data, name)
    path.write_bytes(path.read_bytes()[:-3])
    same(path, TEXT, 10_000)


@pytest.mark.parametrize("lines", [False, True])
def test_a_conversion_is_the_same_either_way(
    lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"instruction": f"do {at}", "input": "", "output": f"done {at} " * 5} for at in range(300)]
    rows[7]["output"] = ""
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=2)
    path = write(tmp_path, text.encode())
    wanted: dict[str, Any] = {"tokenizer": "builtin", "chat_template": "chatml", "workers": 1}
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "handles", lambda _: False)
        slow = la.convert(path, tmp_path / "slow", **wanted)
    planned = json_array.read

    def head(*args: Any, **kwargs: Any) -> Any:  # planning looks at the first rows
        return itertools.chain(itertools.islice(planned(*args, **kwargs), 100), map(never, [0]))

    monkeypatch.setattr(json_array, "read", head)
    fast = la.convert(path, tmp_path / "fast", **wanted)
    assert fast.totals == slow.totals
    assert fast.totals["written"] == 299
    assert read_rows(tmp_path / "fast") == read_rows(tmp_path / "slow")
    assert read_quarantine(tmp_path / "fast") == read_quarantine(tmp_path / "slow")
