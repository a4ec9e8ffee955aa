"""What is encoded piece by piece, and no piece twice, is what `tokenizers` gives of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers import PAIRS, THINK, conversation, read_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, normalizers, pre_tokenizers

import lookahead_data as la
from lookahead_data.model.engines import PiecewiseEngine, TokenizersEngine, agree, choose_engine
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

GPT2 = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
"""Takes the newlines at a text's start in one piece, but in two where a word follows."""
TEXTS = st.lists(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "[SEP]", "\n", "\n\n", "\r\n", " \n"]
            ),
            st.text(st.sampled_from(list("aZ 1\n\t'.<|>\u0301\x1c\x85\u3000é漢")), max_size=6),
            st.text(st.characters(codec="utf-8"), max_size=3),
        ),
        max_size=8,
    ).map("".join),
    max_size=5,
)


def changed(folder: Path, **changes: Any) -> LoadedTokenizer:
    """The built-in tokenizer with another splitter, normalizer or further tokens."""
    tokenizer = Tokenizer.from_buffer(load_tokenizer("builtin").to_json())
    if regex := changes.get("regex"):
        split = pre_tokenizers.Split(Regex(regex), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    if changes.get("nfc"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(changes.get("tokens", []))
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def tokenizers(
    tmp_path_factory: pytest.TempPathFactory, builtin: LoadedTokenizer, wordpiece: Path
) -> dict[str, LoadedTokenizer]:
    home = tmp_path_factory.mktemp("piecewise")
    thinking = [AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)]
    return {
        "builtin": builtin,
        "thinking": changed(home / "thinking", nfc=True, tokens=thinking),
        "gpt2": changed(home / "gpt2", regex=GPT2),
        "searched": changed(home / "searched", nfc=True, tokens=[AddedToken("Z1", normalized=True)]),
        "wordpiece": load_tokenizer(str(wordpiece)),
    }


def piecewise(tokenizer: LoadedTokenizer) -> PiecewiseEngine:
    engine = choose_engine("tokenizers", tokenizer)
    assert isinstance(engine, PiecewiseEngine)
    return engine


@pytest.mark.parametrize("name", ["builtin", "thinking", "gpt2", "searched", "wordpiece"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TEXTS, then=TEXTS)
def test_pieces_give_the_ids_of_the_whole(
    first: list[str], then: list[str], name: str, tokenizers: dict[str, LoadedTokenizer]
) -> None:
    engine, truth = piecewise(tokenizers[name]), TokenizersEngine(tokenizers[name])
    for texts in (first, then + first, then):
        assert agree(engine, truth, texts)


@pytest.mark.parametrize("name", ["llama3_1", "qwen3"])
def test_pieces_of_real_tokenizers_give_the_ids_of_the_whole(name: str, shared: Path) -> None:
    tokenizer = load_tokenizer(str(shared / "tokenizers" / name))
    engine, truth = piecewise(tokenizer), TokenizersEngine(tokenizer)
    _, mark, rest = engine._borders.split(f"{tokenizer.named['eos_token']}\n\nso")
    assert (mark[-3:], rest) == (">\n\n", "so")

    @settings(max_examples=150, deadline=None)
    @given(texts=TEXTS)
    def test(texts: list[str]) -> None:
        assert agree(engine, truth, texts)

    test()


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("thinking", ["", "<think>\n\n</think>\n\n", "so<", "<|im_end|>", "\n"]),
        ("builtin", ["<think>\n\n</think>\n\nso<", "<|im_end|>", "\n"]),
    ],
)
def test_tokens_and_the_newlines_behind_them_are_cut_off(
    name: str, pieces: list[str], tokenizers: dict[str, LoadedTokenizer]
) -> None:
    text = "<think>\n\n</think>\n\nso<<|im_end|>\n"
    assert piecewise(tokenizers[name])._borders.split(text) == pieces


@pytest.mark.parametrize(
    ("name", "text", "rest"),
    [
        ("gpt2", "<|im_end|>\n\nso", "\n\nso"),  # the splitter is not one that is known
        ("builtin", "<|im_end|>\n\n so", "\n\n so"),
        ("builtin", "<|im_end|>\n\n\u3000so", "\n\n\u3000so"),
        ("builtin", "<|im_end|>\n\r\nso", "\n\r\nso"),
    ],
)
def test_newlines_that_may_belong_to_what_follows_stay_there(
    name: str, text: str, rest: str, tokenizers: dict[str, LoadedTokenizer]
) -> None:
    assert piecewise(tokenizers[name])._borders.split(text) == ["", "<|im_end|>", rest]


def test_a_tokenizer_whose_tokens_must_be_whole_words_is_asked_for_whole_texts(tmp_path: Path) -> None:
    token = AddedToken("<odd>", normalized=False, single_word=True)
    tokenizer = changed(tmp_path / "odd", tokens=[token])
    assert isinstance(choose_engine("tokenizers", tokenizer), TokenizersEngine)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip"])
def test_tokens_that_take_white_space_along_cut_nothing(flag: str, tmp_path: Path) -> None:
    token = AddedToken("<odd>", normalized=False, **{flag: True})
    tokenizer = changed(tmp_path / "odd", tokens=[token])
    engine = piecewise(tokenizer)
    texts = ["a <odd> b", "<|im_end|>\n<odd>\n<|im_end|> \n\nc", "<|im_end|>\n \n<odd><odd>  <|im_start|>\nd"]
    assert engine._borders.split(texts[0]) == [texts[0]]
    assert agree(engine, TokenizersEngine(tokenizer), texts)


def test_a_tokenizer_that_minds_the_start_of_a_text_is_asked_for_whole_texts(llama_like: Path) -> None:
    tokenizer = load_tokenizer(str(llama_like))
    assert isinstance(choose_engine("tokenizers", tokenizer), TokenizersEngine)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that `tokenizers` was asked for without offsets."""
    texts: list[str] = []
    real = LoadedTokenizer.encode_fast

    def recording(self: LoadedTokenizer, some: Sequence[str]) -> list[Encoding]:
        texts.extend(some)
        return real(self, some)

    monkeypatch.setattr(LoadedTokenizer, "encode_fast", recording)
    yield texts


def test_what_the_last_call_had_is_not_asked_for_again(builtin: LoadedTokenizer, asked: list[str]) -> None:
    engine = piecewise(builtin)
    engine.encode(pa.array(["an answer", "<|im_end|>", "an answer"], pa.large_string()))
    assert sorted(asked) == ["", "<|im_end|>", "an answer"]
    del asked[:]
    engine.encode(pa.array(["<|im_end|>\nan answer<|im_end|>", "another"], pa.large_string()))
    assert sorted(asked) == ["<|im_end|>\n", "another"]
    del asked[:]
    engine.encode(pa.array(["another"], pa.large_string()))
    engine.encode(pa.array(["an answer"], pa.large_string()))
    assert asked == ["an answer"]  # no more is kept than one call had


def test_an_answer_is_encoded_once(tmp_path: Path, asked: list[str]) -> None:
    template = tmp_path / "think.jinja"
    template.write_text(THINK)
    long = "An answer of many words, which is longer than what its head needs, goes on and on here. " * 3
    rows = [*PAIRS, {"prompt": "Go on.", "completion": long}]
    for name in ("chatml", str(template)):
        del asked[:]
        la.convert(
            rows, tmp_path / Path(name).stem, tokenizer="builtin", chat_template=name, engine="tokenizers"
        )
        # Without tokens of that name, a think block and the answer behind it are one text.
        assert len([text for text in asked if long in text]) == (1 if name == "chatml" else 2)


def test_a_corpus_is_converted_as_by_whole_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"messages": conversation(row["prompt"], row["completion"])} for row in PAIRS] * 40 + [
        {"messages": conversation("say <|im_end|> it", "<|im_start|> said")},
        {"messages": conversation("\n\nfirst", "\n\n then", " \n", "e\u0301té \u212b")},
    ]
    options: dict[str, Any] = {"tokenizer": "builtin", "engine": "tokenizers", "preview_turns": "all"}
    pieces = la.convert(rows, tmp_path / "pieces", **options)
    monkeypatch.setattr(LoadedTokenizer, "border_pattern", None)
    whole = la.convert(rows, tmp_path / "whole", **options)
    assert read_rows(tmp_path / "pieces") == read_rows(tmp_path / "whole")
    assert (pieces.totals["audited"], whole.totals["audited"]) == (1, 0)  # whole texts are the truth
    assert {**pieces.totals, "audited": 0} == whole.totals
