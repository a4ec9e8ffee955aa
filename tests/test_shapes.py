"""Corpora of several shapes in one job: each file is recognized by itself, and its rows are what they are alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, conversation, read_jsonl, read_quarantine, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.config import CONNECTOR
from lookahead_data.errors import InputError, LookaheadError, SettingsError, TemplateError
from lookahead_data.source.conversations import Shape
from lookahead_data.source.discover import discover
from lookahead_data.source.recognize import SAMPLES, recognize

Rows = list[dict[str, Any]]


def sharegpt(*contents: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if at % 2 else "human", "value": text} for at, text in enumerate(contents)]


CORPORA: dict[str, Rows] = {
    "alpaca": [
        {"instruction": f"Add one to it ({n}).", "input": f"{n}" * (n % 2), "output": f"It becomes {n + 1}."}
        for n in range(40)
    ],
    "sharegpt": [
        {"system": f"Be brief, {n}.", "conversations": sharegpt(f"Hello {n}!", "Hi there, you.", "Who?", f"I am {n}.")}
        for n in range(40)
    ],
    "messages": [
        {"messages": conversation(f"What is {n}?", f"It is the number {n}.", system="Know numbers."), "id": n}
        for n in range(40)
    ],
    "prompt-completion": [*PAIRS, *({"prompt": f"Say {n}.", "completion": f"So I say {n} now."} for n in range(36))],
    # All of its fields are Alpaca's too.
    "input and output": [{"input": f"And {n}?", "output": f"That is {n}, again."} for n in range(40)],
}  # fmt: skip


def write(path: Path, rows: Rows) -> Path:
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=15)
    return path


def convert(inputs: Any, out: Path, **changes: Any) -> la.Manifest:
    return la.convert(
        inputs, out, **({"tokenizer": "builtin", "engine": "tokenizers", "workers": 1} | changes)
    )


def learned(out: Path) -> list[tuple[list[int], list[int]]]:
    return [(row["input_ids"], row["labels"]) for row in read_rows(out)]


def shapes_of(paths: Iterable[Path], **changes: Any) -> tuple[list[Shape], list[str]]:
    found = recognize(discover(paths), la.Settings(**changes))
    return found.shapes, found.warnings


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "both"])
@pytest.mark.parametrize("turned", [False, True])
def test_mixed_corpora_give_the_rows_that_each_gives_by_itself(
    ending: str, turned: bool, workers: int, tmp_path: Path
) -> None:
    endings = ["jsonl", "parquet"] if ending == "both" else [ending]
    paths = [
        write(tmp_path / f"{name}.{endings[at % len(endings)]}", rows)
        for at, (name, rows) in enumerate(CORPORA.items())
    ]
    if turned:
        paths.reverse()
    expected = []
    for path in paths:
        convert(path, tmp_path / f"{path.stem}-alone")
        expected += learned(tmp_path / f"{path.stem}-alone")
    manifest = convert(paths, tmp_path / "out", workers=workers, unit_size=2000)
    assert learned(tmp_path / "out") == expected
    assert len(expected) == sum(map(len, CORPORA.values())) == manifest.totals["written"]
    kinds = {Path(entry["path"]).stem: entry["shape"]["kind"] for entry in manifest.document["inputs"]}
    assert kinds == {name: "prompt-completion" if " " in name else name for name in CORPORA}
    assert manifest.document["warnings"] == []
    found = la.verify(tmp_path / "out", deep=10_000)
    assert (found.ok, found.warnings, found.compared) == (True, (), len(expected))


def test_a_mixed_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in CORPORA.items()]
    convert(paths, tmp_path / "expected", unit_size=2000)

    class Stop(la.Listener):
        batches = 0

        def advanced(self, rows: int, tokens: int, size: int) -> None:
            self.batches += 1
            if self.batches == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(paths, tmp_path / "out", unit_size=2000, listener=Stop())
    done = list((tmp_path / "out" / "data").glob("*.parquet"))
    assert 0 < len(done) < 6
    convert(paths, tmp_path / "out", unit_size=2000)
    assert learned(tmp_path / "out") == learned(tmp_path / "expected")
    for name in ("data/train-00000-00000.parquet", "_job/plan.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_the_shapes_are_told_with_their_files(tmp_path: Path) -> None:
    class Told(la.Listener):
        shape = ""

        def planned(self, *, size: int, units: int, shape: str) -> None:
            self.shape = shape

    told = Told()
    paths = [
        write_jsonl(tmp_path / f"{at}.jsonl", CORPORA[name])
        for at, name in enumerate(["alpaca", "messages", "alpaca"])
    ]
    convert(paths[::2], tmp_path / "one", listener=told)
    assert told.shape == "alpaca (instruction, input, output)"
    convert(paths, tmp_path / "out", listener=told)
    both = "alpaca (instruction, input, output) in 2 files, messages (messages) in 1 file"
    assert told.shape == both
    la.verify(tmp_path / "out", listener=told)
    assert told.shape == both


# -------------------------------------------------------------------------- what the other files decide


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("row", "option"),
    [
        ({"instruction": "I", "output": "O"}, {"input": "x"}),
        ({"prompt": "I", "completion": "O"}, {"system": "S"}),
        ({"conversations": sharegpt("I", "O")}, {"system": "S"}),
    ],
)
def test_an_optional_field_that_comes_late_is_read_where_another_file_has_it(
    row: dict[str, Any], option: dict[str, Any], turned: bool, tmp_path: Path
) -> None:
    late = write_jsonl(tmp_path / "late.jsonl", [row] * SAMPLES + [row | option])
    early = write_jsonl(tmp_path / "early.jsonl", [row | option, row])
    paths = [late, early] if turned else [early, late]
    (first, second), warnings = shapes_of(paths)
    assert (first, warnings) == (second, [])
    assert next(iter(option)) in first.all_fields
    convert(paths, tmp_path / "out", mode="none")
    rows = learned(tmp_path / "out")
    if turned:
        rows = rows[SAMPLES + 1 :] + rows[: SAMPLES + 1]
    assert rows[-1] == rows[0] != rows[1]
    assert set(map(str, rows[1:-1])) == {str(rows[1])}


def test_a_field_of_the_name_of_an_optional_one_stays_what_it_is(tmp_path: Path) -> None:
    prompts = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "I", "completion": "O", "system": "S"}])
    numbers = write_jsonl(tmp_path / "b.jsonl", [{"prompt": "I", "completion": "O", "system": 7}])
    (first, second), _ = shapes_of([prompts, numbers])
    assert (first.system_field, second.system_field) == ("system", None)
    assert convert([prompts, numbers], tmp_path / "out").totals["written"] == 2


def test_a_named_system_prompt_need_not_be_in_every_file(tmp_path: Path) -> None:
    without = write_jsonl(tmp_path / "a.jsonl", PAIRS)
    within = write_jsonl(tmp_path / "b.jsonl", [{"messages": conversation("I", "O"), "sys": "S"}])
    shapes, _ = shapes_of([without, within], system_field="sys")
    assert [shape.system_field for shape in shapes] == ["sys", "sys"]
    with pytest.raises(InputError, match=r"a\.jsonl: row 1 has no field 'other'"):
        shapes_of([without, within], system_field="other")


def test_a_file_that_tells_no_shape_is_taken_for_what_the_one_before_it_is(tmp_path: Path) -> None:
    broken = tmp_path / "c.jsonl"
    broken.write_text("nonsense\n" * SAMPLES + json.dumps(CORPORA["messages"][0]) + "\n")
    empty = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(CORPORA["sharegpt"]).slice(0, 0), empty)
    other_columns = tmp_path / "f.csv"
    other_columns.write_text("text\n")
    nothing_yet = write_jsonl(
        tmp_path / "e.jsonl", [{"conversations": None, "id": n} for n in range(SAMPLES)] + CORPORA["sharegpt"]
    )
    paths = [
        tmp_path / "0.jsonl",
        write_jsonl(tmp_path / "a.jsonl", CORPORA["sharegpt"]),
        write_jsonl(tmp_path / "b.jsonl", CORPORA["messages"]),
        broken,
        empty,
        nothing_yet,
        other_columns,
    ]
    paths[0].touch()
    shapes, warnings = shapes_of(paths)
    assert [shape.kind for shape in shapes] == [
        "sharegpt",
        "sharegpt",
        *["messages"] * 3,
        "sharegpt",
        "messages",
    ]
    without_rows = ["0.jsonl", "d.parquet", "f.csv"]
    assert [Path(warning.split(" holds")[0]).name for warning in warnings[:3]] == without_rows
    for name, warning in zip(["c.jsonl", "e.jsonl"], warnings[3:], strict=True):
        assert f"{name} tell no shape; it is taken for" in warning
    manifest = convert(paths, tmp_path / "out")
    assert manifest.totals["written"] == 2 * 40 + 40 + 1
    assert manifest.totals["quarantined"] == {"invalid_json": SAMPLES, "missing_field": SAMPLES}
    assert la.verify(tmp_path / "out", deep=1000).ok


def test_a_file_that_has_the_fields_of_another_shape_too_is_noticed(tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "a.jsonl", [{"question": "Q", "answer": "A"}])
    both = [
        write_jsonl(
            tmp_path / f"{name}.jsonl", [{"question": "Q", "answer": "A", "messages": conversation("I", "O")}]
        )
        for name in "bc"
    ]
    for paths in ([pairs, *both], [*both, pairs]):
        shapes, (warning,) = shapes_of(paths)
        assert {path.name: shape.kind for path, shape in zip(paths, shapes, strict=True)} == {
            "a.jsonl": "prompt-completion",
            "b.jsonl": "messages",
            "c.jsonl": "messages",
        }
        assert "b.jsonl is read as messages (messages), though it also has the fields by which" in warning
    shapes, warnings = shapes_of([pairs, *both], input_field="question", output_field="answer")
    assert ([shape.kind for shape in shapes], warnings) == (["prompt-completion"] * 3, [])


# -------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("mode", ["real", "none"])
@pytest.mark.parametrize("turned", [False, True])
def test_text_and_conversations_are_refused_together(mode: str, turned: bool, tmp_path: Path) -> None:
    paths = [
        write_jsonl(tmp_path / "talk.jsonl", PAIRS),
        write_jsonl(tmp_path / "text.jsonl", [{"text": "Some words."}]),
    ]
    with pytest.raises(InputError, match=r"text\.jsonl: is plain text, and .*talk\.jsonl holds") as caught:
        convert(paths[::-1] if turned else paths, tmp_path / "out", mode=mode)
    assert "jobs of their own" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_is_named_must_be_in_every_file(tmp_path: Path) -> None:
    paths = [
        write_jsonl(tmp_path / "a.jsonl", PAIRS),
        write_jsonl(tmp_path / "b.jsonl", CORPORA["messages"]),
    ]
    named: list[Mapping[str, Any]] = [
        {"input_field": "prompt"},
        {"input_field": "prompt", "output_field": "completion"},
        {"shape": "prompt-completion"},
    ]
    for changes in named:
        with pytest.raises(
            InputError, match=r"b\.jsonl: row 1 has no field 'prompt'; its fields are: messag"
        ):
            shapes_of(paths, **changes)
    with pytest.raises(InputError, match=r"a\.jsonl: row 1 has no field 'messages'"):
        shapes_of(paths, shape="messages")


def test_a_file_of_no_known_shape_is_refused_in_company_too(tmp_path: Path) -> None:
    paths = [
        write_jsonl(tmp_path / "a.jsonl", PAIRS),
        write_jsonl(tmp_path / "b.jsonl", [{"foo": "a", "bar": "b"}]),
    ]
    with pytest.raises(InputError, match=r"b\.jsonl: .*shape is not known; row 1 has the fields: foo, bar"):
        shapes_of(paths)


def test_one_conversation_of_turns_makes_a_template_needed(llama_like: Path, tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "a.jsonl", PAIRS)
    talks = write_jsonl(tmp_path / "b.jsonl", CORPORA["messages"])
    convert(pairs, tmp_path / "pairs", tokenizer=str(llama_like))
    with pytest.raises(TemplateError, match="has no chat template, and a conversation needs one"):
        convert([pairs, talks], tmp_path / "out", tokenizer=str(llama_like))


# ----------------------------------------------------------------------------------- the other commands


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_previews_of_mixed_corpora_are_those_of_each_by_itself(ending: str, tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in CORPORA.items()]
    read = read_jsonl if ending == "jsonl" else lambda path: json.loads(path.read_text())
    expected = []
    for path in paths:
        alone = la.preview(
            path, tmp_path / f"alone-{path.stem}.{ending}", tokenizer="builtin", preview_turns="last"
        )
        assert alone.report.previews == len(CORPORA[path.stem])
        expected += read(tmp_path / f"alone-{path.stem}.{ending}")
    done = la.preview(paths, tmp_path / f"all.{ending}", tokenizer="builtin", preview_turns="last")
    assert read(tmp_path / f"all.{ending}") == expected
    assert done.report.shape.count(" in 1 file") == len(paths)
    assert la.preview(paths, tokenizer="builtin", preview_turns="last").rows == expected


def test_a_table_of_previews_has_one_shape(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.parquet", CORPORA[name]) for name in ("alpaca", "messages")]
    with pytest.raises(SettingsError, match="different shapes do not go into one table"):
        la.preview(paths, tmp_path / "all.parquet", tokenizer="builtin")
    assert not (tmp_path / "all.parquet").exists()
    within = write(tmp_path / "a.parquet", [row | {"system": "S"} for row in PAIRS])
    la.preview(
        [write(tmp_path / "b.parquet", PAIRS), within], tmp_path / "pairs.parquet", tokenizer="builtin"
    )
    assert pq.read_table(tmp_path / "pairs.parquet")["system"].to_pylist() == [None] * 4 + ["S"] * 4


def test_raw_rows_of_mixed_corpora_can_be_inspected(tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", rows[:3]) for name, rows in CORPORA.items()]
    convert(paths, tmp_path / "out")
    expected = learned(tmp_path / "out")
    for start, rows in ((0, 99), (2, 5), (14, 3)):
        seen, rejects = la.inspect(paths, tokenizer="builtin", start=start, rows=rows)
        assert [(list(row.input_ids), list(row.labels)) for row in seen] == expected[start : start + rows]
        assert rejects == []
    shown = "".join(run.text for row in seen for run in row.runs if run.kind == "preview")
    assert CONNECTOR.strip() in shown


def test_rows_of_other_shapes_are_duplicates_all_the_same(tmp_path: Path) -> None:
    paths = [
        write_jsonl(tmp_path / "a.jsonl", [{"prompt": "I", "completion": "O"}]),
        write_jsonl(tmp_path / "b.jsonl", [{"instruction": "I", "input": "", "output": "Another."}]),
        write_jsonl(tmp_path / "c.jsonl", [{"conversations": sharegpt("I", "O")}, *CORPORA["sharegpt"]]),
    ]
    report = la.curate(paths, dedup="prompt")
    assert [Path(row["file"]).name for row in report.verdicts.to_pylist()] == ["b.jsonl", "c.jsonl"]
    manifest = convert(paths, tmp_path / "out", dedup="prompt")
    assert manifest.totals["filtered"] == {"duplicate": 2}
    assert [row["row"] for row in read_quarantine(tmp_path / "out")] == [0, 0]


def test_no_file_with_rows_tells_what_its_columns_say(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.jsonl"]
    paths[0].write_text("question,answer\n")
    paths[1].touch()
    shapes, warnings = shapes_of(paths)
    assert shapes == [Shape("prompt-completion", "question", "answer")] * 2
    assert len(warnings) == 2
    paths[0].write_text("foo,bar\n")
    with pytest.raises(LookaheadError, match="foo, bar"):
        shapes_of(paths)
