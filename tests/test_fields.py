"""Every field of a row is read, named as unread, or refused; and previews go back to where the texts stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import read_jsonl, read_quarantine, write_jsonl

import lookahead_data as la
from lookahead_data.config import CONNECTOR, Settings
from lookahead_data.errors import InputError, RowError
from lookahead_data.source.discover import discover
from lookahead_data.source.recognize import recognize
from lookahead_data.source.rows import Row
from lookahead_data.source.strict import to_row

Q, A = "What is the capital of Peru?", "The capital of Peru is Lima, of course."
MESSAGES = [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]

SHAPES: dict[str, dict[str, Any]] = {
    "prompt and completion": {"prompt": Q, "completion": A},
    "Dolly": {"instruction": "Where?", "context": Q, "response": A},
    "Alpaca": {"instruction": "Where?", "input": Q, "output": A},
    "Alpaca without input": {"instruction": Q, "input": "", "output": A},
    "query, response, history": {"query": Q, "response": A, "history": [["Hello!", "Hi."], ["Well?", "Ask."]]},
    "question, reasoning, answer": {"question": Q, "Complex_CoT": "It is on the coast.", "answer": A},
    "capitals": {"Question": Q, "Response": A},
    "messages": {"messages": MESSAGES},
    "messages and system": {"system_prompt": "Be brief.", "messages": MESSAGES},
    "ShareGPT": {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
    "Bedrock": {"system": [{"text": "Be brief."}], "messages": [
        {"role": "user", "content": [{"text": Q}]}, {"role": "assistant", "content": [{"text": A}]}]},
    "Gemini": {"contents": [{"role": "user", "parts": [{"text": Q}]}, {"role": "model", "parts": [{"text": A}]}]},
    "texts in turns": {"data": [Q, A]},
    "pairs": {"conversation": [{"input": Q, "output": A}]},
    "human and assistant": {"conversation": [{"human": Q, "assistant": A}]},
    "roles as keys": {"messages": [{"user": Q}, {"assistant": A}]},
    "messages and a text": {"input": MESSAGES[:1], "output": A},
    "two lists of messages": {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
    "JSON in a text": {"messages": json.dumps(MESSAGES)},
    "JSON messages": {"messages": [json.dumps(message) for message in MESSAGES]},
    "an object of lists": {"messages": {"role": ["user", "assistant"], "content": [Q, A]}},
    "one message each": {"prompt": MESSAGES[0], "completion": MESSAGES[1]},
    "role and text": {"messages": [{"role": "human ", "text": Q}, {"role": "AI", "text": A}]},
}  # fmt: skip
"""A row of each shape; each asks Q last and answers A."""


def recognized(path: Path, **changes: Any) -> Any:
    return recognize(discover([path]), Settings(**changes))


def row_of(row: dict[str, Any], tmp_path: Path, **changes: Any) -> Row:
    path = write_jsonl(tmp_path / "row.jsonl", [row])
    return to_row(row, recognized(path, **changes).shapes[0])


@pytest.mark.parametrize("name", SHAPES)
def test_an_unknown_field_is_named_as_unread(name: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [SHAPES[name] | {"zodiac": "virgo"}] * 3)
    told: list[str] = []

    class Told(la.Listener):
        def recognized(self, fields: Any) -> None:
            told.extend(fields)

    manifest = la.convert(path, tmp_path / "out", tokenizer="builtin", workers=1, listener=Told())
    (fields,) = manifest.document["fields"]
    assert fields["unread"] == ["zodiac"]
    assert set(fields["read"]) == {key for key, value in SHAPES[name].items() if value or key == "input"}
    assert manifest.totals["written"] == 3
    la.inspect(path, tokenizer="builtin", listener=Told())
    la.preview(path, tokenizer="builtin", listener=Told())
    la.curate(path, dedup="prompt", listener=Told())
    assert len(told) == 4
    assert all("not read: zodiac" in line for line in told)


@pytest.mark.parametrize("name", SHAPES)
def test_an_unknown_key_of_a_message_is_named_as_unread(name: str, tmp_path: Path) -> None:
    row = json.loads(json.dumps(SHAPES[name]))
    (field,) = [
        key for key, value in row.items() if isinstance(value, list) and key not in ("system", "history")
    ][:1] or [None]
    if field is None or not isinstance(row[field][0], dict) or name == "roles as keys":
        pytest.skip("this shape has no objects for messages")
    row[field][0]["zodiac"] = "virgo"
    (fields,) = recognized(write_jsonl(tmp_path / "rows.jsonl", [row])).fields
    assert f"{field}[].zodiac" in fields.unread


@pytest.mark.parametrize("mode", ["real", "virtual"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_preview_goes_back_to_its_place(name: str, mode: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [SHAPES[name]] * 12)
    la.preview(path, tmp_path / "out.jsonl", tokenizer="builtin", mode=mode, preview_turns="last")
    settings = Settings()
    shown = settings.phrase if mode == "virtual" else "The capital of"
    rows = read_jsonl(tmp_path / "out.jsonl")
    before = row_of(SHAPES[name], tmp_path).messages
    for row in rows:
        assert set(row) == set(SHAPES[name])
        after = row_of(row, tmp_path).messages
        assert [m["role"] for m in after] == [m["role"] for m in before]
        question, answer = after[-2]["content"], after[-1]["content"]
        assert question.startswith(f"{before[-2]['content']}{CONNECTOR}{shown}")
        assert answer == (settings.phrase if mode == "virtual" else "") + A
        assert after[:-2] == before[:-2]


def as_columns(name: str) -> pa.Table:
    """Rows as Spark and `datasets` write them."""
    message = pa.map_(pa.string(), pa.string())
    maps = [[list(message.items()) for message in MESSAGES]] * 3
    texts = pa.array([json.dumps(message) for message in MESSAGES * 3])
    columns = {
        "maps": pa.array(maps, pa.list_(message)),
        "JSON": pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps(MESSAGES)] * 3)),
        "lists of JSON": pa.ListArray.from_arrays(
            [0, 2, 4, 6], pa.ExtensionArray.from_storage(pa.json_(), texts)
        ),
        "an object of lists": pa.array([{"role": ["user", "assistant"], "content": [Q, A]}] * 3),
    }
    return pa.table({"id": [1, 2, 3], "messages": columns[name]})


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("name", ["maps", "JSON", "lists of JSON", "an object of lists"])
def test_columns_of_many_types_hold_messages(name: str, ending: str, tmp_path: Path) -> None:
    path, out = tmp_path / f"rows.{ending}", tmp_path / "out.parquet"
    table = as_columns(name)
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert la.convert(path, tmp_path / "out", tokenizer="builtin", workers=1).totals["written"] == 3
    la.preview(path, out, tokenizer="builtin")
    (batch, rejects), *_ = read_quickly(out)
    assert not rejects
    for row in batch.to_pylist():
        question, answer = row["messages"]
        assert question["content"].startswith(f"{Q}{CONNECTOR}The capital of")
        assert answer["content"] == A


def test_rows_with_other_tools_are_no_duplicates(tmp_path: Path) -> None:
    tools = [[{"name": "f"}], [{"name": "g"}], [{"name": "f"}], None]
    rows = [SHAPES["messages"] | ({"tools": mine} if mine else {}) for mine in tools]
    found = la.curate(write_jsonl(tmp_path / "rows.jsonl", rows), dedup="prompt")
    assert found.verdicts.column("row").to_pylist() == [2]


def test_a_verdict_is_asked_of_refusals_too(tmp_path: Path) -> None:
    """Conditions pass over rows of the class safety; an unwanted answer stays unwanted."""
    rows = [{"prompt": Q, "completion": "I'm sorry, I can't.", "label": label} for label in (False, True)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert la.curate(path, where=["label"]).verdicts.column("row").to_pylist() == [0]
    assert la.curate(path, where=["prompt = 'x'"], ignore_field=["label"]).verdicts.num_rows == 0


MEANT: dict[str, tuple[dict[str, Any], str]] = {
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "a system prompt": ({"System": "Be brief."}, "system"),
    "history": ({"history": [["Hello!", "Hi."]]}, "history"),
    "template arguments": ({"chat_template_kwargs": {"enable_thinking": False}}, "template_args"),
    "images": ({"images": ["a.png"]}, "media"),
    "a video": ({"video": "a.mp4"}, "media"),
    "a verdict": ({"label": False}, "preference"),
    "a rejected answer": ({"rejected": "No."}, "preference"),
    "a weight": ({"weight": 0.5}, "unsupported_content"),
}


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
@pytest.mark.parametrize("name", MEANT)
@pytest.mark.parametrize("shape", ["prompt and completion", "messages"])
def test_a_field_with_a_meaning_that_comes_late_is_not_lost(
    shape: str, name: str, ending: str, tmp_path: Path
) -> None:
    more, becomes = MEANT[name]
    plain = SHAPES[shape]
    field, value = next(iter(more.items()))
    if ending == "csv":
        if shape == "messages" or isinstance(value, dict | list):
            pytest.skip("CSV holds texts alone")
        more = {field: str(value)}
    rows = [*([plain] * 40), plain | more, plain]
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist([{**dict.fromkeys(more), **row} for row in rows]), path)
    elif ending == "csv":
        lines = [",".join(f'"{row.get(key, "")}"' for key in ("prompt", "completion", field)) for row in rows]
        path.write_text("\n".join([f"prompt,completion,{field}", *lines]))
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:
        write_jsonl(path, rows)
    batches = read_quickly(path)
    found = [row for batch, _ in batches for row in batch.to_pylist()]
    reasons = {reject.row: reject.reason for _, rejects in batches for reject in rejects}
    if becomes in ("tools", "template_args"):
        assert [row["row"] for row in found if row.get(becomes)] == [40]
    elif becomes in ("system", "history"):
        extra = {"system": 1, "history": 2}[becomes]
        assert [len(row["messages"]) for row in found] == [2] * 40 + [2 + extra, 2]
    else:
        assert reasons == {40: becomes}
        assert len(found) == 41


def read_quickly(path: Path, **changes: Any) -> list[tuple[pa.RecordBatch, Any]]:
    """The batches of a file by the reader that a job would use."""
    from lookahead_data.planning import plan_corpus
    from lookahead_data.source.unit import conversations_of

    settings = Settings(**changes)
    files = discover([path])
    plan = plan_corpus(files, settings, recognize(files, settings))
    return [
        (staged.batch, staged.rejects) for unit in plan.units for staged, _ in conversations_of(unit, plan)
    ]


def test_a_field_that_is_ignored_is_no_matter(tmp_path: Path) -> None:
    row = SHAPES["prompt and completion"] | {"image": "a.png", "label": False, "rejected": "No.", "weight": 2}
    path = write_jsonl(tmp_path / "rows.jsonl", [row] * 30)
    manifest = la.convert(
        path,
        tmp_path / "out",
        tokenizer="builtin",
        workers=1,
        ignore_field=["image", "label", "rejected", "weight"],
    )
    assert manifest.totals["written"] == 30
    assert manifest.document["fields"][0]["ignored"] == ["image", "label", "rejected", "weight"]
    with pytest.raises(InputError, match="--ignore-field label"):
        recognized(path)


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ({"prompt": Q, "passage": "It lies on a coast.", "completion": A}, {"context_field": ["passage"]},
         [("user", f"{Q}\nIt lies on a coast."), ("assistant", A)]),
        ({"prompt": Q, "a": "1", "b": ["2", "3"], "completion": A}, {"context_field": ["b", "a"]},
         [("user", f"{Q}\n2\n3\n1"), ("assistant", A)]),
        ({"prompt": Q, "past": [["x", "y"]], "completion": A}, {"history_field": "past"},
         [("user", "x"), ("assistant", "y"), ("user", Q), ("assistant", A)]),
        ({"talk": [{"speaker": "Narrator", "said": Q}, {"speaker": "Sage", "said": A}]},
         {"shape": "messages", "input_field": "talk", "role_field": "speaker", "content_field": "said",
          "role": {"narrator": "user", "SAGE": "assistant"}}, [("user", Q), ("assistant", A)]),
        ({"row": {"talk": MESSAGES}}, {"input_field": "row.talk"}, [("user", Q), ("assistant", A)]),
        ({"in": {"q": Q}, "out": {"a": A}}, {"input_field": "in.q", "output_field": "out.a"},
         [("user", Q), ("assistant", A)]),
        ({"prompt": Q, "chosen": [*MESSAGES], "rejected": []}, {"output_field": "chosen"},
         [("user", Q), ("assistant", A)]),
        ({"chosen": MESSAGES, "rejected": MESSAGES}, {"input_field": "chosen"}, [("user", Q), ("assistant", A)]),
    ],
)  # fmt: skip
def test_options_name_fields(
    row: dict[str, Any], changes: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    found = row_of(row, tmp_path, **changes).messages
    assert [(message["role"], message["content"]) for message in found] == expected


def test_options_name_reasoning_tools_and_weights(tmp_path: Path) -> None:
    row = {"prompt": Q, "completion": A, "scratch": "Hm.", "api": '[{"name": "f"}]', "importance": 0.5}
    found = row_of(row, tmp_path, reasoning_field="scratch", tools_field="api", train_field="importance")
    assert found.messages[-1] == {
        "role": "assistant", "content": A, "reasoning_content": "Hm.", "weight": 0.5,
    }  # fmt: skip
    assert found.tools == [{"name": "f"}]


FLAGGED: list[tuple[dict[str, Any], float | None]] = [
    ({"weight": 0}, 0.0), ({"weight": 1}, None), ({"weight": 0.5}, 0.5), ({"train": False}, 0.0),
    ({"trainable": True}, None), ({"loss": "false"}, 0.0), ({"loss_mask": 0}, 0.0), ({"prefix": True}, 0.0),
    ({"prefix": False}, None), ({"masked": True}, 0.0), ({"weight": None, "loss": None}, None),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "weight"), FLAGGED)
def test_flags_of_messages_are_weights(flag: dict[str, Any], weight: float | None, tmp_path: Path) -> None:
    row = {"messages": [MESSAGES[0], MESSAGES[1] | flag, *MESSAGES]}
    found = row_of(row, tmp_path).messages
    assert [message.get("weight") for message in found] == [None, weight, None, None]


@pytest.mark.parametrize("option", ["train_field", "role_field", "content_field", "history_field"])
def test_a_named_field_that_no_row_has_is_refused(option: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')}"):
        row_of(SHAPES["messages"], tmp_path, **{option: "misspelt"})


def test_a_weight_that_is_none_is_told(tmp_path: Path) -> None:
    for flag in ({"weight": -1}, {"train": "perhaps"}, {"train_detail": [{"begin": 0}]}):
        with pytest.raises(RowError, match="unsupported_content"):
            row_of({"messages": [MESSAGES[0], MESSAGES[1] | flag]}, tmp_path)


def test_the_role_that_is_masked(tmp_path: Path) -> None:
    talk = SHAPES["ShareGPT"]
    assert row_of({"mask": "User"} | talk, tmp_path).messages[-1].get("weight") is None
    with pytest.raises(RowError, match="not_trained"):
        row_of({"mask": "Assistant"} | talk, tmp_path)


def test_anthropic_parts_become_calls_and_results(tmp_path: Path) -> None:
    row = {"messages": [
        {"role": "user", "content": Q},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Look it up."},
            {"type": "text", "text": "One moment."},
            {"type": "tool_use", "id": "t1", "name": "atlas", "input": {"of": "Peru", "x": None}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Lima"}]}]},
        {"role": "assistant", "content": A},
    ]}  # fmt: skip
    user, call, result, answer = row_of(row, tmp_path).messages
    assert (user["content"], answer["content"]) == (Q, A)
    assert (call["content"], call["reasoning_content"]) == ("One moment.", "Look it up.")
    assert call["tool_calls"] == [
        {"type": "function", "id": "t1", "function": {"name": "atlas", "arguments": {"of": "Peru"}}}
    ]
    assert result == {"role": "tool", "content": "Lima", "tool_call_id": "t1"}


def test_geminis_calls_become_calls_and_results(tmp_path: Path) -> None:
    row = {"contents": [
        {"role": "user", "parts": [{"text": Q}]},
        {"role": "model", "parts": [{"functionCall": {"name": "atlas", "args": {"of": "Peru"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "atlas", "response": {"city": "Lima"}}}]},
        {"role": "model", "parts": [{"text": A}]},
    ]}  # fmt: skip
    _, call, result, _ = row_of(row, tmp_path).messages
    assert call["content"] is None
    assert call["tool_calls"][0]["function"] == {"name": "atlas", "arguments": {"of": "Peru"}}
    assert result == {"role": "tool", "content": '{"city": "Lima"}', "name": "atlas"}


def test_sharegpts_calls_become_calls_where_they_are_json(tmp_path: Path) -> None:
    def talk(call: str) -> dict[str, Any]:
        return {"conversations": [
            {"from": "human", "value": Q}, {"from": "function_call", "value": call},
            {"from": "observation", "value": "Lima"}, {"from": "gpt", "value": A},
        ]}  # fmt: skip

    found = row_of(talk('{"name": "atlas", "arguments": {"of": "Peru"}}'), tmp_path).messages
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["tool_calls"][0]["function"] == {"name": "atlas", "arguments": {"of": "Peru"}}
    assert row_of(talk("look it up"), tmp_path).messages[1]["content"] == "look it up"


def test_media_among_the_parts_is_told_from_placeholders(tmp_path: Path) -> None:
    for part in (
        {"type": "image_url", "image_url": {"url": "x"}},
        {"image": "x"},
        {"inlineData": {"data": "x"}},
    ):
        row = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": Q}]}, MESSAGES[1]]}
        with pytest.raises(RowError, match="media"):
            row_of(row, tmp_path)
    row = {"messages": [{"role": "user", "content": f"<image>\n{Q}"}, MESSAGES[1]], "images": []}
    assert row_of(row, tmp_path).messages[0]["content"] == f"<image>\n{Q}"


def test_two_system_prompts_that_differ_are_told(tmp_path: Path) -> None:
    row = {"prompt": Q, "completion": A, "system": "Be brief.", "system_prompt": "Be long."}
    with pytest.raises(RowError, match="ambiguous_fields"):
        row_of(row, tmp_path)
    same = row | {"system_prompt": "Be brief."}
    assert [m["role"] for m in row_of(same, tmp_path).messages] == ["system", "user", "assistant"]
    chosen = row_of(row, tmp_path, system_field="system_prompt", ignore_field=["system"]).messages
    assert chosen[0]["content"] == "Be long."


def test_numbers_that_are_none_are_null_where_a_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"instruction": "a", "input": NaN, "output": "b c", "score": Infinity}\n'
        '{"instruction": "a", "input": "", "output": NaN, "score": 1e999}\n'
    )
    manifest = la.convert(path, tmp_path / "out", tokenizer="builtin", workers=1)
    assert (manifest.totals["written"], manifest.totals["quarantined"]) == (1, {"missing_field": 1})
    assert read_quarantine(tmp_path / "out")[0]["row"] == 1
