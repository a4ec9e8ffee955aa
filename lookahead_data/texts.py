"""What a text is made of: white space, and whether it says anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""The 29 characters that `str.strip` removes; Polars' own default knows four fewer."""

_SOMETHING = f"[^{WHITE_SPACE}]"


def says_something(texts: pl.Series) -> npt.NDArray[np.bool_]:
    """Which texts are neither null nor all white space, shape (texts,)."""
    found: npt.NDArray[np.bool_] = texts.str.contains(_SOMETHING).fill_null(False).to_numpy()
    return found


def all_ascii(texts: pl.Series) -> npt.NDArray[np.bool_]:
    """Which texts hold nothing but ASCII, shape (texts,); nulls must not be among them."""
    found: npt.NDArray[np.bool_] = (texts.str.len_bytes() == texts.str.len_chars()).to_numpy()
    return found
