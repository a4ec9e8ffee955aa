"""What a whole column of texts is made of: white space, whether they say anything, what they hold, whether they
are composed."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags, Ints, slices, utf8_parts, whole_array

WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""The 29 characters that `str.strip` removes; Polars' own default knows four fewer."""

_SOMETHING = f"[^{WHITE_SPACE}]"


_VISIBLE = np.ones(1 << 16, bool)
"""Whether two bytes are the first ones of a text that says something; where not, more is to be looked at."""
_VISIBLE[: (ord(" ") + 1) << 8] = False
for _char in filter(lambda char: char > "\x7f", WHITE_SPACE):
    _VISIBLE[int.from_bytes(_char.encode()[:2])] = False


def to_arrow(texts: pl.Series) -> pa.LargeStringArray:
    """A column of texts as Arrow has it; nulls become empty texts."""
    return whole_array(texts.fill_null("").to_arrow()).cast(pa.large_string())


INDENT = 16
"""Bytes of a text that begins with white space that are looked at before all of it is."""


def says_something(texts: pa.LargeStringArray) -> Flags:
    """Which texts are not all white space, shape (texts,); nulls must not be among them."""
    found = begins_visibly(texts)
    bounds, raw = utf8_parts(texts)
    sizes = np.diff(bounds)
    unsure = np.flatnonzero(~found & (sizes > 0))
    if len(unsure):
        # Behind some white space mostly stands a letter of ASCII.
        steps = np.arange(INDENT)
        near = raw[np.minimum(bounds[:-1][unsure, None] + steps, len(raw) - 1)]
        letters = (near > ord(" ")) & (near < 0x7F) & (steps < sizes[unsure, None])
        found[unsure] = letters.any(axis=1)
        unsure = unsure[~found[unsure]]
    if len(unsure):
        found[unsure] = pl.Series(texts.take(pa.array(unsure))).str.contains(_SOMETHING).to_numpy()
    return found


def begins_visibly(texts: pa.LargeStringArray) -> Flags:
    """Texts that begin with no white space, shape (texts,): all such but for some with rare characters."""
    found = np.zeros(len(texts), bool)
    bounds, raw = utf8_parts(texts)
    filled = np.flatnonzero(np.diff(bounds))
    first = bounds[:-1][filled]
    # Behind a text of one byte, which is ASCII, any byte will do.
    second = np.minimum(first + 1, len(raw) - 1)
    found[filled] = _VISIBLE[raw[first].astype(np.uint16) << 8 | raw[second]]
    return found


Stripping = Sequence[tuple[str, str | None]]
"""Names of methods of `str`, `lstrip` or `rstrip`, each with the characters that it removes; None is white space."""


def stripped(
    texts: pa.LargeStringArray, stripping: Stripping, where: Flags | None = None
) -> pa.LargeStringArray:
    """The texts with characters removed at their ends; nulls must not be among them.

    Args:
        where: which texts that is done to, shape (texts,); None: to all.
    """
    bounds, raw = utf8_parts(texts)
    starts, ends = bounds[:-1].copy(), bounds[1:].copy()
    for name, chars in stripping:
        left = name == "lstrip"
        removed = WHITE_SPACE if chars is None else chars
        # Nearly all texts begin and end with a byte of no character that is removed.
        edge = np.zeros(256, bool)
        edge[[char.encode()[0 if left else -1] for char in removed]] = True
        filled = np.flatnonzero(starts < ends if where is None else (starts < ends) & where)
        places = filled[edge[raw[starts[filled] if left else ends[filled] - 1]]]
        if not len(places):
            continue
        series = pl.Series(slices(starts[places], ends[places], raw))
        rest = series.str.strip_chars_start(removed) if left else series.str.strip_chars_end(removed)
        gone = (series.str.len_bytes().cast(pl.Int64) - rest.str.len_bytes().cast(pl.Int64)).to_numpy()
        if left:
            starts[places] += gone
        else:
            ends[places] -= gone
    same = np.array_equal(starts, bounds[:-1]) and np.array_equal(ends, bounds[1:])
    return texts if same else slices(starts, ends, raw)


def contain_any(texts: pa.LargeStringArray, needles: Collection[str]) -> Flags:
    """Which texts hold one of some other texts, shape (texts,); nulls must not be among them."""
    found = np.zeros(len(texts), bool)
    bounds, raw = utf8_parts(texts)
    if not needles or not len(raw):
        return found
    places = np.arange(len(texts))
    sought = [needle.encode() for needle in needles]
    firsts = {needle[0] for needle in sought}
    if len(firsts) <= FEW:
        # Nearly no text has the bytes with which most special tokens begin.
        part = raw[bounds[0] : bounds[-1]]
        hits = np.flatnonzero(np.logical_or.reduce([part == first for first in firsts])) + bounds[0]
        for at in range(1, min(map(len, sought))):
            follow = np.zeros(256, bool)
            follow[[needle[at] for needle in sought]] = True
            hits = hits[follow[raw[np.minimum(hits + at, len(raw) - 1)]]]
        places = np.flatnonzero(np.diff(np.searchsorted(hits, bounds)))
    if len(places):
        some = texts if len(places) == len(texts) else texts.take(pa.array(places))
        found[places] = pl.Series(some).str.contains_any(sorted(needles)).to_numpy()
    return found


FEW = 2
"""Bytes with which needles begin up to which it is quicker to look for these first."""

_MAY_COMPOSE = (
    r"[\p{M}\u0374\u037E\u0387\u0958-\u095F\u09DC-\u09DF\u0A33-\u0A5E\u0B5C\u0B5D\u0F43-\u0F69"
    r"\u1100-\u11FF\u1F71-\u1FFF\u2000\u2001\u2126\u212A\u212B\u2329\u232A\u2ADC\uF900-\uFAFF"
    r"\uFB1D-\uFB4E\U0001D15E-\U0001D1C0\U0002F800-\U0002FA1F]"
)
"""Marks, Hangul letters, and all code points that NFC replaces: a text without them is in NFC."""
SPARSE = 8
"""Of so many bytes one at most must be beyond ASCII for it to be quicker to look which texts have any."""


def to_characters(ends: Ints, stops: Ints, raw: npt.NDArray[np.uint8]) -> Ints:
    """Places among UTF-8 bytes, each moved to the end of the character that it is in, if not beyond a stop."""
    for _ in range(3 if len(raw) else 0):  # a character has at most three bytes behind its first
        ends = ends + ((ends < stops) & ((raw[np.minimum(ends, len(raw) - 1)] & 0xC0) == 0x80))
    return ends


def is_nfc(texts: pa.LargeStringArray, lengths: Ints | None = None) -> Flags:
    """Which texts are in Unicode's composed form, shape (texts,); nulls must not be among them.

    Args:
        lengths: how many bytes of each are to be, and the character in which they end; None: all.
    """
    found = np.ones(len(texts), bool)
    bounds, raw = utf8_parts(texts)
    ends = bounds[1:] if lengths is None else bounds[:-1] + lengths
    places = np.arange(len(texts))
    are_beyond = raw[bounds[0] : bounds[-1]] >= 0x80  # ASCII
    if np.count_nonzero(are_beyond) * SPARSE < len(are_beyond):
        beyond = np.flatnonzero(are_beyond) + bounds[0]
        places = np.flatnonzero(np.searchsorted(beyond, bounds[:-1]) < np.searchsorted(beyond, ends))
    if len(places):
        starts, ends, stops = bounds[:-1][places], ends[places], bounds[1:][places]
        whole = lengths is None and len(places) == len(texts)
        some = pl.Series(texts if whole else slices(starts, to_characters(ends, stops, raw), raw))
        # Polars can only normalize, which is ten times slower than to search, and four than to ask Python.
        doubtful = some.str.contains(_MAY_COMPOSE).to_numpy()
        odd = [unicodedata.is_normalized("NFC", text) for text in some.filter(pl.Series(doubtful))]
        found[places[doubtful]] = odd
    return found
