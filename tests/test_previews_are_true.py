"""Every preview is the beginning of what its answer's message adds to the supervised text.

Checked on the labels that come out, not on what the stages say: words of the messages are unique, so what stands
before a preview in the supervised text can be told to be the template's own.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from helpers import SHARED, convert, read_rows

import lookahead_data as la
from lookahead_data.columns import IGNORED
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

THINK = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content.strip() }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""A template that renders reasoning and strips contents."""

DROPS = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{{ m.content.split('</think>')[-1].strip() }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""A template that drops inline reasoning."""

CONNECTOR = " Begins: "
PHRASE = "Phrase first. "


class Words:
    """Texts of words that stand nowhere else."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = itertools.count(100)

    def text(self, low: int = 3, high: int = 12) -> str:
        return " ".join(f"word{next(self.numbers)}" for _ in range(self.random.randint(low, high)))

    def conversation(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self.random.random() < 0.3:
            messages.append({"role": "system", "content": self.text()})
        for _ in range(self.random.randint(1, 3)):
            messages.append({"role": "user", "content": self.text()})
            answer: dict[str, Any] = {"role": "assistant", "content": self.text()}
            kind = self.random.randrange(6)
            if kind == 0:
                answer["reasoning_content"] = self.text()
            elif kind == 1:
                answer["content"] = f"<think>\n{self.text()}\n</think>\n\n{self.text()}"
            elif kind == 2:
                answer["content"] = f"\n\n{self.text()}\n"
            elif kind == 3:
                answer["content"] = f"<think>\n\n</think>\n\n{self.text()}"
            elif kind == 4 and len(messages) > 2:
                answer["weight"] = 0
            messages.append(answer)
        return messages


def supervised_runs(row: dict[str, Any], tokenizer: LoadedTokenizer) -> list[str]:
    """The supervised texts of a row, in order."""
    runs: list[str] = []
    for supervised, group in itertools.groupby(
        zip(row["input_ids"], row["labels"], strict=True), key=lambda pair: pair[1] != IGNORED
    ):
        if supervised:
            runs.append(tokenizer.decode([token for token, _ in group]))
    return runs


def shown_texts(row: dict[str, Any], tokenizer: LoadedTokenizer) -> list[str]:
    """What the prompts of a row preview, in order."""
    context: list[int] = [
        token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED
    ]
    parts = tokenizer.decode(context).split(CONNECTOR.rstrip())[1:]
    ends = (
        "<|im_end|>",
        "<|eot_id|>",
        "<|end|>",
        "<|return|>",
        "<end_of_turn>",
        "<｜Assistant｜>",
        "><｜User｜>",
    )
    found = []
    for part in parts:
        cut = min([part.find(end) for end in ends if end in part] or [len(part)])
        found.append(part[:cut].strip())
    return found


def templates() -> list[str]:
    names = ["chatml", "llama3", "THINK", "DROPS"]
    if (SHARED / "golden" / "templates").is_dir():
        found = sorted(path.name for path in (SHARED / "golden" / "templates").glob("*.jinja"))
        # DeepSeek's markers are no tokens of the tokenizer at hand; DROPS does what its template does.
        names += [name for name in found if not name.startswith("deepseek")]
    return names


def prepared(name: str, folder: Path) -> dict[str, Any]:
    """The settings for a template."""
    settings: dict[str, Any] = {"tokenizer": "builtin", "template_date": "2026-01-01", "workers": 1}
    if SHARED.is_dir():
        settings["tokenizer"] = str(SHARED / "tokenizers" / "qwen3")
    own = {"THINK": THINK, "DROPS": DROPS}.get(name)
    if own is not None:
        (folder / "template.jinja").write_text(own)
        settings["chat_template"] = str(folder / "template.jinja")
    elif name.endswith(".jinja"):
        settings["chat_template"] = str(SHARED / "golden" / "templates" / name)
    else:
        settings["chat_template"] = name
    return settings


@pytest.mark.parametrize("mode", ["real", "virtual"])
@pytest.mark.parametrize("name", templates())
def test_previews_are_what_is_produced_first(name: str, mode: str, tmp_path: Path) -> None:
    words = Words(7)
    rows = [{"messages": words.conversation()} for _ in range(60)]
    settings = prepared(name, tmp_path) | {"mode": mode, "connector": CONNECTOR, "phrase": PHRASE}
    manifest = convert(rows, tmp_path / "out", preview_tokens=4, **settings)
    assert manifest.totals["written"], manifest.totals
    assert manifest.totals["notes"].get("trace_differs", 0) == 0
    tokenizer = load_tokenizer(str(settings["tokenizer"]))
    seen = 0
    for row in read_rows(tmp_path / "out"):
        # The supervised text before what is shown is the template's own, and each preview has an answer of its own.
        runs = supervised_runs(row, tokenizer)
        for shown in shown_texts(row, tokenizer):
            wanted = PHRASE.strip() if mode == "virtual" else shown
            assert not (mode == "virtual" and shown != wanted)
            at = next((at for at, run in enumerate(runs) if wanted in run), None)
            assert at is not None, (shown, runs)
            assert "word" not in runs[at][: runs[at].find(wanted)], (shown, runs[at])
            runs = runs[at + 1 :]
            seen += 1
    assert seen == manifest.totals["previews"]
    assert seen >= 30


@pytest.mark.parametrize("mode", ["real", "virtual"])
@pytest.mark.parametrize("name", templates()[:6])
def test_masks_take_exactly_what_is_shown(name: str, mode: str, tmp_path: Path) -> None:
    words = Words(8)
    rows = [{"messages": words.conversation()} for _ in range(30)]
    settings = prepared(name, tmp_path) | {"mode": mode, "connector": CONNECTOR, "phrase": PHRASE}
    convert(rows, tmp_path / "bare", preview_tokens=4, **settings)
    convert(rows, tmp_path / "masked", preview_tokens=4, mask_preview=True, **settings)
    tokenizer = load_tokenizer(str(settings["tokenizer"]))
    for bare, masked in zip(read_rows(tmp_path / "bare"), read_rows(tmp_path / "masked"), strict=True):
        assert bare["input_ids"] == masked["input_ids"]
        hidden = [
            token
            for token, label, other in zip(bare["input_ids"], bare["labels"], masked["labels"], strict=True)
            if label != other
        ]
        shown = "".join(shown_texts(bare, tokenizer))
        # A token that holds the phrase's last blank and the next word is not hidden; one in which white space at the
        # start of an answer has joined the `>` before it is.
        hidden_text = "".join(tokenizer.decode(hidden).replace(">\n", "").split())
        assert hidden_text == "".join(shown.split()), (hidden, shown)


def test_an_answer_that_is_not_trained_is_context(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "What is 2 + 2?"},
                {"role": "assistant", "content": "It is five, surely.", "weight": 0},
                {"role": "user", "content": "Check again."},
                {"role": "assistant", "content": "It is four, then."},
            ]
        }
    ]
    manifest = convert(rows, tmp_path / "out")
    (row,) = read_rows(tmp_path / "out")
    assert supervised_runs(row, builtin) == ["It is four, then.<|im_end|>"]
    assert manifest.totals["previews"] == 1
    assert manifest.totals["notes"] == {"answer_not_trained": 1}


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Lima"}}}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]


def test_tools_and_calls_are_rendered_or_refused(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "Weather in Lima?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "18 degrees"},
            {"role": "assistant", "content": "It is 18 degrees in Lima."},
        ],
        "tools": TOOLS,
    }
    manifest = convert([row], tmp_path / "refused")
    assert manifest.totals["quarantined"] == {"tools_not_rendered": 1}
    template = tmp_path / "tools.jinja"
    template.write_text(
        "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}({{ c.function.arguments | tojson }})</call>"
        "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    manifest = convert([row], tmp_path / "out", chat_template=str(template))
    assert manifest.totals["written"] == 1
    (written,) = read_rows(tmp_path / "out")
    tokenizer = load_tokenizer("builtin")
    assert supervised_runs(written, tokenizer) == [
        '<call>weather({"place": "Lima"})</call><|im_end|>',
        "It is 18 degrees in Lima.<|im_end|>",
    ]
    assert json.dumps(TOOLS[0]) in tokenizer.decode(written["input_ids"])
    assert manifest.totals["notes"]["preview_before_tool_call"] == 1


def test_template_arguments_of_a_row_reach_the_template(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    template = tmp_path / "args.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ style or 'plain' }}: {{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{{ style or 'plain' }}: {% endif %}"
    )
    pair = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": pair}, {"messages": pair, "chat_template_kwargs": {"style": "bold"}}]
    convert(rows, tmp_path / "out", chat_template=str(template), mode="none")
    found = [builtin.decode(row["input_ids"]) for row in read_rows(tmp_path / "out")]
    assert ["bold" in text for text in found] == [False, True]


def test_weights_that_no_shard_can_hold_are_refused(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]
    }
    assert convert([row], tmp_path / "out").totals["quarantined"] == {"weights_not_written": 1}
    assert convert([row], tmp_path / "all", ignore_field=["weight"]).totals["written"] == 1


def test_a_developer_is_the_system_where_the_template_has_none(tmp_path: Path) -> None:
    template = tmp_path / "roles.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    }
    manifest = convert([row], tmp_path / "out", chat_template=str(template))
    assert manifest.totals["notes"]["developer_as_system"] == 1
    assert manifest.totals["written"] == 1
    assert la.verify(tmp_path / "out").ok
