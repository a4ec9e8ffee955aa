"""What the names of fields mean in the corpora that people have.

A field whose meaning changes what is learned is never passed over in silence: it is read, or its row is
refused. Names match whatever their case, and with `_`, `-`, a space or nothing between their words.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lookahead_data.conditions import VERDICTS, is_verdict, plain

__all__ = ["VERDICTS", "is_verdict", "plain"]

SYSTEM, CONTEXT, HISTORY, REASONING = "system", "context", "history", "reasoning"
TOOLS, TEMPLATE_ARGS, WEIGHT = "tools", "template arguments", "weight"
MEDIA, PREFERENCE, MASK = "media", "preference", "mask"

ROW_FIELDS: dict[str, tuple[str, ...]] = {
    SYSTEM: ("system", "system prompt", "system message", "system instruction", "system instructions"),
    HISTORY: ("history", "chat history", "conversation history"),
    REASONING: (
        "reasoning", "reasoning content", "reasoning trace", "reasoning text", "thinking", "thinking content",
        "thought", "thoughts", "complex cot", "cot", "chain of thought", "rationale",
    ),
    TOOLS: ("tools", "functions", "tool definitions"),
    TEMPLATE_ARGS: ("chat template kwargs", "chat template args"),
    WEIGHT: ("weight", "loss weight", "sample weight", "loss scale", "loss mask", "trainable"),
    MEDIA: (
        "image", "images", "image path", "image paths", "image url", "image urls", "image file", "img",
        "audio", "audios", "audio path", "audio url", "video", "videos", "video path", "video url",
    ),
    PREFERENCE: (
        "label", "kto tag", "is preferred", "is safe", "is accepted", "accepted", "rejected", "rejected response", "rejected responses",
        "rejected messages", "rejected output", "rejected answer", "non preferred output", "dispreferred output",
    ),
    MASK: ("mask",),
}  # fmt: skip
"""Fields of a row that have a meaning beside prompt, answer and messages."""

CHOSEN = (
    "chosen",
    "chosen response",
    "preferred output",
    "chosen messages",
    "chosen output",
    "chosen answer",
)
"""Names of the wanted side of a preference pair."""

VERDICT_WORDS = frozenset(("true", "false", "desirable", "undesirable", "chosen", "rejected"))

CONTEXTS = ("input", "context", "passage", "paragraph", "background")
"""Fields that continue a prompt, in this order."""
INSTRUCTIONS = ("instruction", "question", "query")
"""Prompts that an `input` continues; other prompts are whole."""

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys of a message that hold what was thought before its content."""

REASONING_SWITCHES = frozenset(
    ("on", "off", "true", "false", "yes", "no", "none", "low", "medium", "high", "0", "1")
)
"""What a field named `reasoning` holds where it tells whether there is any, or how much."""


_MEANINGS = {plain(name): meaning for meaning, names in ROW_FIELDS.items() for name in names}
_CHOSEN = frozenset(map(plain, CHOSEN))


@functools.lru_cache(4096)
def meaning_of(name: str) -> str | None:
    """What a field of a row means, or None where its name tells nothing."""
    return _MEANINGS.get(plain(name))


def last_of(name: str) -> str:
    """The last part of a dotted name."""
    return name.rpartition(".")[2]


def is_chosen(name: str) -> bool:
    """Whether a field is the wanted side of a preference pair."""
    return plain(last_of(name)) in _CHOSEN


def judges(value: Any) -> bool:
    """Whether a value is a verdict on an answer: true or false, as JSON or CSV have it."""
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().casefold() in VERDICT_WORDS)


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, an empty text or list, or an object of nothing but nulls."""
    if value is None:
        return True
    return (
        (isinstance(value, str | list) and not value)
        or (isinstance(value, Mapping) and all(item is None for item in value.values()))
        or (isinstance(value, float) and math.isnan(value))
    )


def find(present: Iterable[str], wanted: str) -> str | None:
    """The field of these whose name is the wanted one, whatever its case; an equal name goes first."""
    names = list(present)
    if wanted in names:
        return wanted
    return next((name for name in names if plain(name) == plain(wanted)), None)


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field, which a dotted name finds inside of others; None where it is not there."""
    if name in record or "." not in name:
        return record.get(name)
    return _step(record, path_of(record, name))


def path_of(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The keys that lead to a field; a key with dots in it goes before a dotted path."""
    return (name,) if name in record or "." not in name else tuple(name.split("."))


def _step(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = as_object(value)
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def as_object(value: Any) -> Any:
    """A map of Arrow, which is a list of pairs, as a mapping; all else as it is."""
    if isinstance(value, list) and value and all(isinstance(p, tuple) and len(p) == 2 for p in value):
        return dict(value)
    return value


def wanted(columns: Iterable[str], fields: Iterable[str]) -> list[str]:
    """The columns that have to be read for these fields (which may be dotted), and those with a meaning."""
    roots = {root for name in fields for root in (name, name.partition(".")[0])}
    return [name for name in columns if name in roots or meaning_of(name)]


def flattened(record: Mapping[str, Any], inside: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The fields of a record, those inside of some objects by their dotted names instead of the object."""
    opened = {name.partition(".")[0] for name in inside if "." in name and name not in record}
    for name, value in record.items():
        value = as_object(value)
        if name in opened and isinstance(value, Mapping):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def json_pattern(names: Iterable[str]) -> str:
    """A regular expression for a key of JSON that means something, with the quotes and the colon."""
    words = (r"[\s_-]*".join(re.escape(word) for word in re.split(r"[\s_-]+", name)) for name in names)
    return rf'(?i)"(?:{"|".join(words)})"\s*:'
