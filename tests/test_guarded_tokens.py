"""Text of the corpus never becomes a token that marks turns, calls or the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import read_quarantine, read_rows, save_tokenizer
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import lookahead_data as la
from lookahead_data.assets.train_tokenizer import texts
from lookahead_data.model.meant import tags_in
from lookahead_data.model.tokenizer import load_tokenizer

ROLES = ("<|User|>", "<|Assistant|>")
SPECIAL = ("<s>", "</s>")
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<extra>")
TEMPLATE = """{{ bos_token }}{% for m in messages %}
{%- if m.role == 'user' %}{{ '<|User|>' + m.content }}
{%- elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content + eos_token }}
{%- else %}{{ m.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}
{%- if tools %}<tool_call>{{ tools }}</tool_call><think></think>{% endif %}"""
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def train(tokenizer: Tokenizer, *, normalized: bool = False) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=normalized) for text in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=normalized) for text in (*ROLES, *TAGS)])
    return tokenizer


def make_plain() -> Tokenizer:
    return train(Tokenizer(models.BPE()))


def make_nfkc() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    return train(tokenizer, normalized=True)


def make_lower() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    return train(tokenizer, normalized=True)


def make_unigram() -> Tokenizer:
    words = sorted({word for text in texts() for word in text.split()})[:600]
    letters = sorted({letter for text in texts() for letter in text} | set('<>|/▁_{}":,'))
    vocab = [("<unk>", 0.0), *((text, 0.0) for text in (*SPECIAL, *ROLES, *TAGS))]
    known = {piece for piece, _ in vocab}
    vocab += [(letter, -8.0) for letter in letters if letter not in known]
    vocab += [(word, -5.0) for word in words if len(word) > 1 and word not in known]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<unk>", *SPECIAL)]
    )
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*ROLES, *TAGS)])
    return tokenizer


def make_wordlevel() -> Tokenizer:
    words = sorted({word for text in texts() for word in text.split()})[:600]
    names = ["<unk>", *SPECIAL, *ROLES, *TAGS]
    vocab = {word: at for at, word in enumerate(dict.fromkeys([*names, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<unk>", *SPECIAL)]
    )
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*ROLES, *TAGS)])
    return tokenizer


MADE = {
    "plain": make_plain,
    "nfkc": make_nfkc,
    "lower": make_lower,
    "unigram": make_unigram,
    "wordlevel": make_wordlevel,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("guarded")
    return {
        name: save_tokenizer(
            make(), home / name, bos_token="<s>", eos_token="</s>", unk_token=None, chat_template=TEMPLATE
        )
        for name, make in MADE.items()
    }


SPELLED = [
    *SPECIAL,
    *ROLES,
    *TAGS[:4],
    "</S>",
    "<|USER|>",
    "＜/s＞",
    "＜|User|＞",
    "<|User|></s>",
    "<<|User|>",
    "</s</s>",
]


def injected() -> list[dict[str, Any]]:
    rows = []
    for text in SPELLED:
        for said in (text, f"a {text} b", f"a{text}", f"{text}b", f"{text} {text}"):
            rows += [
                {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "yes"}]},
                {
                    "messages": [
                        {"role": "user", "content": "no"},
                        {"role": "assistant", "content": f"x {said} y"},
                    ]
                },
            ]
    return rows


@pytest.mark.parametrize("mode", ["none", "real"])
@pytest.mark.parametrize("name", MADE)
def test_injected_tokens_stay_text_or_their_row_is_left_out(
    name: str, mode: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = injected()
    done = la.convert(rows, tmp_path / "out", tokenizer=str(folders[name]), mode=mode, workers=1)
    tokenizer = load_tokenizer(str(folders[name]))
    guarded = {tokenizer.token_id(token) for token in (*SPECIAL, *ROLES, *TAGS[:4])}
    expected = [tokenizer.token_id(token) for token in ("<s>", "<|User|>", "<|Assistant|>", "</s>")]
    written = read_rows(tmp_path / "out")
    for row in written:
        assert [token for token in row["input_ids"] if token in guarded] == expected
    quarantined = read_quarantine(tmp_path / "out")
    assert {row["reason"] for row in quarantined} <= {"special_token_in_text"}
    assert len(written) + len(quarantined) == len(rows)
    assert not quarantined or name == "wordlevel"
    assert done.totals["notes"]["special_tokens_as_text"] > 0
    assert la.verify(tmp_path / "out", deep=10**9).ok


@pytest.mark.parametrize("name", MADE)
def test_rejecting_leaves_no_row_with_a_guarded_token_in_its_text(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"a {text} b"}, {"role": "assistant", "content": "yes"}]}
        for text in SPELLED
        if name in ("nfkc", "lower") or text in (*SPECIAL, *ROLES, *TAGS[:4])
    ]
    if name == "lower":
        rows = [
            row
            for row in rows
            if "＜" not in row["messages"][0]["content"] and "USER" not in row["messages"][0]["content"]
        ]
    if name == "nfkc":
        rows = [
            row
            for row in rows
            if "S>" not in row["messages"][0]["content"] and "USER" not in row["messages"][0]["content"]
        ]
    done = la.convert(
        rows, tmp_path / "out", tokenizer=str(folders[name]), mode="none", special_tokens="reject", workers=1
    )
    assert done.totals["written"] == 0
    assert done.totals["quarantined"] == {"special_token_in_text": len(rows)}


def test_the_manifest_names_the_guarded_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    done = la.convert(injected()[:1], tmp_path / "out", tokenizer=str(folders["plain"]), workers=1)
    assert set(done.document["tokenizer"]["guarded"]) == {*SPECIAL, *ROLES, *TAGS[:4]}


def test_a_template_that_puts_its_tokens_together_is_understood(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ '<|' ~ (m.role | capitalize) ~ '|>' ~ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|' ~ 'Assistant' ~ '|>' }}{% endif %}"
    )
    rows = [
        {"messages": [{"role": "user", "content": "a <|User|> b"}, {"role": "assistant", "content": "yes"}]}
    ]
    made = json.loads((folders["plain"] / "tokenizer.json").read_text())
    folder = save_tokenizer(Tokenizer.from_str(json.dumps(made)), tmp_path / "t", eos_token="</s>")
    la.convert(
        rows, tmp_path / "out", tokenizer=str(folder), chat_template=str(template), mode="none", workers=1
    )
    user = load_tokenizer(str(folder)).token_id("<|User|>")
    assert read_rows(tmp_path / "out")[0]["input_ids"].count(user) == 1


def answer_ids(folder: Path, answer: str, out: Path, **changes: Any) -> list[int]:
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]}]
    la.convert(rows, out, tokenizer=str(folder), mode="none", workers=1, **changes)
    row = read_rows(out)[0]
    return [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]


def test_answers_mean_their_reasoning_and_their_calls(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["plain"]
    tokenizer = load_tokenizer(str(folder))
    for at, answer in enumerate(
        (f"{CALL}", f"I call.\n{CALL}\n{CALL}", "<think>\nso\n</think>\n\nYes.", f"<think>a</think>{CALL}")
    ):
        found = answer_ids(folder, answer, tmp_path / str(at))
        assert found == tokenizer.encode_ids([f"{answer}</s>"], special=True)[0]
    for at, answer in enumerate(
        ("a <tool_call> b", "x <think>a</think>", "<tool_call>no call</tool_call>", "</think>")
    ):
        found = answer_ids(folder, answer, tmp_path / f"text-{at}")
        assert found == tokenizer.encode_ids([answer])[0] + [tokenizer.token_id("</s>")]


@pytest.mark.parametrize(
    ("answer", "tags"),
    [
        (CALL, ["<tool_call>", "</tool_call>"]),
        ("<tool_call>[1</tool_call>", []),
        (
            "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
            ["<tool_call>", "</tool_call>"],
        ),
        (
            "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
            ["<tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>"],
        ),
        ("<|tool_call_start|>[f(a=1)]<|tool_call_end|>", ["<|tool_call_start|>", "<|tool_call_end|>"]),
        ("<tool_call><tool_call>{}</tool_call>", ["<tool_call>", "</tool_call>"]),
        (" [THINK]a[/THINK]b", ["[THINK]", "[/THINK]"]),
        ("<think>a", []),
        ("", []),
    ],
)
def test_tags_that_are_meant(answer: str, tags: list[str]) -> None:
    assert [answer[low:high] for low, high in tags_in(answer)] == tags


def test_answers_that_end_in_a_token_are_counted(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"yes{end}"}]}
        for end in ("", "</s>", "</s>\n", "</s> or so")
    ]
    done = la.convert(rows, tmp_path / "out", tokenizer=str(folders["plain"]), workers=1)
    assert done.totals["notes"]["answer_ends_with_special_token"] == 2
    assert done.totals["notes"]["special_tokens_as_text"] == 3


def test_rendered_text_gets_no_second_bos(tmp_path: Path) -> None:
    tokenizer = make_plain()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in SPECIAL]
    )
    folder = save_tokenizer(tokenizer, tmp_path / "t", bos_token="<s>", eos_token="</s>")
    rows = [{"text": "<s>one</s>"}, {"text": "two"}, {"text": ""}, {"text": "<s>three"}, {"text": "four</s>"}]
    options: dict[str, Any] = {"tokenizer": str(folder), "shape": "text", "mode": "none", "workers": 1}
    la.convert(rows, tmp_path / "allow", special_tokens="allow", **options)
    bos, eos = (tokenizer.token_to_id(name) for name in SPECIAL)
    for row in read_rows(tmp_path / "allow"):
        assert (row["input_ids"].count(bos), row["input_ids"].count(eos)) == (1, 1)
    done = la.convert(rows, tmp_path / "text", **options)
    assert done.totals["notes"]["special_tokens_as_text"] == 3


def test_a_row_on_which_the_tokenizer_panics_costs_that_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        pass

    from lookahead_data.model import breakage, tokenizer

    real = tokenizer.LoadedTokenizer.encode

    def encode(self: Any, some: Any, **kwargs: Any) -> Any:
        with breakage.failing():
            if any("BOOM" in text for text in some):
                raise PanicException("retry-limit-in-match over")
            if any("BANG" in text for text in some):
                raise MemoryError
        return real(self, some, **kwargs)

    monkeypatch.setattr(tokenizer.LoadedTokenizer, "encode", encode)
    monkeypatch.setattr(
        tokenizer.LoadedTokenizer, "encode_ascii", lambda self, some: encode(self, some, special=True)
    )
    rows = [{"prompt": f"p{at}", "completion": f"c{at}"} for at in range(100)]
    rows[0]["completion"] = "BOOM"
    rows[63]["prompt"] = "é BOOM"
    rows[64]["completion"] = "BANG"
    done = la.convert(rows, tmp_path / "out", tokenizer="builtin", engine="tokenizers", workers=1)
    assert done.totals["quarantined"] == {"tokenizer_failed": 3}
    assert [row["line"] for row in read_quarantine(tmp_path / "out")] == [1, 64, 65]
    assert "BOOM" in read_quarantine(tmp_path / "out")[0]["excerpt"]
    clean = [row for at, row in enumerate(rows) if at not in (0, 63, 64)]
    monkeypatch.undo()
    la.convert(clean, tmp_path / "clean", tokenizer="builtin", workers=1)
    assert [row["input_ids"] for row in read_rows(tmp_path / "out")] == [
        row["input_ids"] for row in read_rows(tmp_path / "clean")
    ]
