"""What keeps a row from the quick readers: fields with a meaning that these do not read.

A field is no matter where it holds nothing, as null columns of Arrow and of `datasets` do. Where a later row
fills it, that row goes the strict way.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import polars as pl

from lookahead_data.source import names
from lookahead_data.source.shapes import Shape
from lookahead_data.source.strict import TALKS, is_context
from lookahead_data.source.turns import CAREFUL

_EMPTY = r'\s*(?:null|""|\[\s*\]|\{\s*\})'
_NOT_GIVEN = r'\s*(?:null|"")'
"""What is no tools; an empty list of tools is something to some templates."""
_NULL = r"\s*null"
KEPT = names.REASONING_KEYS[0]
"""The key of a message whose empty text is kept."""


@dataclass(frozen=True)
class Guard:
    """The fields of rows of a shape that quick readers must not pass over.

    Attributes:
        keys: regular expressions for these as JSON keys, each with one for its value where it holds nothing.
        verdicts: a regular expression for a verdict on an answer, or None.
    """

    keys: tuple[tuple[str, str], ...]
    verdicts: str | None
    _columns: re.Pattern[str]

    def holds(self, name: str) -> bool:
        """Whether a field is one of these."""
        return self._columns.match(f'"{name}":') is not None or (
            self.verdicts is not None and names.is_verdict(name)
        )

    def tests(self) -> list[pl.Expr]:
        """Tests for lines of JSON, in the column `line`, in which none of these fields holds anything."""
        line = pl.col("line").str
        tests = [line.count_matches(key) == line.count_matches(key + empty) for key, empty in self.keys]
        return tests if self.verdicts is None else [*tests, ~line.contains(self.verdicts)]


@functools.lru_cache(64)
def guard_of(shape: Shape) -> Guard:
    """The guard of a shape."""
    taken = {names.plain(name) for name in (*shape.texts, *shape.ignored)}
    talks = shape.kind in TALKS
    if talks and shape.system_field:
        taken.discard(names.plain(shape.system_field))
    meanings = dict(names.ROW_FIELDS)
    if shape.kind == "text":
        meanings = {names.MEDIA: names.ROW_FIELDS[names.MEDIA]}
    elif talks:
        meanings.pop(names.REASONING)
    else:
        meanings.pop(names.MASK)
    if any(names.is_chosen(name) for name in shape.fields):
        meanings[names.PREFERENCE] = names.VERDICTS
    found: dict[str, list[str]] = {_EMPTY: [], _NOT_GIVEN: [], _NULL: []}
    for meaning, listed in meanings.items():
        found[_NOT_GIVEN if meaning == names.TOOLS else _EMPTY] += listed
    if talks:
        rules = shape.rules
        found[_EMPTY] += [key for key in CAREFUL if key not in (KEPT, *rules.ignored)]
        found[_NULL] += [KEPT] if KEPT not in rules.ignored else []
        found[_EMPTY] += [shape.system_field] if shape.system_field else []
    elif shape.kind != "text":
        found[_EMPTY] += [name for name in names.CONTEXTS if is_context(name, shape)]
    keys = tuple(
        (names.json_pattern(mine), empty)
        for empty, listed in found.items()
        if (mine := [name for name in dict.fromkeys(listed) if not _is_taken(name, taken)])
    )
    verdicts = [name for name in names.VERDICTS if names.plain(name) not in taken]
    words = "|".join(sorted(names.VERDICT_WORDS))
    verdict = rf'{names.json_pattern(verdicts)}\s*(?:true|false|"\s*(?:{words})\s*")' if verdicts else None
    columns = re.compile("|".join(key.removeprefix("(?i)") for key, _ in keys) or "(?!)", re.IGNORECASE)
    return Guard(keys, None if shape.kind == "text" else verdict, columns)


def _is_taken(name: str, taken: set[str]) -> bool:
    return names.plain(name) in taken or name in names.VERDICTS
