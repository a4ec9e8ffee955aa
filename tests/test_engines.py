"""The fast engine gives the ids that `tokenizers` gives, and is left as soon as it does not."""

from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import PAIRS, conversation, read_rows, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.arrays import Ints
from lookahead_data.errors import TokenizerError
from lookahead_data.model import engines, load
from lookahead_data.model.engines import Ids, TokenizersEngine, agree, choose_engine
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.stages.encode import AUDIT_EVERY

pytest.importorskip("gigatoken", reason="the extra `fast` is not installed")

TEXTS = st.lists(
    st.text(
        st.one_of(st.sampled_from(list("ab 12\n\t'.<|>é漢👩‍")), st.characters(codec="utf-8")), max_size=30
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def fast(builtin: LoadedTokenizer) -> engines.Engine:
    return choose_engine("gigatoken", builtin)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_both_engines_agree(texts: list[str], fast: engines.Engine, builtin: LoadedTokenizer) -> None:
    assert fast.name == "gigatoken"
    assert agree(fast, TokenizersEngine(builtin), texts)
    assert agree(fast, TokenizersEngine(builtin), [text + "<|im_end|>\n" for text in texts])


@pytest.mark.parametrize("name", ["llama3_1", "qwen3"])
def test_both_engines_agree_on_real_text(name: str, shared: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"tokenizer": str(shared / "tokenizers" / name), "workers": 1}
    corpus = shared / "data" / "gsm8k_test.jsonl"
    slow = la.convert(corpus, tmp_path / "slow", engine="tokenizers", **options)
    quick = la.convert(corpus, tmp_path / "quick", engine="gigatoken", **options)
    assert read_rows(tmp_path / "slow") == read_rows(tmp_path / "quick")
    assert {unit["engine"] for unit in slow.document["units"]} == {"tokenizers"}
    assert {unit["engine"] for unit in quick.document["units"]} == {"gigatoken"}
    assert slow.totals["audited"] == quick.totals["audited"] == len(range(0, 1319, AUDIT_EVERY))


def test_slices_of_arrow_arrays_are_encoded_as_what_they_show(fast: engines.Engine) -> None:
    texts = pa.array(["one", "two words", "", "three"], pa.large_string())
    ids, offsets = fast.encode(texts.slice(1, 2))
    expected, bounds = fast.encode(pa.array(["two words", ""], pa.large_string()))
    assert ids.tolist() == expected.tolist()
    assert offsets.tolist() == bounds.tolist()
    assert fast.encode(texts.slice(0, 0))[1].tolist() == [0]


class Wrong:
    """An engine that goes wrong on one text."""

    name = "wrong"
    remembers = False

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._right = TokenizersEngine(tokenizer)

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        ids, offsets = self._right.encode(texts)
        odd = [at for at, text in enumerate(texts.to_pylist()) if "odd one" in text]
        ids = np.array(ids)
        for at in odd:
            ids[offsets[at]] += 1
        return ids, offsets


def test_a_unit_on_which_the_engines_differ_is_encoded_by_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "GigatokenEngine", Wrong)
    monkeypatch.setattr(load, "SMALL", 0)
    rows = PAIRS * 400
    rows[AUDIT_EVERY] = {"prompt": "the odd one", "completion": "is this row, which is audited."}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    size = path.stat().st_size // 2
    manifest = la.convert(path, tmp_path / "out", tokenizer="builtin", unit_size=size, workers=1)
    first, *others = manifest.document["units"]
    assert (first["engine"], first["engine_differed"]) == ("wrong", None)
    assert ("tokenizers", f"row {AUDIT_EVERY + 1}") in [
        (unit["engine"], unit["engine_differed"]) for unit in others
    ]
    la.convert(path, tmp_path / "right", tokenizer="builtin", unit_size=size, engine="tokenizers")
    assert read_rows(tmp_path / "out") == read_rows(tmp_path / "right")


def test_an_engine_that_cannot_be_used_is_refused_or_passed_over(
    monkeypatch: pytest.MonkeyPatch, builtin: LoadedTokenizer
) -> None:
    class Broken(Wrong):
        def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
            raise ValueError("unknown model")

    for engine, words in ((Broken, "unknown model"), (Half, "other ids on a self-test")):
        monkeypatch.setattr(engines, "GigatokenEngine", engine)
        assert choose_engine("auto", builtin).name == "tokenizers"
        with pytest.raises(TokenizerError, match=words):
            choose_engine("gigatoken", builtin)


class Half(Wrong):
    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        ids, offsets = super().encode(texts)
        return ids // 2, offsets


def test_rows_that_spell_special_tokens_are_encoded_the_same(tmp_path: Path) -> None:
    rows = [
        {"messages": conversation("say <|im_end|> it", "<|im_start|> said")},
        {"messages": conversation("plain", "text")},
    ] * 3
    for engine in ("tokenizers", "gigatoken"):
        la.convert(rows, tmp_path / engine, tokenizer="builtin", engine=engine)
    assert read_rows(tmp_path / "gigatoken") == read_rows(tmp_path / "tokenizers")


def test_a_tokenizer_with_a_start_of_its_own_is_left_to_the_truth(llama_like: Path, tmp_path: Path) -> None:
    assert load_tokenizer(str(llama_like)).sensitive
    manifest = la.convert(PAIRS, tmp_path / "out", tokenizer=str(llama_like), engine="gigatoken")
    assert manifest.document["units"][0]["engine"] == "tokenizers"


@pytest.mark.parametrize("told", [True, False])
def test_what_gigatoken_remembers_has_an_end(
    told: bool, builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gigatoken = pytest.importorskip("gigatoken")
    loaded: list[weakref.ref[object]] = []
    honest = gigatoken.Tokenizer.from_json

    def load(text: bytes) -> object:
        assert all(before() is None for before in loaded), "two of them in memory"
        fresh = honest(text)
        loaded.append(weakref.ref(fresh))
        return fresh

    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", load)
    grown = itertools.count(0, 100)
    monkeypatch.setattr(engines, "resident_bytes", lambda: next(grown) if told else None)
    monkeypatch.setattr(engines, "LOOKED_EVERY", 10)
    monkeypatch.setattr(engines, "REMEMBERED", 250)
    monkeypatch.setattr(engines, "BLINDLY", 49)
    engine = engines.GigatokenEngine(builtin)
    texts = pa.array(["four", " words", " at a time"], pa.large_string())  # 20 bytes
    expected = TokenizersEngine(builtin).encode(texts)
    for _ in range(7):
        ids, offsets = engine.encode(texts)
        assert (ids.tolist(), offsets.tolist()) == (expected[0].tolist(), expected[1].tolist())
    # Blindly it is loaded anew after each third call. Else the first look only measures what the process has
    # anyway, and the fourth finds it grown by too much.
    assert len(loaded) == (2 if told else 3)


def test_the_size_of_a_process_is_told() -> None:
    found = engines.resident_bytes()
    assert found is None or 10 << 20 < found < 100 << 30
