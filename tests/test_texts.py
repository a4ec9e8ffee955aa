"""What a look at a whole column of texts finds is what Python finds in each."""

from __future__ import annotations

import unicodedata

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.texts import WHITE_SPACE, is_nfc, says_something


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
    found = is_nfc(pl.Series(letters)).tolist()
    # Polars may know a later Unicode than Python; what Python knows to change must be found.
    assert not [hex(ord(c)) for c, right, said in zip(letters, expected, found, strict=True) if said > right]


@given(
    st.lists(
        st.text(st.sampled_from("aeiAo\u0301\u0308\u0323\u1100\u1161\u11a8가각\u0915\u093cक़é한"), max_size=5)
    )
)
def test_composition_is_noticed(texts: list[str]) -> None:
    expected = [unicodedata.is_normalized("NFC", text) for text in texts]
    assert is_nfc(pl.Series(texts, dtype=pl.String)).tolist() == expected
