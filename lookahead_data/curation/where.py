"""Conditions on rows, in the SQL of Polars: `len_chars(completion) > 20 and language = 'English'`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.conditions import TEXTS, TURNS, column_of, fields_in, is_verdict, to_sql
from lookahead_data.curation.fields import field_texts
from lookahead_data.errors import SettingsError
from lookahead_data.talk import Talk

CountTokens = Callable[[pa.LargeStringArray], npt.NDArray[np.int64]]
"""From texts to how many tokens each has, shape (texts,)."""

KINDS: tuple[pl.DataType, ...] = (pl.Boolean(), pl.Float64(), pl.String())
"""The types that a field of a row may have in a condition."""
MOST_FIELDS = 6
"""Fields of a condition up to which every combination of types is tried."""

_PROBE: dict[str, Any] = dict.fromkeys(TEXTS, "x") | {TURNS: 1}
"""A row by which a condition is checked: without any, Polars lets comparisons pass that it refuses later."""
_PROBES: dict[pl.DataType, Any] = {pl.Boolean(): True, pl.Float64(): 1.5, pl.String(): "x"}


class Condition:
    """One condition, checked before any row is read.

    JSON and CSV do not say of what type a field is; a condition does, by what it compares the field with. Values
    that are of another type are converted, and null where they cannot be.
    """

    def __init__(self, text: str, count_tokens: CountTokens | None = None) -> None:
        """
        Args:
            count_tokens: what `len_tokens` counts with; without it the condition can be checked, but not asked.

        Raises:
            SettingsError: it is no condition.
        """
        self.text = text
        self._count_tokens = count_tokens
        sql, self._counts = to_sql(text)
        self.fields: Sequence[str] = fields_in(text)
        if any(name == TURNS for _, name in self._counts):
            raise _refusal(text, f"{TURNS!r} is a number, not a text")
        try:
            self._expression = pl.sql_expr(sql)
        except pl.exceptions.PolarsError as error:
            raise _refusal(text, str(error).split("\n")[0]) from None
        self._typings = list(self._possible_types())

    @property
    def judges(self) -> bool:
        """Whether it asks for a verdict on the answer, which holds for rows of the class safety as for others."""
        return any(map(is_verdict, self.fields))

    @property
    def counts_tokens(self) -> bool:
        """Whether it needs a tokenizer."""
        return any(function == "len_tokens" for function, _ in self._counts)

    def holds(self, talk: Talk, row_fields: pa.LargeStringArray | None = None) -> npt.NDArray[np.bool_]:
        """In which conversations it holds, shape (rows,). What is unknown does not hold.

        Args:
            row_fields: the column of that name, where the condition names fields of rows.
        """
        values = self._values(row_fields, len(talk.starts) - 1)
        types = max(self._typings, key=lambda types: sum(_fit(values[name], types[name]) for name in types))
        columns = {name: _series(name, values[name], kind) for name, kind in types.items()}
        try:
            found = self._frame(talk, columns).select(self._expression).to_series()
        except pl.exceptions.PolarsError as error:
            raise _refusal(self.text, str(error).split("\n")[0]) from None
        flags: npt.NDArray[np.bool_] = found.fill_null(False).to_numpy()
        return np.broadcast_to(flags, len(talk.starts) - 1)

    def _possible_types(self) -> Iterator[Mapping[str, pl.DataType]]:
        """The types of fields with which the expression is a condition.

        Raises:
            SettingsError: there are none.
        """
        problem = ""
        found = False
        tries: Any = itertools.product(KINDS, repeat=len(self.fields))
        for kinds in itertools.islice(tries, len(KINDS) ** MOST_FIELDS):
            types = dict(zip(self.fields, kinds, strict=True))
            probes = {name: pl.Series(name, [_PROBES[kind]], dtype=kind) for name, kind in types.items()}
            try:
                kind = self._frame(None, probes).select(self._expression).to_series().dtype
            except pl.exceptions.PolarsError as error:
                problem = problem or str(error).split("\n")[0]
                continue
            if kind == pl.Boolean:
                found = True
                yield types
            else:
                problem = problem or f"it gives {kind}, not true or false"
        if not found:
            raise _refusal(self.text, problem)

    def _values(self, row_fields: pa.LargeStringArray | None, rows: int) -> dict[str, list[Any]]:
        if not self.fields:
            return {}
        records = (
            [{}] * rows
            if row_fields is None
            else [json.loads(text or "{}") for text in row_fields.to_pylist()]
        )
        return {name: [record.get(name) for record in records] for name in self.fields}

    def _frame(self, talk: Talk | None, fields: Mapping[str, pl.Series]) -> pl.DataFrame:
        if talk is None:
            frame = pl.DataFrame({name: [value] for name, value in _PROBE.items()} | dict(fields))
        else:
            texts = {name: pl.Series(field_texts(talk, name)) for name in TEXTS if name in self.text}
            frame = pl.DataFrame({TURNS: pl.Series(np.diff(talk.starts)), **texts, **fields})
        return frame.with_columns(
            self._count(function, frame[name], checking=talk is None).alias(column_of(function, name))
            for function, name in sorted(self._counts)
        )

    def _count(self, function: str, texts: pl.Series, *, checking: bool) -> pl.Series:
        texts = texts.cast(pl.String)
        if function == "len_words":
            return texts.str.count_matches(r"\S+")
        if checking or not len(texts):
            return pl.Series([1] * len(texts), dtype=pl.Int64)
        assert self._count_tokens is not None
        whole = whole_array(texts.fill_null("").to_arrow()).cast(pa.large_string())
        return pl.Series(self._count_tokens(whole))


def _fit(values: Sequence[Any], kind: pl.DataType) -> int:
    """How well values are of a type: by themselves, or else by conversion."""
    given = [value for value in values if value is not None]
    natural = sum(_natural(value) == kind for value in given)
    return natural * (len(given) + 1) + len(given) - _series("", given, kind).null_count()


def _natural(value: Any) -> pl.DataType:
    if isinstance(value, bool):
        return pl.Boolean()
    return pl.String() if isinstance(value, str) else pl.Float64()


def _series(name: str, values: Sequence[Any], kind: pl.DataType) -> pl.Series:
    """The values as a column of a type, null where they cannot be of it."""
    if kind == pl.String:
        texts = [value if isinstance(value, str | None) else json.dumps(value) for value in values]
        return pl.Series(name, texts, dtype=pl.String)
    if kind == pl.Boolean:
        return pl.Series(name, [_as_flag(value) for value in values], dtype=pl.Boolean)
    numbers = [_as_number(value) for value in values]
    if all(isinstance(number, int | None) and abs(number or 0) < 1 << 63 for number in numbers):
        return pl.Series(name, numbers, dtype=pl.Int64)
    return pl.Series(name, [None if n is None else float(n) for n in numbers], dtype=pl.Float64)


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().casefold())
    return value if isinstance(value, bool) else None


def _as_number(value: Any) -> int | float | None:
    if isinstance(value, str):
        for make in (int, float):
            try:
                return make(value)
            except ValueError:
                continue
        return None
    return None if isinstance(value, bool) else value


def _refusal(text: str, problem: str) -> SettingsError:
    return SettingsError(
        f"{text!r} is no condition on rows: {problem}",
        where="--where",
        remedy="Write one like len_chars(completion) > 20 or language = 'English'. It may name prompt, completion, "
        "conversation, turns and any field of the rows, and use len_chars, len_words, len_tokens and the functions "
        "of Polars' SQL.",
    )
