"""Conversations with reasoning and tools are rendered as `transformers` renders them, or refused."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.dialogue import Dialogue
from lookahead_data.model.supervision import Supervision
from lookahead_data.model.template import ChatTemplate
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

CONTENTS = [
    "It is six.", "\n\nThe fir is tall.\n", "  padded ", "Käse 🎉", "a</think>b", "x <tool_response> y", '{"a": 1}',
    "<think>\nhm\n</think>\n\nyes", "<think>\n\n</think>\n\nno", "<think>one two</think>three",
]  # fmt: skip
REASONINGS = ["Think.\n", "\nwell", "", "  "]
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"place": "Lima"},
    {"count": 3, "unit": None},
    {"deep": {"list": ["c", 1.5, True]}, "text": 'q"uo\nte ü'},
    {"flag": False, "place": "São <b>"},
]
COUNT = 400

Case = tuple[list[dict[str, Any]], list[Any] | None, dict[str, Any]]


def tool(name: str) -> dict[str, Any]:
    """A tool definition as OpenAI has it."""
    place = {"type": "string", "description": "Where.", "enum": ["a", "b"]}
    properties = {"place": place, "count": {"type": "integer", "default": 3}}
    parameters = {"type": "object", "properties": properties, "required": ["place"]}
    function = {"name": name, "description": f"Does {name}.", "parameters": parameters}
    return {"type": "function", "function": function}


def turn(chance: random.Random, tools: bool) -> list[dict[str, Any]]:
    """A question and what answers it, maybe after calls."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": chance.choice(CONTENTS)}]
    if tools and chance.random() < 0.6:
        calls = [
            {
                "type": "function",
                "id": f"call{at:05d}",
                "function": {
                    "name": chance.choice(["get_time", "weather"]),
                    "arguments": chance.choice(ARGUMENTS),
                },
            }
            for at in range(chance.choice([1, 1, 2]))
        ]
        calling: dict[str, Any] = {"role": "assistant", "tool_calls": calls}
        if chance.random() < 0.6:
            calling["content"] = chance.choice(["", "", *CONTENTS])
        if chance.random() < 0.4:
            calling["reasoning_content"] = "I call."
        messages.append(calling)
        messages += [
            {"role": "tool", "content": chance.choice(CONTENTS), "tool_call_id": call["id"]} for call in calls
        ]
    answer = {"role": "assistant", "content": chance.choice(CONTENTS)}
    if chance.random() < 0.4:
        answer["reasoning_content"] = chance.choice(REASONINGS)
    return [*messages, answer]


def cases() -> list[Case]:
    chance = random.Random(5)
    made: list[Case] = []
    for _ in range(COUNT):
        some = chance.random() < 0.6
        head = [{"role": "system", "content": "Be brief.\n"}] if chance.random() < 0.4 else []
        messages = head + [
            message for _ in range(chance.randint(1, 3)) for message in turn(chance, tools=some)
        ]
        tools = [tool("get_time"), tool("weather")] if some else chance.choice([None, None, []])
        made.append((messages, tools, chance.choice([{}, {"enable_thinking": False}])))
    return made


REFUSALS = {"tools_not_rendered", "template_drops_content", "template_refused", "template_failed"}


def test_tools_and_reasoning_are_rendered_as_transformers_renders_them(shared: Path) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    tokenizer = load_tokenizer(str(shared / "tokenizers" / "qwen3"))
    made = cases()
    for path in sorted((shared / "golden" / "templates").glob("*.jinja")):
        source = path.read_text()
        template = ChatTemplate(source, name=path.stem, variables=tokenizer.named)
        rule = Supervision(Settings(), tokenizer, template)
        outcomes: Counter[str] = Counter()
        for messages, tools, arguments in made:
            try:
                normal = utils._normalize_chat_messages(messages)
                (expected,), _ = utils.render_jinja_template(
                    [normal], tools=tools, chat_template=source, **tokenizer.named, **arguments
                )
            except Exception:
                expected = None
            try:
                rendered = rule.render(Dialogue(messages, tools, arguments))
            except RowError as error:
                assert error.reason in REFUSALS
                outcomes["refused"] += 1
                continue
            assert str.__str__(rendered.text) == expected, path.stem
            outcomes["equal"] += 1
        assert outcomes["equal"] >= COUNT // 4, (path.stem, outcomes)


HERMES = """{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}{{- '<tool_call>' + call.function | tojson + '</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Tools and tool calls as JSON, after Hermes."""

FIRST_CALL = HERMES.replace("message.tool_calls or []", "(message.tool_calls or [])[:1]")
"""As gpt-oss has it: of parallel calls the first alone."""

CALLS = [
    {"type": "function", "function": {"name": "weather", "arguments": {"place": "Lima", "count": 3}}},
    {"type": "function", "function": {"name": "get_time", "arguments": {}}},
]
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "tool_calls": CALLS},
    {"role": "tool", "content": "18 C"},
    {"role": "assistant", "content": "It is 18 degrees."},
]


def rule_for(source: str, tokenizer: LoadedTokenizer, **changes: Any) -> Supervision:
    return Supervision(Settings(**changes), tokenizer, ChatTemplate(source, name="t"))


def test_calls_and_answers_are_supervised_and_results_are_not(builtin: LoadedTokenizer) -> None:
    rendered = rule_for(HERMES, builtin).render(Dialogue(ASKED, [tool("weather"), tool("get_time")]))
    text = str.__str__(rendered.text)
    learned = [text[start:end] for start, end in rendered.spans]
    assert rendered.turns == [1, 3]
    assert learned == [
        '<tool_call>{"name": "weather", "arguments": {"place": "Lima", "count": 3}}</tool_call>'
        '<tool_call>{"name": "get_time", "arguments": {}}</tool_call><|im_end|>',
        "It is 18 degrees.<|im_end|>",
    ]


@pytest.mark.parametrize(
    ("source", "messages", "tools"),
    [
        (FIRST_CALL, ASKED, [tool("weather")]),
        (HERMES.replace("if tools", "if false"), ASKED, [tool("weather")]),
        (HERMES.replace("call.function | tojson", "call.function.name"), ASKED, [tool("weather")]),
        (HERMES.replace("tool | tojson", "tool.type"), ASKED[:1] + ASKED[3:], [tool("weather")]),
    ],
    ids=["second call", "tools", "arguments", "names of tools"],
)
def test_what_a_template_leaves_out_of_tools_is_refused(
    source: str, messages: list[dict[str, Any]], tools: list[Any], builtin: LoadedTokenizer
) -> None:
    with pytest.raises(RowError) as caught:
        rule_for(source, builtin).render(Dialogue(messages, tools))
    assert caught.value.reason == "tools_not_rendered"


def test_calls_that_are_written_as_one_list_are_all_there(builtin: LoadedTokenizer) -> None:
    loop = HERMES[HERMES.index("{%- for call") :].partition("{%- endfor %}")[0] + "{%- endfor %}"
    source = HERMES.replace(
        loop, "{%- if message.tool_calls %}{{- message.tool_calls | tojson }}{%- endif %}"
    )
    rendered = rule_for(source, builtin).render(Dialogue(ASKED))
    assert str.__str__(rendered.text).count("get_time") == 1
    only_first = source.replace("message.tool_calls | tojson", "message.tool_calls[:1] | tojson")
    with pytest.raises(RowError, match="tool call 2 of message 2"):
        rule_for(only_first, builtin).render(Dialogue(ASKED))


def test_an_empty_list_of_tools_is_not_the_same_as_none(builtin: LoadedTokenizer) -> None:
    rule = rule_for(
        "{% if tools is not none %}{{ 'tools\\n' }}{% endif %}"
        + HERMES.replace("{%- if tools %}", "{%- if tools %}"),
        builtin,
    )
    texts = [str.__str__(rule.render(Dialogue(ASKED[:1] + ASKED[3:], tools)).text) for tools in (None, [])]
    assert texts[1] == "tools\n" + texts[0]


def test_answers_of_weight_zero_are_context(builtin: LoadedTokenizer) -> None:
    messages = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "Five.", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Four.", "weight": 1},
    ]
    rendered = rule_for(HERMES, builtin).render(messages)
    assert [str.__str__(rendered.text)[a:b] for a, b in rendered.spans] == ["Four.<|im_end|>"]
    assert rule_for(HERMES, builtin).render(messages[:2]).spans == []


def test_template_arguments_of_a_row_go_before_those_of_the_job(builtin: LoadedTokenizer) -> None:
    source = "{{ mood }}:" + HERMES
    rule = Supervision(Settings(), builtin, ChatTemplate(source, name="t", variables={"mood": "calm"}))
    messages = ASKED[:1] + ASKED[3:]
    texts = [
        str.__str__(rule.render(Dialogue(messages, None, given)).text) for given in ({}, {"mood": "gay"})
    ]
    assert [text.partition(":")[0] for text in texts] == ["calm", "gay"]
    with pytest.raises(RowError, match="'messages' is no template argument"):
        rule.render(Dialogue(messages, None, {"messages": []}))
