"""Rendering a shape once gives what rendering every row gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import TEMPLATES, conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookahead_data.batches import Sieve
from lookahead_data.columns import schema
from lookahead_data.config import Settings
from lookahead_data.model.template import BUILTIN, ChatTemplate, builtin_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.model.trace import probe_for, recording
from lookahead_data.stages.render import Render

SOURCES = {name: builtin_template(name) for name in BUILTIN} | TEMPLATES
CHOOSY = """{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.content.startswith('!') %}{{ 'LOUD ' }}{% endif %}{%- if 'secret' in m.content %}{{ '[cut]' }}
{%- elif m.content == 'yes' %}{{ 'YES' + m.content }}{% else %}{{ m.content.strip('\\n') }}{% endif %}
{{- '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""Does something else for some texts."""

TEXT = st.one_of(
    st.text(st.sampled_from(list("ab \n\t\x1c\u3000<>/")), min_size=1, max_size=8),
    st.sampled_from(
        [
            "yes",
            "!",
            "a secret",
            "<think>\nx</think>y",
            "</think>",
            "<|im_end|>",
            " padded ",
            "\n\nlines\n",
            "<|im_",
            "end|>",
        ]
    ),
)
ROWS = st.lists(
    st.tuples(st.lists(TEXT, min_size=2, max_size=5), st.one_of(st.none(), TEXT)).map(
        lambda pair: conversation(*pair[0], system=pair[1])
    ),
    min_size=1,
    max_size=6,
)


def batch_of(rows: list[list[dict[str, str]]]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        "row": list(range(len(rows))),
        "offset": [None] * len(rows),
        "messages": rows,
        "previews": [[]] * len(rows),
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema(columns))


def render_for(source: str, tokenizer: LoadedTokenizer, **changes: Any) -> Render:
    template = ChatTemplate(source, name="t", variables=tokenizer.named)
    template.probe()
    return Render(Settings(**changes), tokenizer, template)


@pytest.mark.parametrize("name", [*SOURCES, "choosy", "none"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_a_batch_is_rendered_as_its_rows_are(
    name: str, rows: list[list[dict[str, str]]], builtin: LoadedTokenizer
) -> None:
    if name == "none":
        render = Render(Settings(), builtin, None)
    else:
        render = render_for(SOURCES.get(name, CHOOSY), builtin)
    batch = batch_of(rows)
    staged = render(batch)
    sieve = Sieve(batch)

    singly = render._render_rows(batch, np.arange(len(rows)), sieve)
    rejected = {reject.row for reject in sieve.rejects}
    assert {reject.row for reject in staged.rejects} == rejected
    expected = [row["segments"] for at, row in enumerate(singly) if at not in rejected]
    assert staged.batch.column("segments").to_pylist() == expected
    assert staged.notes == sieve.notes


def traced(source: str, tokenizer: LoadedTokenizer, turns: int, system: bool) -> bool:
    render = render_for(source, tokenizer)
    texts = [f"ordinary text {at}" for at in range(2 * turns)]
    shape = tuple(
        (message["role"], False) for message in conversation(*texts, system="be kind" if system else None)
    )
    return render._layout(shape) is not None


@pytest.mark.parametrize("name", SOURCES)
def test_ordinary_rows_of_every_template_are_traced(name: str, builtin: LoadedTokenizer) -> None:
    for turns in (1, 2, 4):
        assert traced(SOURCES[name], builtin, turns, system=False)
        assert name == "inst" or traced(SOURCES[name], builtin, turns, system=True)


def test_ordinary_rows_of_real_templates_are_traced(shared: Path) -> None:
    sources = {path.stem: path.read_text() for path in (shared / "golden" / "templates").glob("*.jinja")}
    # Asks for the length of contents, so its rows are rendered one by one.
    sources.pop("nemotron_3_nano", None)
    for name in ("llama3_1", "qwen3"):
        tokenizer = load_tokenizer(str(shared / "tokenizers" / name))
        assert tokenizer.chat_template
        for source in (*sources.values(), tokenizer.chat_template):
            for turns in (1, 2, 4):
                for system in (False, True):
                    assert traced(source, tokenizer, turns, system)


OPAQUE = [
    "{% for m in messages %}{{ m.content[:3] }}{% endfor %}",
    "{% for m in messages %}{% if m.content | length > 3 %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "{% for m in messages %}{{ m.content if m.content in 'yes no' else 'other' }}{% endfor %}",
    "{% for m in messages %}{{ m.content }}{{ {'a': 1}.get(m.content) }}{% endfor %}",
    "{% for m in messages %}{{ m.content if messages[0].content == m.content else '' }}{% endfor %}",
    "{% for m in messages %}{{ 'x' if 'abc'.startswith(m.content) else m.content }}{% endfor %}",
    "{% for m in messages | sort(attribute='content') %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{{ m.content.strip('abc') }}{% endfor %}",
    "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
    "{% for m in messages %}{{ '%s' % m.content }}{% endfor %}",
    "{% for m in messages %}{{ m.content is in 'yes no' }}{% endfor %}",
    "{% for m in messages %}{{ m.content.isdigit() }}{{ m.content.find('x') }}{% endfor %}",
    "{% for m in messages %}{{ ('<' + m.content) is defined and '<a' in ('<' + m.content) }}{% endfor %}",
]


@pytest.mark.parametrize("source", OPAQUE)
def test_what_may_tell_regular_rows_apart_is_noticed(source: str) -> None:
    template = ChatTemplate(source, name="opaque")
    with recording() as recorder:
        template.render(
            [{"role": role, "content": probe_for((at, "content"))} for at, role in enumerate("ua")]
        )
    assert recorder.opaque is not None


def test_what_cannot_tell_them_apart_is_not(builtin: LoadedTokenizer) -> None:
    template = ChatTemplate(CHOOSY, name="choosy")
    with recording() as recorder:
        template.render([{"role": "user", "content": probe_for((0, "content"))}])
    assert recorder.opaque is None
    assert recorder.needles == {"!", "secret", "yes"}


def test_real_rows_are_not_rendered_one_by_one(shared: Path) -> None:
    tokenizer = load_tokenizer(str(shared / "tokenizers" / "qwen3"))
    render = render_for(str(tokenizer.chat_template), tokenizer)
    lines = (shared / "data" / "gsm8k_test.jsonl").read_bytes().split(b"\n")[:-1]
    rows = [conversation(row["question"], row["answer"]) for row in map(json.loads, lines)]
    texts = batch_of(rows)
    asked: list[int] = []
    original = render._render_rows

    def counting(batch: pa.RecordBatch, places: Any, sieve: Sieve) -> Any:
        asked.append(len(places))
        return original(batch, places, sieve)

    render._render_rows = counting  # type: ignore[method-assign]
    assert render(texts).batch.num_rows == len(rows)
    assert sum(asked) < 20


@pytest.mark.parametrize(
    ("condition", "is_traced"),
    [
        ("> 0", True),
        ("!= 0", True),
        ("== 0", True),
        (">= 1", True),
        ("< 1", True),
        ("> 1", False),
        ("% 2 == 0", False),
    ],
)
def test_of_a_length_only_that_it_is_not_zero_is_known(
    condition: str, is_traced: bool, builtin: LoadedTokenizer
) -> None:
    source = (
        "{% for m in messages %}{{ m.role }}: {% if m.content | trim | length "
        + condition
        + " %}{{ m.content }}{% else %}({{ m.content }}){% endif %}\n{% endfor %}"
    )
    assert traced(source, builtin, 1, False) is is_traced
    batch = batch_of([conversation("a", "b"), conversation("aa", "bb"), conversation(" ", "bcd")])
    render = render_for(source, builtin)
    singly = render._render_rows(batch, np.arange(3), Sieve(batch))
    assert render(batch).batch.column("segments").to_pylist() == [row["segments"] for row in singly]
