"""Conditions on rows as Polars reads them: which fields they name, and what their own functions stand for."""

from __future__ import annotations

import functools
import re

import polars as pl

TEXTS = ("prompt", "completion", "conversation")
"""Texts of a conversation that a condition may name."""
TURNS = "turns"
"""The number of its messages."""

VERDICTS = ("label", "kto tag", "is preferred", "is safe", "is accepted", "accepted")
"""Fields that tell wanted answers from unwanted ones where they hold true or false; else they are labels of
some classification."""

_NAME = r"(?:\"([^\"]+)\"|([A-Za-z_]\w*(?:\.\w+)*))"
_COUNTS = re.compile(rf"\b(len_words|len_tokens)\s*\(\s*{_NAME}\s*\)")
_CHARS = re.compile(r"\blen_chars\s*\(")
_QUOTED = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\")")
_DOTTED = re.compile(r"(?<![\w.\"])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?![\w(])")


@functools.lru_cache(4096)
def plain(name: str) -> str:
    """A name of a field without what does not count in it: case, and what parts its words."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def is_verdict(name: str) -> bool:
    """Whether a field may hold verdicts on answers."""
    return plain(name.rpartition(".")[2]) in _VERDICTS


_VERDICTS = frozenset(map(plain, VERDICTS))


def to_sql(text: str) -> tuple[str, set[tuple[str, str]]]:
    """A condition in Polars' own SQL, and the counts that it asks for: each a function and a field.

    `len_words(x)` and `len_tokens(x)` become columns, `len_chars` its name in SQL; dotted names are quoted, since
    SQL takes the first part for a table.
    """
    counts: set[tuple[str, str]] = set()

    def counted(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        counts.add((match[1], name))
        return f'"{column_of(match[1], name)}"'

    sql = _CHARS.sub("char_length(", _COUNTS.sub(counted, text))
    parts = _QUOTED.split(sql)
    parts[::2] = [_DOTTED.sub(r'"\1"', part) for part in parts[::2]]
    return "".join(parts), counts


def column_of(function: str, name: str) -> str:
    """The column that holds a count of a field."""
    return f"{function}({name})"


def fields_in(text: str) -> list[str]:
    """The names that a condition uses, but for those of the conversation; none where it is no condition."""
    sql, counts = to_sql(text)
    try:
        roots = pl.sql_expr(sql).meta.root_names()
    except pl.exceptions.PolarsError:
        return []  # whoever checks the condition says so
    columns = {column_of(*count) for count in counts}
    named = [*(name for name in roots if name not in columns), *(name for _, name in sorted(counts))]
    return [name for name in dict.fromkeys(named) if name not in (*TEXTS, TURNS)]
