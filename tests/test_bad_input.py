"""Every way in which input may be bad, and the answer it gets.

Q: the row goes to quarantine with its place and reason, and its neighbours survive.
F: the run refuses, and names the file and the remedy.
A: accepted.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from helpers import PAIRS, conversation, read_quarantine, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.errors import InputError, LookaheadError, OutputError, TemplateError, TokenizerError
from lookahead_data.model.tokenizer import load_tokenizer

GOOD = b'{"prompt": "one", "completion": "two three four five six seven eight"}\n'
DEEP = b'{"prompt": "one", "completion": "two", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}\n"

QUARANTINED: dict[str, tuple[bytes, str]] = {
    "invalid JSON": (b'{"prompt": "one", "completion": \n', "invalid_json"),
    "two objects on one line": (GOOD.strip() + GOOD, "invalid_json"),
    "raw NUL": (b'{"prompt": "o\0ne", "completion": "two"}\n', "raw_nul"),
    "lone surrogate": (b'{"prompt": "\\ud800", "completion": "two"}\n', "lone_surrogate"),
    "invalid UTF-8": (b'{"prompt": "\xff", "completion": "two"}\n', "invalid_utf8"),
    "duplicate key": (b'{"prompt": "a", "prompt": "b", "completion": "two"}\n', "duplicate_key"),
    "duplicate key further down": (
        b'{"prompt": "a", "completion": "two", "meta": {"a": 1, "a": 2}}\n',
        "duplicate_key",
    ),
    "NaN": (b'{"prompt": "a", "completion": "two", "score": NaN}\n', "not_finite"),
    "Infinity": (b'{"prompt": "a", "completion": "two", "score": -Infinity}\n', "not_finite"),
    "a number beyond floats": (b'{"prompt": "a", "completion": "two", "score": 1e999}\n', "not_finite"),
    "nested 2,000 deep": (DEEP, "nesting"),
    "line over the limit": (b'{"prompt": "' + b"x" * 6000 + b'", "completion": "two"}\n', "line_too_long"),
    "no object": (b'["prompt", "completion"]\n', "not_an_object"),
    "missing field": (b'{"prompt": "one"}\n', "missing_field"),
    "null field": (b'{"prompt": "one", "completion": null}\n', "missing_field"),
    "number for text": (b'{"prompt": "one", "completion": 7}\n', "not_text"),
    "object for text": (b'{"prompt": {"a": 1}, "completion": "two"}\n', "not_text"),
    "empty answer": (b'{"prompt": "one", "completion": ""}\n', "empty_answer"),
    "blank answer": (b'{"prompt": "one", "completion": " \\n"}\n', "empty_answer"),
}


def run(path: Path, out: Path, **changes: Any) -> la.Manifest:
    """Convert with the built-in tokenizer; in every case all rows are accounted for."""
    settings: dict[str, Any] = {"tokenizer": "builtin", "max_line_size": 5000} | changes
    manifest = la.convert(path, out, **settings)
    totals = manifest.totals
    left_out = sum(totals["filtered"].values()) + sum(totals["quarantined"].values())
    assert totals["read"] == totals["written"] + left_out
    assert totals["written"] == len(read_rows(out))
    return manifest


@pytest.mark.parametrize("case", QUARANTINED)
@pytest.mark.parametrize("place", ["first", "middle", "last", "last without line end"])
def test_a_bad_row_is_quarantined_and_its_neighbours_survive(case: str, place: str, tmp_path: Path) -> None:
    line, reason = QUARANTINED[case]
    at = {"first": 0, "middle": 1}.get(place, 2)
    lines = [GOOD, GOOD]
    lines.insert(at, line)
    data = b"".join(lines)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data.rstrip(b"\n") if place.endswith("line end") else data)
    manifest = run(path, tmp_path / "out")
    assert manifest.totals["quarantined"] == {reason: 1}
    assert manifest.totals["written"] == 2
    (reject,) = read_quarantine(tmp_path / "out")
    assert (reject["reason"], reject["row"], reject["line"]) == (reason, at, at + 1)
    assert reject["offset"] == sum(map(len, lines[:at]))
    assert reject["file"] == str(path)
    assert reject["message"]
    assert len(reject["excerpt"]) < 300


CONVERSATIONS: dict[str, tuple[Any, str]] = {
    "unknown role": ([{"role": "wizard", "content": "x"}, *conversation("a", "b")], "unknown_role"),
    "no role": ([{"content": "x"}, *conversation("a", "b")], "unknown_role"),
    "no answer": ([{"role": "user", "content": "x"}], "no_answer"),
    "nothing": ([], "no_answer"),
    "not a list": ("hello", "not_text"),
    "not messages": (["a", "b"], "not_text"),
    "null content": (
        [{"role": "user", "content": None}, {"role": "assistant", "content": "b"}],
        "missing_field",
    ),
    "number content": ([{"role": "user", "content": 5}, {"role": "assistant", "content": "b"}], "not_text"),
    "an image": (
        [{"role": "user", "content": [{"type": "image", "url": "x"}]}, {"role": "assistant", "content": "b"}],
        "unsupported_content",
    ),
    "a tool call": (
        [*conversation("a"), {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}],
        "unsupported_content",
    ),
    "an empty answer in the middle": (conversation("a", "", "c", "d"), "empty_answer"),
    "what the template refuses": (conversation("a", "b", system="s")[::-1], "template_refused"),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_a_bad_conversation_is_quarantined(case: str, tmp_path: Path) -> None:
    messages, reason = CONVERSATIONS[case]
    good = {"messages": conversation("one", "two")}
    path = write_jsonl(tmp_path / "rows.jsonl", [good, {"messages": messages}, good])
    manifest = run(path, tmp_path / "out", chat_template="gemma")
    assert manifest.totals["quarantined"] == {reason: 1}
    assert manifest.totals["written"] == 2


def test_a_refusal_is_told_in_the_templates_own_words(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"messages": conversation("a", "b") + conversation("x", system="s")}]
    )
    run(path, tmp_path / "out", chat_template="gemma")
    (reject,) = read_quarantine(tmp_path / "out")
    assert reject["message"] == "A system message must come first."


def test_a_row_that_breaks_the_template_is_quarantined(tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.content.split('|')[1] if '|' in m.content else m.content + nothing.at.all }}{% endfor %}"
    )
    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": "y"}])
    manifest = run(path, tmp_path / "out", chat_template=str(template))
    assert manifest.totals["quarantined"] == {"template_failed": 1}


def test_a_row_whose_message_the_template_drops_is_quarantined(tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}|{% endif %}{% endfor %}"
    )
    rows = [{"messages": conversation("a", "b", system="dropped")}, {"messages": conversation("a", "b")}]
    manifest = run(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out", chat_template=str(template))
    assert manifest.totals["quarantined"] == {"template_drops_content": 1}
    assert manifest.totals["written"] == 1


def test_columns_of_a_csv_row_must_be_those_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\n"a, b","c\nd"\nonly one\nx,y,z\nnul \0,x\nbad \xff,x\nNA,01234\n')
    manifest = run(path, tmp_path / "out")
    assert manifest.totals["quarantined"] == {"invalid_utf8": 1, "raw_nul": 1, "wrong_columns": 2}
    tokenizer = load_tokenizer("builtin")
    texts = [tokenizer.decode(row["input_ids"]) for row in read_rows(tmp_path / "out")]
    assert "user\na, b The answer begins with: c\nd<|im_end|>" in texts[0]
    assert "user\nNA The answer begins with: 01234<|im_end|>" in texts[1]
    assert [reject["row"] for reject in read_quarantine(tmp_path / "out")] == [1, 2, 3, 4]


def test_a_stray_quote_in_a_csv_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,b\n"x" y,c\nd,e\n')
    manifest = run(path, tmp_path / "out")
    assert (manifest.totals["written"], manifest.totals["quarantined"]) == (2, {"invalid_csv": 1})


def bad_arrow_text(path: Path) -> None:
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(b"ok\xff\xfe")]
    )
    table = pa.table({"prompt": text, "completion": ["a b", "c d"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def test_text_of_an_arrow_file_that_is_not_utf8_is_quarantined(tmp_path: Path) -> None:
    bad_arrow_text(tmp_path / "rows.arrow")
    manifest = run(tmp_path / "rows.arrow", tmp_path / "out")
    assert manifest.totals["quarantined"] == {"invalid_utf8": 1}
    assert manifest.totals["written"] == 1


def _latin(path: Path) -> None:
    path.write_bytes(
        "".join(f'{{"prompt": "café {i}", "completion": "thé"}}\n' for i in range(3)).encode("latin-1")
    )


def _utf16(path: Path) -> None:
    path.write_text(GOOD.decode() * 3, encoding="utf-16")


def _utf16_bare(path: Path) -> None:
    path.write_text(GOOD.decode() * 3, encoding="utf-16-le")


def _cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(os.urandom(3000).hex().encode() + GOOD * 1000)[:-500])


def _cut_zstd(path: Path) -> None:
    path.write_bytes(zstandard.compress(GOOD * 500 + os.urandom(300_000))[:-100])


def _damaged_gzip(path: Path) -> None:
    data = bytearray(gzip.compress(GOOD * 1000))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _parquet(path: Path, cut: int = 0, **columns: Any) -> None:
    pq.write_table(pa.table(columns or {"prompt": ["a"] * 9, "completion": ["b"] * 9}), path)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])


def _twice(path: Path) -> None:
    arrays = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.Table.from_arrays(arrays, names=["prompt", "completion", "prompt"]), path)


REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "Latin-1": ("a.jsonl", _latin, "Latin-1"),
    "UTF-16": ("a.jsonl", _utf16, "UTF-16"),
    "UTF-16 without a mark": ("a.jsonl", _utf16_bare, "UTF-16"),
    "cut gz": ("a.jsonl.gz", _cut_gzip, "cut short or damaged"),
    "damaged gz": ("a.jsonl.gz", _damaged_gzip, "cut short or damaged"),
    "cut zst": ("a.jsonl.zst", _cut_zstd, "cut short or damaged"),
    "no zst at all": ("a.jsonl.zst", lambda path: path.write_bytes(GOOD), "cut short or damaged"),
    "no gz at all": ("a.jsonl.gz", lambda path: path.write_bytes(GOOD), "cut short or damaged"),
    "cut Parquet": ("a.parquet", lambda path: _parquet(path, cut=20), "cut short or damaged"),
    "Parquet of zero bytes": ("a.parquet", lambda path: path.touch(), "it is empty"),
    "Arrow of zero bytes": ("a.arrow", lambda path: path.touch(), "it is empty"),
    "no Arrow at all": ("a.arrow", lambda path: path.write_bytes(GOOD * 9), "is no arrow file"),
    "a column twice in Parquet": ("a.parquet", _twice, "two columns named 'prompt'"),
    "a column twice in CSV": (
        "a.csv",
        lambda path: path.write_text("prompt,prompt\na,b\n"),
        "'prompt' twice",
    ),
    "a quote without end": (
        "a.csv",
        lambda path: path.write_text('prompt,completion\na,"b\n'),
        "line",
    ),
    "numbers for text in Parquet": (
        "a.parquet",
        lambda path: _parquet(path, prompt=[1, 2], completion=["a", "b"]),
        "of type int64, not text",
    ),
    "unknown shape": ("a.jsonl", lambda path: path.write_text('{"foo": "a", "bar": "b"}\n'), "foo, bar"),
    "unknown ending": ("a.docx", lambda path: path.write_text("x"), "no known format"),
    "UTF-32": ("a.jsonl", lambda path: path.write_text(GOOD.decode(), encoding="utf-32"), "UTF-32"),
    "a value beyond the limit in CSV": (
        "a.csv",
        lambda path: path.write_text(f"prompt,completion\na,{'b' * 9000}\n"),
        "Raise --max-line-size",
    ),
    "an array that breaks off": ("a.json", lambda path: path.write_text('[{"prompt": "a"'), "is broken"),
    "something behind the array": (
        "a.json",
        lambda path: path.write_text('[{"prompt": "a", "completion": "b"}] x'),
        "something follows",
    ),
    "one object in JSON": (
        "a.json",
        lambda path: path.write_text('{\n "data": [{"prompt": "a"}]\n}'),
        "single JSON object",
    ),
    "no JSON at all": ("a.json", lambda path: path.write_text("prompt"), "no JSON array"),
    "only bad rows": ("a.jsonl", lambda path: path.write_text("nonsense\n" * 3), "none of the first rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_by_name_and_nothing_is_left(case: str, tmp_path: Path) -> None:
    name, make, words = REFUSED[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError) as caught:
        run(path, tmp_path / "out")
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_damage_that_shows_late_publishes_nothing(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"".join(GOOD.replace(b"one", str(i).encode()) for i in range(5000))))
    path = tmp_path / "late.jsonl.gz"
    path.write_bytes(data[:-8])
    with pytest.raises(InputError, match="cut short or damaged"):
        run(path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_wrong_field_name_is_told_with_those_that_exist(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    with pytest.raises(InputError, match="row 1 has no field 'question'; its fields are: prompt, completion"):
        run(path, tmp_path / "out", input_field="question", output_field="completion")


def test_conflicting_types_across_files_are_refused(tmp_path: Path) -> None:
    _parquet(tmp_path / "a.parquet")
    _parquet(tmp_path / "b.parquet", prompt=["x"], completion=[1.5])
    with pytest.raises(InputError, match=r"b\.parquet: the column 'completion' is of type double"):
        run(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")


@pytest.mark.parametrize("where", ["in", "in/deeper", "."])
def test_output_inside_the_inputs_and_inputs_inside_the_output(where: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "rows.jsonl", PAIRS)
    with pytest.raises(OutputError, match="inside each other"):
        run(tmp_path / "in", tmp_path / where)


def test_an_input_that_changes_meanwhile_ends_the_run(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 500)

    class Meddler(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            with path.open("ab") as file:
                file.write(GOOD)

    with pytest.raises(InputError, match="changed while the job was running"):
        run(path, tmp_path / "out", listener=Meddler())
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_an_input_rewritten_with_its_size_and_time_put_back_ends_the_run(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 500)
    before = path.stat()

    class Forger(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            path.write_bytes(path.read_bytes().swapcase())
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(InputError, match="changed while the job was running"):
        run(path, tmp_path / "out", listener=Forger(), unit_size=2000)
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_input_that_gets_other_rights_meanwhile_is_still_the_same(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 500)

    class Admin(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            path.chmod(0o600 if path.stat().st_mode & 0o040 else 0o640)

    before = path.stat().st_ctime_ns
    run(path, tmp_path / "out", listener=Admin(), unit_size=2000)
    assert path.stat().st_ctime_ns != before
    assert la.verify(tmp_path / "out").ok


def test_paths_in_a_manifest_stay_inside(tmp_path: Path) -> None:
    run(write_jsonl(tmp_path / "rows.jsonl", PAIRS), tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    document = json.loads(manifest.read_text())
    for path in ("../rows.parquet", "/etc/passwd"):
        document["shards"][0]["path"] = path
        manifest.write_text(json.dumps(document))
        with pytest.raises(OutputError, match="outside its folder"):
            la.Manifest.load(tmp_path / "out")


TOKENIZERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "not JSON": (lambda document: "{", "not valid JSON"),
    "not an object": (lambda document: "[]", "not a JSON object"),
    "no model": (lambda document: json.dumps({"version": "1.0"}), "cannot be loaded"),
    "dropout": (
        lambda document: json.dumps(document | {"model": document["model"] | {"dropout": 0.1}}),
        "dropout of 0.1",
    ),
}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_bad_tokenizer_is_refused(case: str, tmp_path: Path) -> None:
    make, words = TOKENIZERS[case]
    document = json.loads(load_tokenizer("builtin")._json)
    (tmp_path / "tokenizer.json").write_text(make(document))
    with pytest.raises(TokenizerError, match=words):
        load_tokenizer(str(tmp_path))


def test_truncation_and_padding_are_switched_off_with_a_word(tmp_path: Path) -> None:
    document = json.loads(load_tokenizer("builtin")._json)
    document["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    document["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(tmp_path))
    assert len(tokenizer.warnings) == 2
    text = "one two three four five six seven"
    expected = load_tokenizer("builtin").encode_ids([text])
    assert tokenizer.encode_ids([text]) == tokenizer.encode_ids([text], special=True) == expected


@pytest.mark.parametrize(
    "source", ["nowhere/at/all", "missing.json", "./gone", "/nonexistent/tokenizer.json"]
)
def test_a_tokenizer_that_is_not_there_is_refused_with_the_ways_to_name_one(source: str) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        load_tokenizer(source)


@pytest.mark.parametrize("text", ["{% if %}", "{{ 'open", "{% generation %}"])
def test_a_template_that_is_not_jinja_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(text)
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    with pytest.raises(TemplateError, match=r"t\.jinja: is not valid Jinja, line 1"):
        run(path, tmp_path / "out", chat_template=str(tmp_path / "t.jinja"))


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{{ m.content.__class__.__mro__ }}{% endfor %}"
    )
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    manifest = run(path, tmp_path / "out", chat_template=str(tmp_path / "t.jinja"))
    assert manifest.totals["quarantined"] == {"template_failed": len(PAIRS)}


ACCEPTED: dict[str, tuple[str, bytes, int]] = {
    "a byte order mark": ("a.jsonl", b"\xef\xbb\xbf" + GOOD * 2, 2),
    "a byte order mark in CSV": ("a.csv", b"\xef\xbb\xbfprompt,completion\na,b\n", 1),
    "a byte order mark in JSON": ("a.json", b"\xef\xbb\xbf[" + GOOD + b"]", 1),
    "CRLF": ("a.jsonl", GOOD.replace(b"\n", b"\r\n") * 2, 2),
    "no line end at the end": ("a.jsonl", (GOOD * 2).rstrip(), 2),
    "blank lines": ("a.jsonl", b"\n" + GOOD + b"\n  \n\r\n" + GOOD + b"\n", 2),
    "U+2028 in the text": ("a.jsonl", GOOD.replace(b"one", "o\u2028n\u0085e".encode()), 1),
    "an empty file": ("a.jsonl", b"", 0),
    "an empty array": ("a.json", b" [ ] ", 0),
    "an empty JSON file": ("a.json", b"", 0),
    "a header alone": ("a.csv", b"prompt,completion\n", 0),
    "gz of several members": ("a.jsonl.gz", gzip.compress(GOOD) + gzip.compress(GOOD * 2), 3),
    "zst of several frames": (
        "a.jsonl.zst",
        zstandard.compress(GOOD) + zstandard.compress(GOOD * 2),
        3,
    ),
    "JSON Lines by the name of JSON": ("a.json", GOOD * 3, 3),
    "an array": ("a.json", b"[" + b",\n".join([GOOD.strip()] * 4) + b"]\n", 4),
    "TSV": ("a.tsv", b"prompt\tcompletion\na, b\tc\n", 1),
    "compressed CSV": ("a.csv.gz", gzip.compress(b"prompt,completion\na,b\n"), 1),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_unusual_but_right_is_accepted(case: str, tmp_path: Path) -> None:
    name, data, rows = ACCEPTED[case]
    (tmp_path / name).write_bytes(data)
    heard: list[str] = []

    class Ear(la.Listener):
        def warned(self, message: str) -> None:
            heard.append(message)

    manifest = run(tmp_path / name, tmp_path / "out", listener=Ear())
    assert manifest.totals["written"] == rows
    assert manifest.totals["quarantined"] == {}
    assert bool(rows) or any("no row" in message for message in heard)


def test_an_escaped_nul_is_accepted_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + GOOD.replace(b"one", b"o\\u0000e"))
    manifest = run(tmp_path / "a.jsonl", tmp_path / "out")
    assert manifest.totals["notes"] == {"nul_in_text": 1}
    assert manifest.totals["written"] == 2


def test_a_linked_folder_that_leads_back_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_jsonl(tmp_path / "in" / "deep" / "a.jsonl", PAIRS)
    (tmp_path / "in" / "deep" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again.jsonl").symlink_to(tmp_path / "in" / "deep" / "a.jsonl")
    (tmp_path / "in" / ".hidden.jsonl").write_text("nonsense")
    (tmp_path / "in" / "notes.txt").write_text("nonsense")
    assert run(tmp_path / "in", tmp_path / "out").totals["read"] == len(PAIRS)


@pytest.mark.parametrize("broken", [InputError("p", where="w", remedy="r"), TemplateError("p")])
def test_errors_survive_the_way_home_from_a_worker(broken: LookaheadError) -> None:
    import pickle

    copy = pickle.loads(pickle.dumps(broken))
    assert (type(copy), str(copy), copy.where, copy.remedy) == (
        type(broken),
        str(broken),
        broken.where,
        broken.remedy,
    )
