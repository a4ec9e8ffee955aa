"""When two texts count as the same: Unicode form, case and white space, each as asked for.

A text is brought to the Unicode form, its case is folded (and, since folding takes some letters apart,
brought to the form again), and each run of white space becomes one space, none at either end.

Case folding is Python's `str.casefold`, made of its own table, so "ß" meets "SS". White space is what
`str.split` splits at. Forms are Polars': it may know a later Unicode than Python, and then normalizes
characters that Python takes for unassigned; on all others the two are equal.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.texts import WHITE_SPACE

Form = Literal["NFC", "NFKC"]

_OTHER_SPACE = WHITE_SPACE.replace(" ", "")
_UNTIDY = f"[{_OTHER_SPACE}]|  |^ | $"
# A lone space, the most common, is no match: that is three times as fast.
_SPACES = f"[{_OTHER_SPACE}][{WHITE_SPACE}]*| [{WHITE_SPACE}]+"
_SURROGATES = range(0xD800, 0xE000)
_PLANES = range(0x80, 0x20000)
"""Where all letters stand that have case, or a form of their own but the ideographs after it."""


@dataclass(frozen=True)
class Normalization:
    """What is evened out before texts are compared.

    Attributes:
        form: the Unicode form; None leaves texts as they are.
        fold_case: whether upper and lower case are the same.
        collapse_spaces: whether all runs of white space are the same, and none counts at either end.
    """

    form: Form | None = "NFC"
    fold_case: bool = False
    collapse_spaces: bool = True

    def __call__(self, texts: pa.LargeStringArray) -> pa.LargeStringArray:
        """The texts as they are compared; nulls must not be among them."""
        series: pl.Series = pl.Series(texts)
        ascii_only = series.str.len_bytes() == series.str.len_chars()
        if self.form is not None:
            series = _formed(series, self.form, ascii_only)
        if self.fold_case:
            series = _folded(series, ascii_only)
            if self.form is not None:
                series = _formed(series, self.form, ascii_only)
        if self.collapse_spaces:
            series = _changed(series, series.str.contains(_UNTIDY), _collapsed)
        return whole_array(series.to_arrow()).cast(pa.large_string())


def _changed(series: pl.Series, which: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The texts, those at `which` changed: most texts need no change, and finding out is the cheaper part."""
    if not which.any():
        return series
    places = which.arg_true()
    return series.scatter(places, change(series.gather(places)))


def _formed(series: pl.Series, form: Form, ascii_only: pl.Series) -> pl.Series:
    def formed(some: pl.Series) -> pl.Series:
        suspects = some.str.contains(_may_change(form))
        return _changed(some, suspects, lambda suspect: suspect.str.normalize(form))

    return _changed(series, ~ascii_only, formed)


def _folded(series: pl.Series, ascii_only: pl.Series) -> pl.Series:
    folded = series.str.to_lowercase()
    if ascii_only.all():
        return folded
    wide = (~ascii_only).arg_true()
    return folded.scatter(wide, series.gather(wide).str.replace_many(_folding()))


def _collapsed(series: pl.Series) -> pl.Series:
    return series.str.replace_all(_SPACES, " ").str.strip_chars(" ")


@functools.cache
def _folding() -> dict[str, str]:
    """What each letter folds to, where that is another."""
    letters = (chr(code) for code in (*range(0x41, 0x5B), *_PLANES) if code not in _SURROGATES)
    return {letter: folded for letter in letters if (folded := letter.casefold()) != letter}


@functools.cache
def _may_change(form: Form) -> str:
    """A pattern of the characters that the form may change, alone or together with the one before."""
    # Marks, the vowels and finals of Hangul and the vowels of Kirat Rai compose with what is before them; what Python does not know
    # yet is left to Polars.
    found = [
        code
        for code in (*_PLANES, *range(0x2F800, 0x2FA20))
        if code not in _SURROGATES
        and (not unicodedata.is_normalized(form, chr(code)) or unicodedata.category(chr(code)) == "Cn")
    ]
    return rf"[\p{{M}}\u1161-\u1175\u11A8-\u11C2\U00016D63-\U00016D6A{_ranges(found)}]"


def _ranges(codes: list[int]) -> str:
    """Ascending code points as ranges of a character class."""
    text, first = "", codes[0]
    for before, code in zip(codes, [*codes[1:], -1], strict=True):
        if code != before + 1:
            text += f"\\U{first:08X}-\\U{before:08X}"
            first = code
    return text
