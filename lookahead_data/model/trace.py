"""Render a shape of conversation once, and know what the template does to every row of it.

A chat template rendered by Jinja costs tens of microseconds a row, more than all the rest together.
So each shape (its roles and fields) is rendered once on probes: ropes that record what is done to
them. What comes out is a layout of literals and slots, each slot with the stripping that it went
through, and it holds for all *regular* rows, those whose texts

- hold something other than white space, so that no emptiness test can tell them apart, and
- contain none of the needles: the constants that the template looked for in a text.

On such texts every `in`, `startswith`, `split`, `replace` and `==` has one and the same outcome, so
every row takes the way through the template that the probes took. An operation of any other kind
(a length, an index, a hash, …) makes the shape opaque, and its rows are rendered one by one, as are
rows that are not regular.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from lookahead_data.model.rope import Piece, Rope, Slot
from lookahead_data.texts import WHITE_SPACE


@dataclass
class Recorder:
    """What was done to the probes.

    Attributes:
        needles: constants that were looked for.
        opaque: the first operation whose outcome may differ among regular rows, or None.
    """

    needles: set[str] = field(default_factory=set)
    opaque: str | None = None


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record what is done to probes inside the block."""
    recorder = Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def mark_opaque(operation: str) -> None:
    """Note that the outcome of an operation on probes may differ among regular rows."""
    recorder = _recorder.get()
    if recorder is not None and recorder.opaque is None:
        recorder.opaque = operation


def note_needle(needle: str) -> None:
    """Note that a text is compared with a constant outside of the template."""
    recorder = _recorder.get()
    if recorder is not None:
        recorder.needles.add(needle)


class Probe(Rope):
    """A rope that records what the template does to it."""

    def _look_for(self, needle: Any, operation: str) -> None:
        recorder = _recorder.get()
        if isinstance(needle, Rope) or not isinstance(needle, str) or recorder is None:
            mark_opaque(f"{operation} of something that is no constant")
            return
        if self._may_straddle(needle):
            mark_opaque(f"{operation} of {needle!r} across a border")
        if needle:
            recorder.needles.add(needle)

    def _may_straddle(self, needle: str) -> bool:
        """Whether the needle could stand partly in the template's text and partly in a message's."""
        if len(self._pieces) < 2:
            return False
        literals = [piece.text for piece in self._pieces if piece.slot is None]
        if len(literals) * 2 + 1 < len(self._pieces):
            return True  # two slots side by side
        return any(
            literal.endswith(needle[:cut]) or literal.startswith(needle[cut:])
            for literal in literals
            for cut in range(1, len(needle))
        )

    def _stripped(self, chars: str | None, *, left: bool, right: bool) -> Rope:
        if chars is not None and (isinstance(chars, Rope) or chars.strip(WHITE_SPACE)):
            mark_opaque(f"strip of {chars!r}")
        pieces = list(self._pieces)
        if left:
            _strip_edge(pieces, chars, 0)
        if right:
            _strip_edge(pieces, chars, -1)
        return Probe(pieces)

    def strip(self, chars: str | None = None, /) -> Rope:
        return self._stripped(chars, left=True, right=True)

    def lstrip(self, chars: str | None = None, /) -> Rope:
        return self._stripped(chars, left=True, right=False)

    def rstrip(self, chars: str | None = None, /) -> Rope:
        return self._stripped(chars, left=False, right=True)

    def __contains__(self, needle: Any) -> bool:
        self._look_for(needle, "in")
        return super().__contains__(needle)

    def startswith(self, prefix: Any, *place: Any) -> bool:
        self._look_for_each(prefix, "startswith", place)
        return super().startswith(prefix, *place)

    def endswith(self, suffix: Any, *place: Any) -> bool:
        self._look_for_each(suffix, "endswith", place)
        return super().endswith(suffix, *place)

    def _look_for_each(self, needles: Any, operation: str, place: tuple[Any, ...]) -> None:
        if place:
            mark_opaque(f"{operation} at a place")
        for needle in needles if isinstance(needles, tuple) else (needles,):
            self._look_for(needle, operation)

    def split(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        self._look_for(sep, "split")
        return super().split(sep, maxsplit)

    def rsplit(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        self._look_for(sep, "rsplit")
        return super().rsplit(sep, maxsplit)

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        self._look_for(sep, "partition")
        return super().partition(sep)

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        self._look_for(sep, "rpartition")
        return super().rpartition(sep)

    def replace(self, old: str, new: str, count: Any = -1, /) -> Rope:
        self._look_for(old, "replace")
        return super().replace(old, new, count)

    def removeprefix(self, prefix: str, /) -> Rope:
        self._look_for(prefix, "removeprefix")
        return super().removeprefix(prefix)

    def removesuffix(self, suffix: str, /) -> Rope:
        self._look_for(suffix, "removesuffix")
        return super().removesuffix(suffix)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) and other is not self:
            self._look_for(other, "==")
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        mark_opaque("hash")
        return str.__hash__(self)

    def __bool__(self) -> bool:
        return len(self._text) > 0

    @property
    def _text(self) -> str:
        return str.__str__(self)


class Length(int):
    """The length of a probe, of which only that it is not 0 is alike for all regular rows."""

    def __bool__(self) -> bool:
        return True

    def _known(self, other: object, least: int) -> bool:
        if isinstance(other, int) and other <= least:
            return True
        mark_opaque("a length")
        return False

    def __gt__(self, other: int) -> bool:
        return self._known(other, 0) or int.__gt__(self, other)

    def __ge__(self, other: int) -> bool:
        return self._known(other, 1) or int.__ge__(self, other)

    def __lt__(self, other: int) -> bool:
        return not self >= other

    def __le__(self, other: int) -> bool:
        return not self > other

    def __eq__(self, other: object) -> bool:
        return not self._known(other, 0) and int.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        mark_opaque("a length")
        return int.__hash__(self)


def _opaque_length(name: str) -> Any:
    plain = getattr(int, name)

    def method(self: Length, *args: Any) -> Any:
        mark_opaque("a length")
        return plain(self, *args)

    return method


for _name in [
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "floordiv",
    "rfloordiv",
    "truediv",
    "rtruediv",
    "mod",
    "rmod",
    "pow",
    "rpow",
    "divmod",
    "rdivmod",
    "and",
    "rand",
    "or",
    "ror",
    "xor",
    "rxor",
    "lshift",
    "rlshift",
    "rshift",
    "rrshift",
    "neg",
    "pos",
    "abs",
    "invert",
    "int",
    "float",
    "index",
    "str",
    "repr",
    "format",
]:
    setattr(Length, f"__{_name}__", _opaque_length(f"__{_name}__"))


def length_of_probe(probe: Probe) -> int:
    """The length of a probe, as far as it may be told."""
    size = str.__len__(probe)
    return Length(size) if any(piece.slot is not None for piece in probe._pieces) else size


def _strip_edge(pieces: list[Piece], chars: str | None, at: int) -> None:
    """Strip one end of the pieces, and note it on the slot that is reached."""
    name = "rstrip" if at else "lstrip"
    while pieces:
        piece = pieces[at]
        if piece.slot is None:
            text = getattr(piece.text, name)(chars)
            if text:
                pieces[at] = piece._replace(text=text)
                return
            pieces.pop(at)
            continue
        # A regular text is not all white space, so stripping ends inside it.
        pieces[at] = piece._replace(stripping=(*piece.stripping, (name, chars)))
        return


_HANDLED = frozenset(vars(Probe)) | {
    "__add__", "__radd__", "__str__", "__new__", "__init__", "__class__", "__getattribute__", "__doc__",
    "__dir__", "__subclasshook__", "__init_subclass__", "__setattr__", "__delattr__", "__sizeof__",
    "__reduce__", "__reduce_ex__", "__getnewargs__", "__getstate__", "__mul__", "__rmul__",
}  # fmt: skip


def _opaque(name: str) -> Any:
    plain = getattr(Rope, name)

    def method(self: Probe, *args: Any, **kwargs: Any) -> Any:
        mark_opaque(name)
        return plain(self, *args, **kwargs)

    return method


# Whatever is not handled above may tell regular rows apart.
for _name in dir(str):
    if _name not in _HANDLED:
        setattr(Probe, _name, _opaque(_name))


def probe_for(slot: Slot) -> Probe:
    """A probe for one field of one message: a text that stands nowhere else."""
    return Probe([Piece(f"\ue000{slot[0]}.{slot[1]}\ue001", slot)])


MARKS = ("\ue000", "\ue001")
"""Private characters around a probe's text: in a template's own text they would betray a leak."""
