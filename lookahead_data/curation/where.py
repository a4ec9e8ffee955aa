"""Conditions on rows, in the SQL of Polars: `len_chars(completion) > 20 and len_tokens(prompt) < 4096`."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.curation.fields import FIELDS, field_texts
from lookahead_data.errors import SettingsError
from lookahead_data.talk import Talk

CountTokens = Callable[[pa.LargeStringArray], npt.NDArray[np.int64]]
"""From texts to how many tokens each has, shape (texts,)."""

_WORDS = re.compile(r"\blen_words\s*\(\s*(\w+)\s*\)")
_TOKENS = re.compile(r"\blen_tokens\s*\(\s*(\w+)\s*\)")
_CHARS = re.compile(r"\blen_chars\s*\(")
_TYPES: dict[str, pl.DataType] = {name: pl.String() for name in FIELDS} | {"turns": pl.Int64()}


class Condition:
    """One condition, checked before any row is read."""

    def __init__(self, text: str, count_tokens: CountTokens | None = None) -> None:
        """
        Args:
            count_tokens: what `len_tokens` counts with; without it the condition can be checked, but not asked.

        Raises:
            SettingsError: it is no condition, or names what no row has.
        """
        self.text = text
        self._count_tokens = count_tokens
        self._words = sorted(set(_WORDS.findall(text)))
        self._tokens = sorted(set(_TOKENS.findall(text)))
        sql = _TOKENS.sub(r"\1_tokens", _CHARS.sub("char_length(", _WORDS.sub(r"\1_words", text)))
        try:
            self._expression = pl.sql_expr(sql)
            kind = self._frame(None).select(self._expression).to_series().dtype
        except pl.exceptions.PolarsError as error:
            raise _refusal(text, str(error).split("\n")[0]) from None
        if kind != pl.Boolean:
            raise _refusal(text, f"it gives {kind}, not true or false")

    @property
    def counts_tokens(self) -> bool:
        """Whether it needs a tokenizer."""
        return bool(self._tokens)

    def holds(self, talk: Talk) -> npt.NDArray[np.bool_]:
        """In which conversations it holds, shape (rows,). What is unknown does not hold."""
        try:
            found = self._frame(talk).select(self._expression).to_series()
        except pl.exceptions.PolarsError as error:
            raise _refusal(self.text, str(error).split("\n")[0]) from None
        values: npt.NDArray[np.bool_] = found.fill_null(False).to_numpy()
        return np.broadcast_to(values, len(talk.starts) - 1)

    def _frame(self, talk: Talk | None) -> pl.DataFrame:
        if talk is None:
            frame = pl.DataFrame(schema=_TYPES)
        else:
            texts = {name: pl.Series(field_texts(talk, name)) for name in FIELDS if name in self.text}
            frame = pl.DataFrame({"turns": pl.Series(np.diff(talk.starts)), **texts})
        unknown = [name for name in (*self._words, *self._tokens) if name not in FIELDS]
        if unknown:
            raise _refusal(self.text, f"there is no text {unknown[0]!r}")
        return frame.with_columns(
            *(pl.col(name).str.count_matches(r"\S+").alias(f"{name}_words") for name in self._words),
            *(self._tokens_of(frame[name]).alias(f"{name}_tokens") for name in self._tokens),
        )

    def _tokens_of(self, texts: pl.Series) -> pl.Series:
        if not len(texts):
            return pl.Series([], dtype=pl.Int64)
        assert self._count_tokens is not None
        return pl.Series(self._count_tokens(whole_array(texts.to_arrow()).cast(pa.large_string())))


def _refusal(text: str, problem: str) -> SettingsError:
    return SettingsError(
        f"{text!r} is no condition on rows: {problem}",
        where="--where",
        remedy="Write one like len_chars(completion) > 20. It may name prompt, completion, conversation and "
        "turns, and use len_chars, len_words, len_tokens and the functions of Polars' SQL.",
    )
