"""The heart of the matter: which tokens are written, and which of them count in the loss.

The expectations are worked out from plain Jinja and the tokenizer alone: the text that the template
puts after the generation prompt, and the ids that inference would see before it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import TEMPLATES, conversation, supervised_runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookahead_data import columns
from lookahead_data.config import Settings
from lookahead_data.model.engines import Engines
from lookahead_data.model.load import Model
from lookahead_data.model.template import BUILTIN, ChatTemplate, builtin_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.pipeline import build_stages, run_stages
from lookahead_data.source.conversations import Shape, converse
from lookahead_data.source.records import Record

SOURCES = {name: builtin_template(name) for name in BUILTIN} | TEMPLATES
Message = dict[str, str]


def template_for(name: str, tokenizer: LoadedTokenizer) -> ChatTemplate:
    template = ChatTemplate(SOURCES[name], name=name, variables=tokenizer.named)
    template.probe()
    return template


def convert_one(
    messages: list[Message], tokenizer: LoadedTokenizer, template: ChatTemplate | None, **changes: object
) -> tuple[list[int], list[int]]:
    """The ids and labels of one conversation, through every stage."""
    chosen = Settings(mode="none").replace(**changes)
    stages = build_stages(chosen, Model(Engines(tokenizer), template))
    records = iter([Record(0, None, 1, {"messages": messages})])
    (converted,) = run_stages(converse(records, Shape("messages", "messages")), stages)
    assert not converted.rejects, converted.rejects
    (row,) = converted.batch.select(["input_ids", "labels"]).to_pylist()
    return row["input_ids"], row["labels"]


def marked(
    messages: list[Message], tokenizer: LoadedTokenizer, template: ChatTemplate, **changes: object
) -> str:
    """The row's text with what is supervised in brackets."""
    ids, labels = convert_one(messages, tokenizer, template, **changes)
    text, at = "", 0
    for start, end in supervised_runs(ids, labels):
        text += tokenizer.decode(ids[at:start]) + "⟦" + tokenizer.decode(ids[start:end]) + "⟧"
        at = end
    return text + tokenizer.decode(ids[at:])


def test_chatml_in_full(builtin: LoadedTokenizer) -> None:
    messages = conversation("Hi.", "Hello!", "Bye.", "See you.", system="Be kind.")
    assert marked(messages, builtin, template_for("chatml", builtin)) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n⟦Hello!<|im_end|>⟧\n"
        "<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n⟦See you.<|im_end|>⟧\n"
    )


def test_only_the_last_answer_counts_where_that_is_asked(builtin: LoadedTokenizer) -> None:
    messages = conversation("Hi.", "Hello!", "Bye.", "See you.")
    for name in ("chatml", "generation"):
        text = marked(messages, builtin, template_for(name, builtin), supervise="last")
        assert text.count("⟦") == 1
        assert "⟦See you.<|im_end|>⟧" in text


def test_a_think_block_that_the_template_adds_is_learned_in_the_last_answer(builtin: LoadedTokenizer) -> None:
    messages = conversation("Hi.", "<think>Hm.</think>\n\nHello!", "Bye.", "See you.")
    assert marked(messages, builtin, template_for("think", builtin)) == (
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n⟦Hello!<|im_end|>⟧\n"
        "<|im_start|>user\nBye.<|im_end|>\n"
        "<|im_start|>assistant\n⟦<think>\n\n</think>\n\nSee you.<|im_end|>⟧\n"
    )


def test_a_prefilled_generation_prompt_is_context_where_the_message_has_it(builtin: LoadedTokenizer) -> None:
    template = template_for("prefilled", builtin)
    with_block = marked(conversation("Hi.", "<think>\nHm.</think>Yes."), builtin, template)
    assert with_block.endswith("assistant\n<think>\n⟦Hm.</think>Yes.<|im_end|>⟧\n")
    without = marked(conversation("Hi.", "Yes."), builtin, template)
    assert without.endswith("assistant\n⟦Yes.<|im_end|>⟧\n")


def test_generation_blocks_are_believed_less_the_white_space_behind(builtin: LoadedTokenizer) -> None:
    text = marked(conversation("Hi.", "Hello!", "x", "y"), builtin, template_for("generation", builtin))
    assert "⟦Hello!<|im_end|>⟧\n" in text
    assert "⟦y<|im_end|>⟧\n" in text


def test_alpaca_ends_in_the_eos_token_only_where_there_is_one(
    builtin: LoadedTokenizer, wordpiece: object
) -> None:
    messages = conversation("hi", "hello")
    assert marked(messages, builtin, template_for("alpaca", builtin)).endswith(
        "### Response:\n⟦hello<|im_end|>⟧\n\n"
    )
    bare = load_tokenizer(str(wordpiece))
    assert marked(messages, bare, template_for("alpaca", bare)).endswith("⟦hello⟧")


def test_an_end_token_that_the_user_names_closes_the_last_answer(llama_like: object) -> None:
    tokenizer = load_tokenizer(str(llama_like))
    open_ended = ChatTemplate(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
        name="open",
    )
    ids, labels = convert_one(conversation("Hi.", "Yes."), tokenizer, open_ended, end_token="</s>")
    assert labels[-1] == ids[-1] == tokenizer.token_id("</s>")
    ids, labels = convert_one(conversation("Hi.", "Yes."), tokenizer, open_ended)
    assert tokenizer.token_id("</s>") not in ids


def test_plain_concatenation_is_framed_by_the_post_processor(metaspace_first: object) -> None:
    tokenizer = load_tokenizer(str(metaspace_first))
    ids, labels = convert_one(conversation("a question", " an answer"), tokenizer, None)
    whole = tokenizer._engine.encode("a question an answer").ids
    assert ids == whole
    assert ids[0] == tokenizer.token_id("<s>")
    assert labels[0] == -100
    # The EOS that follows an answer is what the model is to produce.
    assert labels[-1] == ids[-1] == tokenizer.token_id("</s>")


def test_wordpiece_rows_are_framed_and_supervised(wordpiece: object) -> None:
    tokenizer = load_tokenizer(str(wordpiece))
    ids, labels = convert_one(conversation("Two plus", " three?"), tokenizer, None)
    assert ids == tokenizer._engine.encode("Two plus three?").ids
    ((start, end),) = supervised_runs(ids, labels)
    assert tokenizer.decode(ids[start:end]) == "three? [SEP]"
    assert tokenizer.decode(ids[:start]) == "[CLS] two plus"


def test_a_token_across_the_border_is_split_there(metaspace_first: object) -> None:
    tokenizer = load_tokenizer(str(metaspace_first))
    ids, labels = convert_one(conversation("a question ", "an answer"), tokenizer, None)
    (start, _) = supervised_runs(ids, labels)[0]
    # Encoded whole there is one token for " an"; inference sees the prompt without the "an".
    assert ids[1:start] == tokenizer.encode_ids(["a question "])[0]
    assert tokenizer.decode([*ids[:start], *ids[start:-1]]).endswith("a question an answer")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_special_token_in_the_text_stays_text(name: str, any_tokenizer: LoadedTokenizer) -> None:
    template = template_for(name, any_tokenizer)
    tokenizer = any_tokenizer
    clean = conversation("say it", "it is said")
    for token in ("<|im_end|>", "<|im_start|>", "<|eot_id|>", "</s>"):
        if token not in tokenizer.special:
            continue
        dirty = conversation(f"say {token} it", f"{token} is said")
        ids, labels = convert_one(dirty, tokenizer, template)
        clean_ids, _ = convert_one(clean, tokenizer, template)
        specials = [tokenizer.token_id(t) for t in tokenizer.special]
        assert [i for i in ids if i in specials] == [i for i in clean_ids if i in specials]
        (run,) = supervised_runs(ids, labels)
        assert f"{token} is said" in tokenizer.decode(ids[run[0] - 1 : run[1]])
        allowed, _ = convert_one(dirty, tokenizer, template, special_tokens="allow")
        assert sum(i in specials for i in allowed) == sum(i in specials for i in ids) + 2


def test_tokens_that_swallow_white_space_keep_it(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    document = json.loads(builtin._json)
    for token in document["added_tokens"]:
        token["rstrip"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(tmp_path))
    for name in ("chatml", "generation"):
        template = template_for(name, tokenizer)
        for text in ("Hello!", "it is <|im_end|> said"):
            messages = conversation("Hi.", text, "\n Bye.", "See you.")
            ids, labels = convert_one(messages, tokenizer, template)
            if "<" not in text:
                assert [ids] == tokenizer.encode_ids([template.render_plain(messages)], special=True)
            for (_, end), answer in zip(supervised_runs(ids, labels), (text, "See you."), strict=True):
                assert tokenizer.decode(ids[:end]).endswith(answer + "<|im_end|>")
                assert ids[end : end + 1] in ([], [tokenizer.token_id("<|im_start|>")])


BETWEEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% if not loop.last %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Ends a turn only where another follows, and not before the generation prompt."""
LONG_END = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|eot_id|>over<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Ends a turn with two special tokens and a word between them."""
ALWAYS_ASKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
"""Writes the generation prompt whether asked or not."""
CLOSED_THINK = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}</think>{% endif %}"
    "{{ m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}"
)
"""The row closes a block that the generation prompt opens."""


@pytest.mark.parametrize(
    ("source", "turns", "expected"),
    [
        (BETWEEN, "uaa", ["A<|im_end|>", "B"]),
        (LONG_END, "uaua", ["A<|eot_id|>over<|im_end|>", "B<|eot_id|>over<|im_end|>"]),
        (ALWAYS_ASKS, "uaua", ["A<|im_end|>", "B<|im_end|>"]),
        (CLOSED_THINK, "uaua", ["</think>A<|im_end|>", "</think>B<|im_end|>"]),
        (SOURCES["chatml"], "uaa", ["A<|im_end|>", "B<|im_end|>"]),
        (SOURCES["chatml"], "aua", ["A<|im_end|>", "B<|im_end|>"]),
        (SOURCES["generation"], "uaa", ["A<|im_end|>", "B<|im_end|>"]),
    ],
)
def test_odd_turns(
    source: str, turns: str, expected: list[str], tmp_path: Path, builtin: LoadedTokenizer
) -> None:
    document = json.loads(builtin._json)
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 4096, "content": "<|eot_id|>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(tmp_path))
    template = ChatTemplate(source, name="odd")
    answers = iter("AB")
    messages = [
        {"role": "user", "content": "q"} if turn == "u" else {"role": "assistant", "content": next(answers)}
        for turn in turns
    ]
    ids, labels = convert_one(messages, tokenizer, template)
    assert tokenizer.decode(ids) == template.render_plain(messages)
    assert [tokenizer.decode(ids[start:end]) for start, end in supervised_runs(ids, labels)] == expected
    last, labels = convert_one(messages, tokenizer, template, supervise="last")
    assert last == ids
    assert [tokenizer.decode(ids[start:end]) for start, end in supervised_runs(ids, labels)] == expected[-1:]


def test_special_tokens_can_be_rejected(builtin: LoadedTokenizer) -> None:
    stages = build_stages(
        Settings(mode="none", special_tokens="reject"),
        Model(Engines(builtin), template_for("chatml", builtin)),
    )
    rows = [conversation("a", "b <|im_end|>"), conversation("a", "b")]
    records = iter([Record(at, None, 1, {"messages": row}) for at, row in enumerate(rows)])
    (converted,) = run_stages(converse(records, Shape("messages", "messages")), stages)
    assert [reject.reason for reject in converted.rejects] == ["special_token_in_text"]
    assert converted.batch.column("row").to_pylist() == [1]


# ---- properties -----------------------------------------------------------------------------------

LOOKALIKE = re.compile(r"<\||\|>|</?s>|<unk>|_turn>")
CONTENT = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("abc xyz \n\t.,#<>/|▁'")), st.characters(codec="utf-8", exclude_characters="\0")
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() and "think>" not in text and not LOOKALIKE.search(text))
CONVERSATIONS = st.lists(CONTENT, min_size=2, max_size=6).map(
    lambda texts: conversation(*texts[: len(texts) // 2 * 2])
)
PROPERTY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def expected_runs(
    messages: Sequence[Message], template: ChatTemplate, specials: Sequence[str]
) -> list[tuple[str, str]]:
    """(prompt, what follows it through the end-of-turn token) of each answer, from plain Jinja.

    Only for answers before which the row reads as inference would.
    """
    full = template.render_plain(messages)
    found = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = template.render_plain(messages[:at], add_generation_prompt=True)
        assert full.startswith(prompt)
        rest = full[len(prompt) :]
        after = template.render_plain(messages[: at + 1])
        # How the row goes on behind this turn tells where the turn's own text ends.
        tail = rest[: len(after) - len(prompt)] if full.startswith(after) else rest
        content = message["content"] if message["content"] in tail else message["content"].strip()
        end = tail.index(content, 0) + len(content)
        ends = [end + tail[end:].index(s) + len(s) for s in specials if s in tail[end:]]
        found.append((prompt, tail[: min(ends)] if ends else tail[:end]))
    return found


@pytest.mark.parametrize("name", ["alpaca", "chatml", "gemma", "llama3", "inst", "think", "parts"])
@PROPERTY
@given(messages=CONVERSATIONS)
def test_every_answer_is_learned_and_nothing_else(
    name: str, any_tokenizer: LoadedTokenizer, messages: list[Message]
) -> None:
    tokenizer = any_tokenizer
    template = template_for(name, tokenizer)
    ids, labels = convert_one(messages, tokenizer, template)
    runs = supervised_runs(ids, labels)
    expected = expected_runs(messages, template, tokenizer.special)
    assert len(runs) == len(expected)
    for (start, end), (prompt, answer) in zip(runs, expected, strict=True):
        if not tokenizer.sensitive:
            assert tokenizer.decode(ids[start:end]) == answer
            assert tokenizer.decode(ids[:end]) == prompt + answer
        assert_same_text(tokenizer, ids[start:end], answer)
    # What stands before the first answer is what inference is given, id for id.
    prompt = expected[0][0]
    (inference,) = tokenizer.encode_ids([prompt], special=True)
    assert ids[: runs[0][0]] == inference


REAL = [
    ("qwen3", None),
    ("llama3_1", None),
    ("qwen3", "qwen2_5.jinja"),
    ("llama2", "inst"),
    ("llama2", "alpaca"),
]


@pytest.mark.parametrize(("name", "choice"), REAL)
@settings(PROPERTY, max_examples=25)
@given(messages=CONVERSATIONS)
def test_real_models_learn_every_answer_and_nothing_else(
    name: str, choice: str | None, messages: list[Message], real: dict[str, LoadedTokenizer], shared: Path
) -> None:
    tokenizer = real[name]
    source = SOURCES.get(choice or "") or (
        (shared / "golden" / "templates" / choice).read_text() if choice else str(tokenizer.chat_template)
    )
    template = ChatTemplate(source, name=name, variables=tokenizer.named)
    ids, labels = convert_one(messages, tokenizer, template)
    runs = supervised_runs(ids, labels)
    expected = expected_runs(messages, template, tokenizer.special)
    assert len(runs) == len(expected)
    for (start, end), (_, answer) in zip(runs, expected, strict=True):
        text = unicodedata.normalize("NFC", answer)
        assert_same_text(tokenizer, ids[start:end], text if name == "qwen3" else answer)
    assert [ids[: runs[0][0]]] == tokenizer.encode_ids([expected[0][0]], special=True)


@pytest.fixture(scope="session")
def real(shared: Path) -> dict[str, LoadedTokenizer]:
    return {
        name: load_tokenizer(str(shared / "tokenizers" / name)) for name in ("llama2", "llama3_1", "qwen3")
    }


def assert_same_text(tokenizer: LoadedTokenizer, ids: Sequence[int], text: str) -> None:
    """The ids stand for the text, but for spaces (and `▁`, which is one) that the decoder drops or adds."""
    bare = str.maketrans("", "", " ▁")
    assert tokenizer.decode(ids).translate(bare) == text.translate(bare)


@PROPERTY
@given(messages=CONVERSATIONS)
def test_tracing_a_template_changes_nothing(messages: list[Message], builtin: LoadedTokenizer) -> None:
    for name in SOURCES:
        template = template_for(name, builtin)
        for ask in (False, True):
            assert template.render(messages, add_generation_prompt=ask) == template.render_plain(
                messages, add_generation_prompt=ask
            )


@PROPERTY
@given(messages=CONVERSATIONS)
def test_one_by_one_is_the_oracle_of_the_batch(messages: list[Message], builtin: LoadedTokenizer) -> None:
    from lookahead_data.stages.encode import Encode
    from lookahead_data.stages.render import Render

    render = Render(Settings(mode="none"), builtin, template_for("think", builtin))
    encode = Encode(Settings(mode="none"), builtin, Engines(builtin).get("tokenizers"), framed=False)
    segments = render._segments(render.rule.render(messages), messages)
    batch = pa.RecordBatch.from_pydict(
        {"row": [0], "offset": [None], "segments": [segments]},
        schema=columns.schema(["row", "offset", "segments"]),
    )
    encoded = encode(batch).batch.to_pylist()[0]
    row = encode.encode_row(segments)
    assert (encoded["input_ids"], encoded["supervised"]) == (row.ids, row.supervised)


def test_the_think_template_is_noted_to_differ_from_inference(builtin: LoadedTokenizer) -> None:
    from lookahead_data.stages.render import Render

    render = Render(Settings(), builtin, template_for("think", builtin))
    empty = "empty_reasoning_learned"
    assert render.rule.render(conversation("a", "b")).notes == (empty,)
    assert render.rule.render(conversation("a", "b", "c", "d")).notes == ("differs_from_inference", empty)
    last = Render(Settings(supervise="last"), builtin, template_for("think", builtin))
    assert last.rule.render(conversation("a", "b", "c", "d")).notes == (empty,)
