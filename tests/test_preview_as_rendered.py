"""Previews show what the template makes of an answer, whatever it looks for or strips."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import conversation, texts_of, write_jsonl

import lookahead_data as la
from lookahead_data.config import CONNECTOR, PHRASE
from lookahead_data.model.tokenizer import LoadedTokenizer

HEAD = "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{%- set text = message.content %}"
TAIL = (
    "{{- text + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
ONLY_BEHIND = (
    HEAD + "{%- if message.role == 'assistant' %}{%- set text = text.split('###')[-1] %}{%- endif %}" + TAIL
)
"""Drops what stands before a mark in an answer, as R1's template does before a closing tag."""
STRIPPED = HEAD + "{%- set text = text | trim %}" + TAIL


def made(source: str, answer: str, home: Path, tokenizer: LoadedTokenizer, **changes: object) -> list[str]:
    template = home / "t.jinja"
    template.write_text(source)
    rows = write_jsonl(home / "rows.jsonl", [{"messages": conversation("Why?", answer)}])
    settings = {"tokenizer": "builtin", "chat_template": str(template), "workers": 1, **changes}
    manifest = la.convert(str(rows), home / "out", **settings)
    return [*texts_of(home / "out", tokenizer), *manifest.totals["notes"]]


@pytest.mark.parametrize("mode", ["real", "virtual"])
def test_an_answer_that_the_template_cuts_is_previewed_as_it_is_rendered(
    mode: str, tmp_path: Path, builtin: LoadedTokenizer
) -> None:
    text, *notes = made(ONLY_BEHIND, "dropped ### kept", tmp_path, builtin, mode=mode)
    prompt, answer = text.split("<|im_end|>")[:2]
    assert answer.endswith(" kept")
    if mode == "real":
        assert prompt.endswith(f"Why?{CONNECTOR} kept")
    else:
        # The phrase would be dropped with what stands before the mark.
        assert prompt.endswith("Why?")
        assert PHRASE not in text
        assert "preview_not_rendered" in notes


@pytest.mark.parametrize(
    ("answer", "shown"), [("yes\n\n", "yes"), ("\n\nyes", "yes"), ("one two three \n \n", "one two three")]
)
def test_white_space_that_the_template_strips_is_not_shown(
    answer: str, shown: str, tmp_path: Path, builtin: LoadedTokenizer
) -> None:
    # With something behind the prompt, that is not stripped itself.
    source = STRIPPED.replace("{{- text +", "{{- text + '|' +")
    text, *_ = made(source, answer, tmp_path, builtin, preview_tokens=50)
    assert f"Why?{CONNECTOR}{shown}|<|im_end|>" in text
    assert f"assistant\n{shown}|<|im_end|>" in text
    (tmp_path / "raw").mkdir()
    template = source.replace("message.content", "message.content", 1).replace(
        "{%- set text = text | trim %}",
        "{%- if message.role == 'assistant' %}{%- set text = text | trim %}{%- endif %}",
    )
    text, *_ = made(template, answer, tmp_path / "raw", builtin, preview_tokens=50)
    assert f"Why?{CONNECTOR}{shown}|<|im_end|>" in text
