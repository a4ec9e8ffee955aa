"""Limits on what a chat template may take: it is a program that somebody else wrote.

Jinja's sandbox keeps a template from reaching out of itself. It keeps none from running for ever, or
from filling the memory.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lookahead_data.model.watch import watched

SECONDS = 10.0
"""The time in which a template must have rendered one conversation. Real ones take milliseconds."""

ROOM = 1 << 26
"""Characters that a template may write beside the texts that it is given."""
COPIES = 8
"""How often it may write these texts."""
KEPT = 4
"""How many times as much it may make on the way, of texts and lists together: all of it may be kept."""
ITEM = 8
"""An item of a list counts as so many characters."""
LARGEST_EXPONENT = 1000
LARGEST_BITS = 1 << 16
"""Bits of a whole number. Arithmetic on larger ones takes long, and nothing stops it."""
LARGEST_NUMBER = 10_000_000
"""The largest number that a template may give to a filter or a method: `center`, say, makes a text of
that length."""

_WIDE = re.compile(r"[0-9]{7}")

_room: ContextVar[int] = ContextVar("room", default=ROOM)
_made: ContextVar[list[int] | None] = ContextVar("made", default=None)
_until: ContextVar[float] = ContextVar("until", default=float("inf"))


class LimitError(Exception):
    """The template takes too much."""


@contextmanager
def limited(texts: int) -> Iterator[None]:
    """Limit what runs in the block.

    Args:
        texts: characters of the texts that the template is given.

    Raises:
        LimitError: in the block, when it takes too long or makes too much.
    """
    tokens = (_room.set(ROOM + COPIES * texts), _made.set([0]), _until.set(time.monotonic() + SECONDS))
    try:
        with _alarmed() if threading.current_thread() is threading.main_thread() else _watched():
            yield
    finally:
        for variable, token in zip((_room, _made, _until), tokens, strict=True):
            variable.reset(token)  # type: ignore[attr-defined]


@contextmanager
def _alarmed() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _watched() -> Iterator[None]:
    try:
        with watched(SECONDS, LimitError):
            yield
    except LimitError as error:
        if not error.args:  # raised from outside, without words
            _ring()
        raise


def _ring(*_: object) -> None:
    raise LimitError(f"it takes longer than {SECONDS:g} seconds")


def check_time() -> None:
    """Raise `LimitError` if the time is up."""
    if time.monotonic() > _until.get():
        _ring()


def check_made(value: Any) -> Any:
    """What a filter or a method made, counted with all that was made before.

    Raises:
        LimitError: it is too much.
    """
    if isinstance(value, str):
        _count(_length(value))
    elif isinstance(value, list | tuple | dict | set):
        inner = sum(len(item) for item in value if isinstance(item, list | tuple))  # as `batch` makes them
        _count((len(value) + inner) * ITEM)
    elif isinstance(value, int):
        _check_bits(value.bit_length())
    return value


def _count(length: int) -> None:
    made = _made.get()
    if made is not None:
        made[0] += length
        if made[0] > KEPT * _room.get():
            raise LimitError(
                f"it makes texts and lists of more than {KEPT * _room.get():,} characters together"
            )


def _check_bits(bits: int) -> None:
    if bits > LARGEST_BITS:
        raise LimitError(f"it makes a whole number of more than {LARGEST_BITS:,} bits")


def check_length(length: int) -> None:
    """Raise `LimitError` if a text of this length is too long."""
    if length > _room.get():
        raise LimitError(f"it makes a text of more than {_room.get():,} characters")


def bounded(pieces: Iterable[Any]) -> Iterator[Any]:
    """The pieces of a text, as long as they are not too long together."""
    length = 0
    for piece in pieces:
        length += _length(piece)
        check_length(length)
        yield piece
    _count(length)
    check_time()


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raise `LimitError` if the result of `left operator right` would be too large to be made at all."""
    check_time()
    if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        check_length(_size(left) + _size(right))
        _count(_size(left) + _size(right))
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(many, "__len__"):
                check_length(_size(many) * max(times, 0))
                _count(_size(many) * max(times, 0))
    if operator == "**" and isinstance(right, int) and right > LARGEST_EXPONENT:
        raise LimitError(f"it raises a number to a power of more than {LARGEST_EXPONENT}")
    if isinstance(left, int) and isinstance(right, int):
        bits = (left.bit_length(), right.bit_length())
        _check_bits({"*": sum(bits), "**": bits[0] * max(right, 1)}.get(operator, max(bits)))
    if operator == "%" and isinstance(left, str):
        check_format(left)


def check_format(text: str) -> None:
    """Raise `LimitError` if a format asks for a very wide field."""
    if _WIDE.search(str.__str__(text)):
        raise LimitError("it formats a value to a width of millions")


def check_arguments(arguments: Iterable[Any]) -> None:
    """Raise `LimitError` if a filter or a method is given a very large number."""
    check_time()
    for value in arguments:
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise LimitError(f"it gives a filter or a method the number {value:,}")


def check_join(separator: str, parts: Sequence[Any]) -> None:
    """Raise `LimitError` if the parts with the separator between them would be too long a text."""
    lengths = sum(_length(part) if isinstance(part, str) else 0 for part in parts)
    check_length(lengths + _length(separator) * len(parts))


def check_replace(text: Any, *words: Any) -> None:
    """Raise `LimitError` if a text with one word replaced by another would be too long."""
    if isinstance(text, str) and len(words) >= 2 and all(isinstance(word, str) for word in words[:2]):
        old, new = str.__str__(words[0]), _length(words[1])
        found = str.count(str.__str__(text), old)
        check_length(_length(text) + found * max(new - len(old), 0))


def _size(value: Any) -> int:
    """The length of a text; of a list that of a text which takes as much memory."""
    return _length(value) if isinstance(value, str) else len(value) * ITEM


def _length(value: Any) -> int:
    # A probe takes note of everything that the template asks it; this is not the template asking.
    return str.__len__(value) if isinstance(value, str) else len(value)


def length_of(texts: Iterable[str]) -> int:
    """The characters of all texts together."""
    return sum(map(_length, texts))
