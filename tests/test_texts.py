"""What a look at a whole column of texts finds is what Python finds in each."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.texts import WHITE_SPACE, begins_visibly, contain_any, is_nfc, says_something, stripped


def test_white_space_is_what_python_strips() -> None:
    assert "".join(chr(code) for code in range(0x110000) if chr(code).isspace()) == WHITE_SPACE
    assert len(WHITE_SPACE) == 29
    assert (WHITE_SPACE + "x" + WHITE_SPACE).strip() == "x"
    texts = ["", *WHITE_SPACE, WHITE_SPACE, WHITE_SPACE + "x", "]^\\", "\n-"]
    assert says_something(pa.array(texts, pa.large_string())).tolist() == [
        bool(text.strip()) for text in texts
    ]


def test_every_code_point_that_nfc_replaces_is_known() -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    expected = [unicodedata.is_normalized("NFC", letter) for letter in letters]
    found = is_nfc(pa.array(letters, pa.large_string())).tolist()
    # Polars may know a later Unicode than Python; what Python knows to change must be found.
    assert not [hex(ord(c)) for c, right, said in zip(letters, expected, found, strict=True) if said > right]


@given(
    st.lists(
        st.text(st.sampled_from("aeiAo\u0301\u0308\u0323\u1100\u1161\u11a8가각\u0915\u093cक़é한"), max_size=5)
    )
)
def test_composition_is_noticed(texts: list[str]) -> None:
    expected = [unicodedata.is_normalized("NFC", text) for text in texts]
    array = pa.array(texts, pa.large_string())
    assert is_nfc(array).tolist() == expected
    # Of a few characters of each, asked for by a byte in the last of them.
    starts = [text[: at % 4] for at, text in enumerate(texts)]
    lengths = np.array([len(start.encode()) - (start[-1:] > "\x7f") for start in starts], np.int64)
    within = [start if length else "" for start, length in zip(starts, lengths, strict=True)]
    expected = [unicodedata.is_normalized("NFC", text) for text in within]
    assert is_nfc(array, lengths).tolist() == expected


ODD = st.text(st.sampled_from("ab <|>\n\t\x1c\u00a0\u3000\u2028é漢…\u1680"), max_size=6)


@given(
    st.lists(ODD),
    st.lists(
        st.tuples(st.sampled_from(["lstrip", "rstrip"]), st.sampled_from([None, "\n", "a…", "\u3000b"])),
        max_size=3,
    ),
)
def test_texts_are_stripped_as_python_strips_them(
    texts: list[str], stripping: list[tuple[str, str | None]]
) -> None:
    expected = texts
    for name, chars in stripping:
        expected = [getattr(text, name)(chars) for text in expected]
    assert stripped(pa.array(texts, pa.large_string()), stripping).to_pylist() == expected
    assert stripped(pa.array(["x", *texts], pa.large_string()).slice(1), stripping).to_pylist() == expected
    some = np.arange(len(texts)) % 2 == 0
    mixed = [new if chosen else old for new, old, chosen in zip(expected, texts, some, strict=True)]
    assert stripped(pa.array(texts, pa.large_string()), stripping, some).to_pylist() == mixed


@given(st.lists(ODD), st.sets(st.text(st.sampled_from("ab<|é"), min_size=1, max_size=3), max_size=4))
def test_what_texts_hold_is_found(texts: list[str], needles: set[str]) -> None:
    found = contain_any(pa.array(["a<", *texts], pa.large_string()).slice(1), needles)
    assert found.tolist() == [any(needle in text for needle in needles) for text in texts]


@given(st.lists(ODD))
def test_what_begins_visibly_begins_with_no_white_space(texts: list[str]) -> None:
    array = pa.array(texts, pa.large_string())
    assert says_something(array).tolist() == [bool(text.strip()) for text in texts]
    for text, visible in zip(texts, begins_visibly(array).tolist(), strict=True):
        assert not visible or text[:1].strip()
        assert visible or not text[:1].isascii() or not text[:1].strip()
