"""What is marked of two texts is what they do not share, or do, and short texts are shown whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.check.marks import BEFORE, MOST, Piece, differences, shared
from lookahead_data.curation.contamination import Contamination, comparable


def shown(pieces: list[Piece]) -> str:
    return "".join(f"«{piece.text}»" if piece.marked else piece.text for piece in pieces)


def words(pieces: list[Piece], *, marked: bool) -> list[str]:
    return [word for piece in pieces if piece.marked == marked for word in piece.text.split()]


texts = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2 * MOST).map(" ".join)


@given(texts, texts)
def test_what_is_not_marked_is_in_both(one: str, other: str) -> None:
    left, right = differences(one, other)
    if max(len(one.split()), len(other.split())) <= MOST:
        assert "".join(piece.text for piece in left) == one
        assert "".join(piece.text for piece in right) == other
    same = [[word for word in words(side, marked=False) if word != "…"] for side in (left, right)]
    assert same[0] == same[1]
    assert max(len(side) for side in same) <= MOST
    assert (one == other) == (not any(piece.marked for piece in (*left, *right)))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("the quick brown fox", "the  quick red fox jumps", ("the quick «brown» fox", "the  quick «red» fox «jumps»")),
        ("Five.", "five!", ("«Five.»", "«five!»")),
        ("same words", "same\nwords ", ("same words", "same\nwords")),
        ("", "x y", ("", "«x y»")),
        (" ", "\n", ("", "")),
        ("中文很好", "中文不好", ("中文«很»好", "中文«不»好")),
        ("w " * 99 + "old " + "v " * 99, "w " * 99 + "new " + "v " * 99, (
            "… " + "w " * BEFORE + "«old» " + "v " * (MOST - BEFORE - 1) + "…",
            "… " + "w " * BEFORE + "«new» " + "v " * (MOST - BEFORE - 1) + "…",
        )),
        ("w " * 99 + "end", "w " * 99, ("… " + "w " * BEFORE + "«end»", "… " + "w " * (BEFORE - 1) + "w")),
        ("w " * 99, "w " * 99, ("w " * MOST + "…",) * 2),
        ("x" * 4000 + "y", "x" * 4000 + "z", ("… " + "x" * 40 * BEFORE + "«y»", "… " + "x" * 40 * BEFORE + "«z»")),
    ],
)  # fmt: skip
def test_texts_around_their_first_difference(one: str, other: str, expected: tuple[str, str]) -> None:
    assert tuple(map(shown, differences(one, other))) == expected


known = st.lists(
    st.sampled_from(["One", "two,", "Ⅲ", "é", "e\u0301", "文", "ﬁve", "(six)", "½"]), max_size=90
)


@given(known.map(" ".join), known.map(" ".join), st.integers(1, 5))
def test_what_contamination_finds_is_marked(text: str, item: str, size: int) -> None:
    search = Contamination(pa.array([item], pa.large_string()), size, 1)
    for line in search.find(np.array([0]), pa.array([text], pa.large_string())).to_pylist():
        for whole in (text, item):
            pieces = shared(whole, line["overlap"])
            (marked,) = (piece.text for piece in pieces if piece.marked)
            found = comparable(pa.array([marked], pa.large_string()))[0].as_py()
            # One character may become several words, of which only some are shared.
            assert f" {line['overlap']} " in f" {' '.join(found.split())} "
            assert marked in whole


@pytest.mark.parametrize(
    ("text", "overlap", "expected"),
    [
        ("He said: What, then, is it?", "what then is", "He said: «What, then, is» it?"),
        ("那是什么意思 吗?", "什 么 意 思", "那是«什么意思» 吗?"),
        ("v " * 50 + "A-b" + " w" * 99, "a b", "… " + "v " * BEFORE + "«A-b»" + " w" * (MOST - BEFORE - 2) + " …"),
        ("nothing of it?!", "what then", "nothing of it?!"),
        ("?!", "what", "?!"),
        ("", "what", ""),
    ],
)  # fmt: skip
def test_texts_around_what_they_share(text: str, overlap: str, expected: str) -> None:
    assert shown(shared(text, overlap)) == expected
