"""Tokenizers and templates: where they are found, and what is known of them."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from helpers import PARTS, conversation

from lookahead_data.assets import train_tokenizer
from lookahead_data.errors import RowError, TemplateError, TokenizerError
from lookahead_data.model.rope import pieces_of
from lookahead_data.model.template import BUILTIN, ChatTemplate, builtin_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

ASSETS = Path(train_tokenizer.__file__).parent


def test_the_builtin_tokenizer_is_what_its_script_makes(tmp_path: Path) -> None:
    train_tokenizer.main(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (ASSETS / "tokenizer" / name).read_bytes()


def test_the_demo_corpus_is_sound() -> None:
    rows = [
        json.loads(line)["messages"] for line in (ASSETS / "demo.jsonl").read_bytes().split(b"\n") if line
    ]
    assert len(rows) == 300
    assert len({json.dumps(row) for row in rows}) == 300
    for row in rows:
        roles = [message["role"] for message in row]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in row)


def test_the_builtin_tokenizer_gives_back_any_text(builtin: LoadedTokenizer) -> None:
    text = "\0 naïve 漢字 👩‍👩‍👧 \u2028\r\n\t<|im_end|>"
    for special in (False, True):
        assert builtin.decode(builtin.encode_ids([text], special=special)[0]) == text
    assert builtin.token_id("<|im_end|>") not in builtin.encode_ids([text])[0]
    assert builtin.token_id("<|im_end|>") in builtin.encode_ids([text], special=True)[0]


def test_a_folder_and_its_file_are_the_same(llama_like: Path) -> None:
    folder, file = load_tokenizer(str(llama_like)), load_tokenizer(str(llama_like / "tokenizer.json"))
    assert folder.sha256 == file.sha256
    assert folder.named == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def test_what_matters_about_a_tokenizer(
    builtin: LoadedTokenizer, llama_like: Path, metaspace_first: Path, wordpiece: Path
) -> None:
    assert (builtin.sensitive, builtin.prefix_ids, builtin.suffix_ids) == (False, (), ())
    llama = load_tokenizer(str(llama_like))
    assert (llama.sensitive, llama.restarts, llama.suffix_ids) == (True, True, ())
    assert llama.prefix_ids == (llama.token_id("<s>"),)
    first = load_tokenizer(str(metaspace_first))
    assert (first.sensitive, first.restarts) == (True, False)
    assert first.suffix_ids == (first.token_id("</s>"),)
    assert not load_tokenizer(str(wordpiece)).sensitive


def test_real_tokenizers(shared: Path) -> None:
    found = {
        name: load_tokenizer(str(shared / "tokenizers" / name)) for name in ("llama2", "llama3_1", "qwen3")
    }
    assert {name: tokenizer.sensitive for name, tokenizer in found.items()} == {
        "llama2": True, "llama3_1": False, "qwen3": False,
    }  # fmt: skip
    assert found["llama3_1"].prefix_ids == (128000,)
    assert found["llama2"].chat_template is None
    assert "<think>" not in found["qwen3"].special


def test_a_template_is_found_where_models_keep_it(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    (tmp_path / "tokenizer.json").write_bytes(builtin.to_json())
    assert load_tokenizer(str(tmp_path)).chat_template is None
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert load_tokenizer(str(tmp_path)).chat_template == "D"
    before = load_tokenizer(str(tmp_path)).sha256
    (tmp_path / "chat_template.jinja").write_text("J")
    assert load_tokenizer(str(tmp_path)).chat_template == "J"
    assert load_tokenizer(str(tmp_path)).sha256 != before


def test_a_hub_id_is_asked_of_the_hub(
    tmp_path: Path, builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(builtin.to_json())
    asked = []

    def snapshot_download(name: str, **kwargs: object) -> str:
        asked.append((name, kwargs["revision"]))
        if name == "no/model":
            raise OSError("404 not found\nsecond line")
        return str(tmp_path)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download)
    )
    assert load_tokenizer("some/model@abc123").vocab_size == builtin.vocab_size
    assert asked == [("some/model", "abc123")]
    with pytest.raises(TokenizerError, match="the Hub did not give it: 404 not found"):
        load_tokenizer("no/model")


def test_a_template_that_wants_parts_gets_them() -> None:
    template = ChatTemplate(PARTS, name="parts")
    messages = conversation("q", "a")
    assert not any(piece.slot for piece in pieces_of(template.render(messages)))
    template.probe()
    assert template.render(messages) == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin_templates_ask_for_an_answer_as_they_write_one(name: str) -> None:
    template = ChatTemplate(
        builtin_template(name), name=name, variables={"bos_token": "<s>", "eos_token": "</s>"}
    )
    messages = conversation("q", "a", system="s")
    prompt = template.render_plain(messages[:2], add_generation_prompt=True)
    assert template.render_plain(messages).startswith(prompt + "a")
    assert "s" in prompt


def test_a_template_that_loops_for_ever_in_itself_is_stopped() -> None:
    template = ChatTemplate("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", name="loop")
    with pytest.raises(RowError, match="recurses without end"):
        template.render(conversation("q", "a"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "{% autoescape true %}{{ messages[0].content }}{% endautoescape %}",
            "line 1: .*autoescape.* not supported",
        ),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{% if 1 %}" * 3000 + "x" + "{% endif %}" * 3000, "nested too deeply|cannot be compiled"),
        ("{% for a in [1] %}" * 60 + "x" + "{% endfor %}" * 60, "nested too deeply|cannot be compiled"),
    ],
)
def test_templates_that_cannot_be_traced_or_compiled_are_refused(source: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        ChatTemplate(source, name="odd")


ODD = [
    "{% for m in messages %}{{ m.content | upper ~ '|' ~ m.role }}{% endfor %}",
    "{% for m in messages %}{{ '%s|%s' | format(m.role, m.content) }}{% endfor %}",
    "{% for m in messages %}{{ '%s' % m.content }}{{ '{}'.format(m.content) }}{% endfor %}",
    "{{ messages | map(attribute='content') | join(', ') }}",
    "{{ messages | map(attribute='content') | map('trim') | list | last }}",
    "{% macro show(x) %}[{{ x }}]{% endmacro %}{% for m in messages %}{{ show(m.content) }}{% endfor %}",
    "{% for m in messages %}{% set x %}<{{ m.content }}>{% endset %}{{ x | trim }}{% endfor %}",
    "{% for m in messages %}{{ m.content | replace('a', 'bb') | truncate(9) }}{% endfor %}",
    "{% for m in messages %}{{ m.content | tojson }}{{ m | tojson }}{% endfor %}",
    "{% for m in messages %}{{ m.content[1:] + m['content'][0] }}{% endfor %}",
    "{% for m in messages %}{{ ', '.join([m.content, m.role]) }}{% endfor %}",
    "{% for m in messages %}{{ m.content | length }}{{ m.content.split() | first }}{{ m.content | wordcount }}{% endfor %}",
    "{% for m in messages %}{{ m.content | e }}{{ m.content | safe }}{{ m.content | indent(2) }}{% endfor %}",
    "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.content %}{% endfor %}{{ ns.t }}",
    "{% for m in messages %}{% for c in m.content %}{{ c }}.{% endfor %}{{ m.content in 'xyz' }}{% endfor %}",
    "{{ '%s|%s' % (messages[0].content, messages[1].content) }}{{ 'aXb' | replace('X', messages[1].content) }}",
    "{{ ', '.join(messages | map(attribute='content')) }}",
    "{% for m in messages %}{{ [m.content] }}{{ m }}{{ [m.content] | string }}{{ 'a' ~ [m.content] }}{% endfor %}",
    "{% for m in messages %}{{ m | dictsort }}{{ m.items() | list }}{{ [[[[[[m.content]]]]]] | tojson }}{% endfor %}",
    "{% for m in messages %}{{ m.content.format('x') }}{{ m.content.slot is defined }}{{ m.content.cut is defined }}{% endfor %}",
    "{% for m in messages %}{{ {m.content: 1}[m.content] }}{{ m.content == 'a' }}{% endfor %}",
    "{% for m in messages %}{{ {m.content: 1} }}{{ {m.content: 1} | tojson }}{{ {(m.content, 1): 1} | list }}{% endfor %}",
    "{% for m in messages %}{{ m.items() }}{{ m.values() }}{{ 'a' ~ {m.content: 1}.keys() }}{% endfor %}",
    "{% for m in messages %}{% set n = namespace(x=m.content) %}{{ n }}{{ 'a' ~ n }}{{ n | string }}{% endfor %}",
    "{% for m in messages %}{{ '%s' % {m.content: 1} }}{{ '{}'.format(namespace(x=m.content)) }}{% endfor %}",
    "{% for m in messages %}{{ {m.content: 1} | items | list }}{{ {m.content: 1} | dictsort }}{{ [m] | groupby('content') | list }}{% endfor %}",
]


@pytest.mark.parametrize("source", ODD)
def test_odd_templates_render_as_in_plain_jinja_and_lose_no_origin(source: str) -> None:
    template = ChatTemplate(source, name="odd")
    for first, second in (("a b c", "Ω ä <&>"), ("  a  ", "Ω\nΩ"), ("Ω{}%s", "Ω" * 30)):
        messages = conversation(first, second)
        rope = template.render(messages)
        assert rope == template.render_plain(messages)
        for piece in pieces_of(rope):
            assert piece.slot is not None or "Ω" not in piece.text
