"""Normalization, words and shingles are what Python's own string methods say."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.arrays import Ints
from lookahead_data.curation import hashing
from lookahead_data.curation.blocks import in_blocks, in_threads
from lookahead_data.curation.normalize import Form, Normalization, _may_change
from lookahead_data.curation.shingles import Shingling
from lookahead_data.curation.words import find_words
from lookahead_data.errors import SettingsError
from lookahead_data.rowhash import mixed

KNOWN = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"
]
"""All characters that this Python knows; a later Unicode normalizes the others otherwise."""

LETTERS = "abA B\t\n\0\x85\xa0\u3000ßſŉΣςİıÅé\u0301\u0345e\u0308ﬁǅΐ\u1e9eꭰ가\u1100\u1161\u11a8中𝔄😀"
texts_of = st.lists(
    st.text(st.sampled_from(LETTERS), max_size=8) | st.text(st.sampled_from(KNOWN), max_size=5)
)
normalizations = st.builds(
    Normalization, st.sampled_from([None, "NFC", "NFKC"]), st.booleans(), st.booleans()
)


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def slowly(text: str, how: Normalization) -> str:
    if how.form:
        text = unicodedata.normalize(how.form, text)
    if how.fold_case:
        text = text.casefold()
        if how.form:
            text = unicodedata.normalize(how.form, text)
    return " ".join(text.split()) if how.collapse_spaces else text


@given(texts_of, normalizations)
def test_normalization_is_pythons(texts: list[str], how: Normalization) -> None:
    expected = [slowly(text, how) for text in texts]
    assert how(large(texts)).to_pylist() == expected
    assert how(large(["cut off", *texts]).slice(1)).to_pylist() == expected


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_every_character_is_normalized_and_folded_as_python_does(form: Form) -> None:
    how = Normalization(form, fold_case=True, collapse_spaces=False)
    assert how(large(KNOWN)).to_pylist() == [slowly(letter, how) for letter in KNOWN]


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_every_character_that_composes_is_suspected(form: Form) -> None:
    parts = (unicodedata.normalize("NFD", letter) for letter in KNOWN)
    seconds = sorted({letter for part in parts for letter in part[1:]})
    assert pl.Series(seconds).str.contains(_may_change(form)).all()


def test_plain_text_is_not_suspected() -> None:
    assert not pl.Series(["Grüße, мир, 你好, שלום"]).str.contains(_may_change("NFKC")).any()


def test_case_variants_meet_after_folding() -> None:
    how = Normalization("NFC", fold_case=True)
    found = how(large(["ΐ", "Ϊ\u0301", "STRASSE", "straße", "ΟΔΟΣ", "οδος"])).to_pylist()
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[4] == found[5]


@given(texts_of)
def test_words_are_those_of_split(texts: list[str]) -> None:
    words = find_words(large(["", *texts]).slice(1))
    found = [bytes(words.data[b:e]).decode() for b, e in zip(words.begins, words.ends, strict=True)]
    for at, text in enumerate(texts):
        assert found[words.offsets[at] : words.offsets[at + 1]] == text.split()


def test_the_hash_is_what_it_is_said_to_be() -> None:
    # splitmix64's first numbers from the seed 0.
    assert hashing.mix_one(0) == 0xE220A8397B1DCDAF
    assert hashing.mix_one(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4
    numbers = np.array([0, 1, 2**64 - 1], np.uint64)
    assert mixed(numbers).tolist() == [hashing.mix_one(int(number)) for number in numbers]
    assert hashing.BASE % 8 == 5
    assert hashing.hash_of([3, 4]) == hashing.mix_one((3 + 4 * hashing.BASE) % 2**64)


@pytest.mark.parametrize("length", [1, 2, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 100_000])
def test_long_spans_are_hashed_as_short_ones(length: int) -> None:
    units = np.random.default_rng(0).integers(0, 2**64, length, np.uint64)
    begins = np.array([0, length // 2, length - 1])
    ends = np.array([length - 1, length, length])
    expected = [hashing.hash_of(units[b:e].tolist()) for b, e in zip(begins, ends, strict=True)]
    assert hashing.span_hashes(units, begins, ends).tolist() == expected


def grams(text: str, how: Shingling) -> list[str]:
    """The shingles of a text, by the definition."""
    if not text.strip():
        return []
    units = text.split() if how.unit == "word" else list(text)
    count = max(1, len(units) - how.size + 1)
    return [(" " if how.unit == "word" else "").join(units[at : at + how.size]) for at in range(count)]


shinglings = st.builds(Shingling, st.sampled_from(["word", "character"]), st.integers(1, 6))


@given(texts_of, shinglings)
def test_shingles_are_hashes_of_n_grams(texts: list[str], how: Shingling) -> None:
    found = how(large(["", *texts]).slice(1))
    values = found.in_32_bits().tolist()
    for at, text in enumerate(texts):
        expected = [how.hashfunc(gram.encode()) for gram in grams(text, how)]
        assert values[found.offsets[at] : found.offsets[at + 1]] == expected


@given(texts_of, shinglings)
def test_sets_have_each_shingle_once(texts: list[str], how: Shingling) -> None:
    found = how(large(texts))
    sets = found.sets()
    for at in range(len(texts)):
        expected = sorted(set(found.hashes[found.offsets[at] : found.offsets[at + 1]].tolist()))
        assert sets.hashes[sets.offsets[at] : sets.offsets[at + 1]].tolist() == expected


def test_different_n_grams_have_different_hashes() -> None:
    chance = np.random.default_rng(7)
    vocabulary = np.array([f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiouy" for c in "\0nrst"])
    text = " ".join(vocabulary[chance.integers(0, len(vocabulary), 200_000)])
    for how in (Shingling("word", 3), Shingling("character", 9)):
        distinct = len(set(grams(text, how)))
        assert distinct > 150_000
        found = how(large([text]))
        assert len(np.unique(found.hashes)) == distinct
        # In 32 bits some fall together: as many as of random numbers, give or take four deviations.
        expected = distinct**2 / 2**33
        assert abs(distinct - len(np.unique(found.in_32_bits())) - expected) < 4 * expected**0.5 + 1


def test_a_shingle_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="shingle of 0 words"):
        Shingling("word", 0)


@given(st.lists(st.text(max_size=9), max_size=20), st.integers(1, 60), st.integers(1, 5))
def test_blocks_are_all_the_texts_in_order(texts: list[str], memory: int, batch: int) -> None:
    parts = [large(texts[at : at + batch]) for at in range(0, len(texts), batch)]
    numbers = np.arange(len(texts)) * 3
    batches = [(numbers[at * batch : at * batch + len(part)], part) for at, part in enumerate(parts)]
    blocks = list(in_blocks(batches, memory, 2, 1))
    assert [text for _, block in blocks for text in block.to_pylist()] == texts
    assert [row for rows, _ in blocks for row in rows.tolist()] == numbers.tolist()
    for _, block in blocks:
        costs = [2 * len(text.encode()) + 1 for text in block.to_pylist()]
        assert sum(costs) <= memory or len(costs) == 1


@pytest.mark.parametrize("rows", [[[1, 1]], [[2, 1]], [[0], [0]], [[3], [2]], [[-2]]])
def test_rows_out_of_order_are_refused(rows: list[list[int]]) -> None:
    batches = [(np.array(part), large(["x"] * len(part))) for part in rows]
    with pytest.raises(ValueError, match="must ascend"):
        list(in_blocks(batches, 100, 1, 1))


def test_rows_without_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="2 row numbers for 1 texts"):
        list(in_blocks([(np.arange(2), large(["x"]))], 100, 1, 1))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_keep_the_order_and_tell_errors(threads: int) -> None:
    taken = []

    def blocks() -> Iterator[tuple[Ints, pa.LargeStringArray]]:
        for at in range(20):
            taken.append(at)
            yield np.array([at]), large(["x"])

    def work(rows: Ints, texts: pa.LargeStringArray) -> int:
        if rows[0] == 15:
            raise RuntimeError("the fifteenth")
        return int(rows[0])

    done = []
    with pytest.raises(RuntimeError, match="the fifteenth"):
        for number in in_threads(work, blocks(), threads):
            done.append(number)
            assert len(taken) <= number + threads + 1
    assert done == list(range(15))
