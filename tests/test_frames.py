"""Rows whose templates are encoded apart from their messages are those that are encoded whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from helpers import SHARED, conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_tracing import ROWS, SOURCES, batch_of

from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.model.engines import PLAIN, Engines
from lookahead_data.model.frames import SUPERVISED, Frames, Part
from lookahead_data.model.load import Model
from lookahead_data.model.rope import Piece
from lookahead_data.model.template import ChatTemplate
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.pipeline import build_stages, run_stages
from lookahead_data.stages.render import Render

CHOSEN = st.sampled_from(
    [
        {},
        {"mode": "none"},
        {"mode": "virtual"},
        {"preview_turns": "all"},
        {"supervise": "last"},
        {"special_tokens": "allow"},
        {"mask_preview": True},
        {"short_answer": "skip"},
        {"short_answer": "drop"},
    ]
)


def converted(rows: Any, model: Model, chosen: Settings) -> Any:
    stages = build_stages(chosen, model)
    (found,) = run_stages(iter([(Staged(batch_of(rows).select(["row", "offset", "messages"])), 0)]), stages)
    columns = found.batch.select(["row", "input_ids", "labels"]).to_pylist()
    return columns, sorted((r.row, r.reason) for r in found.rejects)


def both_ways(rows: Any, tokenizer: LoadedTokenizer, source: str, changes: Any) -> None:
    template = ChatTemplate(source, name="t", variables=tokenizer.named)
    template.probe()
    chosen = Settings(**changes)
    model = Model(Engines(tokenizer), template, "tokenizers")
    whole = dataclasses.replace(model, encoding=PLAIN)
    assert converted(rows, model, chosen) == converted(rows, whole, chosen)


@pytest.mark.parametrize("name", [*SOURCES])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, changes=CHOSEN)
def test_frames_change_no_row(name: str, rows: Any, changes: Any, builtin: LoadedTokenizer) -> None:
    both_ways(rows, builtin, SOURCES[name], changes)


@pytest.mark.parametrize("name", ["qwen3", "llama3_1"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, changes=CHOSEN)
def test_frames_change_no_row_of_a_real_model(name: str, rows: Any, changes: Any) -> None:
    tokenizer = real(name)
    assert tokenizer.chat_template
    both_ways(rows, tokenizer, tokenizer.chat_template, changes)


_LOADED: dict[str, LoadedTokenizer] = {}


def real(name: str) -> LoadedTokenizer:
    folder = SHARED / "tokenizers" / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    if name not in _LOADED:
        _LOADED[name] = load_tokenizer(str(folder))
    return _LOADED[name]


def test_all_but_the_messages_is_in_frames() -> None:
    tokenizer = real("qwen3")
    frames = frames_of(tokenizer)
    pieces = [
        ([Piece("<|im_start|>user\n"), Piece("?", (0, "content")), Piece("<|im_end|>\n<|im_start|>assistant\n")], False),
        ([Piece("<think>\n\n</think>\n\n"), Piece("!", (1, "content")), Piece("<|im_end|>")], True),
        ([Piece("\n")], False),
    ]  # fmt: skip
    asked, answered = frames.around(pieces, 2) or []
    assert (asked.prefix, asked.suffix, asked.supervised, asked.before) == ("user\n", "", False, 1)
    assert (answered.prefix, answered.suffix, answered.supervised) == ("\n\n", "", True)
    marked = [np.frombuffer(some.as_py(), np.int32) for some in frames.encoded()]
    own = [(some & ~SUPERVISED).tolist() for some in marked]
    assert own[answered.apart] == own[answered.before] + tokenizer.encode_ids(["\n\n"])[0]
    assert own[answered.after] == [
        *tokenizer.encode_ids(["<|im_end|>"], special=True)[0],
        *tokenizer.encode_ids(["\n"])[0],
    ]
    assert (marked[answered.after] >= SUPERVISED).tolist() == [True, False]


def frames_of(tokenizer: LoadedTokenizer) -> Frames:
    assert tokenizer.border_pattern is not None
    return Frames(tokenizer, tokenizer.border_pattern)


@pytest.mark.parametrize(
    "pieces",
    [
        [([Piece("?", (0, "content")), Piece(" and "), Piece("!", (1, "content"))], False)],
        [([Piece("?", (1, "content"))], False), ([Piece("!", (0, "content"))], True)],
        [([Piece("?", (0, "content"))], False), ([Piece("!", (1, "content"))], False)],
        [([Piece("?", (0, "content"))], False)],
        [([Piece("?", (0, "content"))], False), ([Piece("!", (1, "reasoning_content"))], True)],
    ],
    ids=["no border", "other order", "segments of one kind", "a message left out", "reasoning"],
)
def test_what_does_not_stand_between_borders_is_encoded_whole(pieces: Any, builtin: LoadedTokenizer) -> None:
    assert frames_of(builtin).around(pieces, 2) is None


def test_segments_are_whole_again(builtin: LoadedTokenizer) -> None:
    frames = frames_of(builtin)
    opening, closing = (Part("<|im_start|>", False),), (Part("<|im_end|>", True), Part("\n", False))
    segment = {"special": True, "bare": False}
    row = [
        {"text": "ask", "supervised": False, **segment, "before": frames.number(opening), "after": 0},
        {"text": "say", "supervised": True, **segment, "before": 0, "after": frames.number(closing)},
    ]
    assert [(part["text"], part["supervised"]) for part in frames.whole(row)] == [
        ("<|im_start|>ask", False),
        ("say<|im_end|>", True),
        ("\n", False),
    ]


def test_an_empty_frame_is_number_0(builtin: LoadedTokenizer) -> None:
    frames = frames_of(builtin)
    assert frames.number([]) == 0
    assert [len(some) for some in frames.encoded().to_pylist()] == [0]


@pytest.mark.parametrize("framed", [True, False])
def test_a_shape_that_is_laid_out_wrongly_is_rendered_row_by_row(
    framed: bool, builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = ChatTemplate(SOURCES["chatml"], name="t", variables=builtin.named)
    render = Render(Settings(), builtin, template, frames_of(builtin) if framed else None)
    honest, trace = Frames.around, Render._trace

    def wrong(self: Frames, pieces: Any, messages: int) -> Any:
        found = honest(self, pieces, messages)
        return [around._replace(prefix="!") for around in found] if found and messages == 4 else found

    def noted(self: Render, shape: Any) -> Any:
        layout = trace(self, shape)
        assert layout is not None
        pieces = layout.pieces if framed or len(shape) != 4 else [([Piece("!")], True)]
        return dataclasses.replace(layout, pieces=pieces, notes=("reasoning_left_out",))

    monkeypatch.setattr(Frames, "around", wrong)
    monkeypatch.setattr(Render, "_trace", noted)
    rows = [conversation("a", "b"), conversation("c", "d", "e", "f"), conversation("g", "h")]
    expected = Render(Settings(), builtin, template)._render_rows(
        batch_of(rows), np.arange(3), Sieve(batch_of(rows))
    )
    for met in (False, True):
        found = render(batch_of(rows))
        segments = found.batch.column("segments").to_pylist()
        if framed:
            assert render._frames is not None
            segments = [render._frames.whole(row) for row in segments]
        assert segments == [row["segments"] for row in expected]
        assert found.notes["reasoning_left_out"] == 2
        assert found.notes["trace_differs"] == (not met)


def test_what_is_stripped_does_not_make_up_for_what_is_put_before(builtin: LoadedTokenizer) -> None:
    # Five letters go before the answer where five spaces go behind it: as long, but not the same.
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' if m.role == 'user' else '<|im_start|>says ' }}"
        "{{ m.content | trim }}{{ '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>says ' }}{% endif %}"
    )
    both_ways([conversation("ask", "an answer" + " " * 5)] * 3, builtin, source, {})
    source = source.replace(
        "m.content | trim", "'says ' + (m.content | trim) if m.role != 'user' else m.content"
    )
    both_ways([conversation("ask", "an answer" + " " * 5)] * 3, builtin, source, {})
