"""Text that remembers where it came from.

A chat template mixes its own text with the contents of messages. Labels and special tokens depend
on which is which, and searching the rendered text for the contents cannot tell: templates trim,
split and move them, and contents repeat. So contents enter a template as ropes. A `Rope` is a
`str`, so the template behaves exactly as it would, and it keeps its pieces, so every operation
that a template can do to it gives text whose origin is known.

The rule is one-sided: text that came from a message is never taken for the template's own. Where
an operation mixes origins beyond repair, the result counts as message text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, SupportsIndex

Slot = tuple[int, str]
"""A message's place in the conversation and the name of one of its fields."""


UNKNOWN: Slot = (-1, "")
"""The slot of message text whose origin is lost."""


TOOLS = -2
"""In place of a message's place: the slots of tool definitions, which are named by their number."""


class Piece(NamedTuple):
    """A run of text of one origin.

    Attributes:
        text: the characters; empty where a slot's content came to nothing.
        slot: the message field that it came from, or None for the template's own text.
        generation: the number of the `{% generation %}` block that it stands in, or 0.
        stripping: how a probe was stripped (see `trace`); ropes leave it empty.
    """

    text: str
    slot: Slot | None = None
    generation: int = 0
    stripping: tuple[tuple[str, str | None], ...] = ()


class Rope(str):
    """A `str` made of pieces. Its value is their concatenation."""

    _pieces: tuple[Piece, ...]

    def __new__(cls, pieces: Iterable[Piece] | str) -> Rope:
        # Jinja's sandbox makes the result of `format` anew from a string: message text of no known slot.
        kept = (Piece(plain(pieces), UNKNOWN),) if isinstance(pieces, str) else tuple(_merge(pieces))
        self = super().__new__(cls, "".join([piece.text for piece in kept]))
        self._pieces = kept
        return self

    @classmethod
    def of(cls, text: str, slot: Slot) -> Rope:
        return cls([Piece(text, slot)])

    @property
    def _slot(self) -> Slot | None:
        """The first slot among the pieces."""
        return next((piece.slot for piece in self._pieces if piece.slot is not None), None)

    def _cut(self, start: int, stop: int) -> Rope:
        """The characters from `start` to `stop`, with their origins.

        A slot that comes to nothing there stays as an empty piece, so that its place is not lost.
        """
        pieces, at = [], 0
        for piece in self._pieces:
            end = at + len(piece.text)
            low, high = max(start, at), min(stop, end)
            if low < high:
                pieces.append(piece._replace(text=piece.text[low - at : high - at]))
            elif piece.slot is not None and (len(self._pieces) == 1 or (at <= stop and start <= end)):
                pieces.append(piece._replace(text=""))
            at = end
        return type(self)(pieces)

    def _absorb(self, text: str) -> Rope:
        """`text`, made from this rope in a way that lost the origins: all of it is message text."""
        slot = self._slot
        if slot is None:
            return type(self)([Piece(text)])
        return type(self)([Piece(text, slot)])

    # Jinja calls `str(value)` on whatever it prints; a rope must stay one.
    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> Rope:
        return concat([self, other]) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> Rope:
        return concat([other, self]) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> Rope:
        return concat([self] * int(count))

    __rmul__ = __mul__

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if isinstance(key, slice):
            start, stop, step = key.indices(str.__len__(self))
            if step == 1:
                return self._cut(start, max(start, stop))
            return self._absorb(super().__getitem__(key))
        text = super().__getitem__(key)
        at = int(key) % str.__len__(self)
        return self._cut(at, at + len(text))

    def __iter__(self) -> Iterator[str]:
        return (self._cut(at, at + 1) for at in range(str.__len__(self)))

    def strip(self, chars: str | None = None, /) -> Rope:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> Rope:
        return self._cut(str.__len__(self) - len(super().lstrip(chars)), str.__len__(self))

    def rstrip(self, chars: str | None = None, /) -> Rope:
        return self._cut(0, len(super().rstrip(chars)))

    def removeprefix(self, prefix: str, /) -> Rope:
        return self._cut(len(prefix) if str.startswith(self, prefix) else 0, str.__len__(self))

    def removesuffix(self, suffix: str, /) -> Rope:
        return self._cut(0, len(super().removesuffix(suffix)))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(super().split(sep, maxsplit))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        # From the right the parts are found in order too; only their number differs.
        return self._parts(super().rsplit(sep, maxsplit))

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._parts(super().splitlines(keepends))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        head, middle, tail = self._parts(super().partition(sep))
        return head, middle, tail

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        head, middle, tail = self._parts(super().rpartition(sep))
        return head, middle, tail

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Rope:
        limit = int(count) if int(count) >= 0 else str.__len__(self) + 1
        if not old:
            return self._absorb(super().replace(old, new, count))
        pieces: list[Piece] = []
        at = 0
        while limit > 0 and (found := str.find(self, old, at)) >= 0:
            pieces += self._cut(at, found)._pieces
            origin = self._cut(found, found + len(old))
            pieces += new._pieces if isinstance(new, Rope) else origin._absorb(new)._pieces
            at = found + len(old)
            limit -= 1
        pieces += self._cut(at, str.__len__(self))._pieces
        return type(self)(pieces)

    def encode(self, *_: object, **__: object) -> bytes:
        raise TypeError("a chat template cannot turn text into bytes here")

    def join(self, parts: Iterable[str], /) -> Rope:
        return join(self, parts)

    def _parts(self, texts: Iterable[str]) -> list[str]:
        """Substrings of this rope, given as text from left to right."""
        parts: list[str] = []
        at = 0
        for text in texts:
            at = str.find(self, text, at)
            parts.append(self._cut(at, at + len(text)))
            at += len(text)
        return parts


def _remade(name: str) -> Callable[..., Rope]:
    plain = getattr(str, name)

    @functools.wraps(plain)
    def method(self: Rope, *args: Any, **kwargs: Any) -> Rope:
        return self._absorb(plain(self, *args, **kwargs))

    return method


# Operations that make new characters: what they make of a rope counts as message text.
for _name in [
    "capitalize",
    "casefold",
    "center",
    "expandtabs",
    "format",
    "format_map",
    "ljust",
    "lower",
    "rjust",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
    "__mod__",
    "__rmod__",
    "__format__",
]:
    setattr(Rope, _name, _remade(_name))


def cut(text: Rope, start: int, stop: int) -> Rope:
    """The characters from `start` to `stop`, with their origins."""
    return text._cut(start, stop)


class RootedDict(dict[Any, Any]):
    """An object of a corpus, of which text may be made that holds none of its strings."""

    slot: Slot = UNKNOWN


class RootedList(list[Any]):
    """An array of a corpus, of which text may be made that holds none of its strings."""

    slot: Slot = UNKNOWN


def rooted(value: Any, slot: Slot) -> Any:
    """A JSON value all texts of which are ropes of one slot; ropes in it stay what they are."""
    if isinstance(value, Rope):
        return value
    if isinstance(value, str):
        return Rope.of(value, slot)
    if isinstance(value, dict):
        if type(value) not in (dict, RootedDict):
            return value  # a probe
        copy = RootedDict({rooted(key, slot): rooted(inner, slot) for key, inner in value.items()})
        copy.slot = slot
        return copy
    if isinstance(value, list | tuple):
        several = RootedList(rooted(inner, slot) for inner in value)
        several.slot = slot
        return several
    return value


def slot_of(text: Rope) -> Slot | None:
    """The first slot among a rope's pieces."""
    return text._slot


def plain(text: str) -> str:
    """The characters alone, as a plain string."""
    return str.__str__(text)


def concat(parts: Iterable[str]) -> Rope:
    """The concatenation of ropes and plain strings; plain ones are the template's own text."""
    pieces: list[Piece] = []
    kind = Rope
    for part in parts:
        if isinstance(part, Rope):
            pieces += part._pieces
            kind = type(part) if kind is Rope else kind
        elif part:
            pieces.append(Piece(part))
    return kind(pieces)


def join(separator: str, parts: Iterable[str]) -> Rope:
    """`separator.join(parts)` for ropes and plain strings."""
    strung: list[str] = []
    for index, part in enumerate(parts):
        if index:
            strung.append(separator)
        strung.append(part)
    return concat(strung)


def pieces_of(text: str) -> tuple[Piece, ...]:
    """The pieces of a rope, or the one piece of a plain string."""
    return text._pieces if isinstance(text, Rope) else (Piece(text),)


def _merge(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """`pieces` without empty literals, neighbours of one origin made one."""
    last: Piece | None = None
    for piece in pieces:
        if not piece.text and piece.slot is None:
            continue
        if last is not None and last[1:] == piece[1:]:
            last = last._replace(text=last.text + piece.text)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last
