"""JSON texts that differ in nothing but the strings of some fields, and in numbers.

A program wrote most corpora, so that nearly all lines have the same bytes but for their prompts, answers
and running numbers. One of them is parsed by the strict reader, with a mark in place of each string that
may differ; what becomes of the marks is what becomes of the strings of all others. These are told by their
quotes: a text with as many of them, and the same bytes outside of the strings, is parsed as the first one
is, since nothing inside a JSON string has a meaning outside of it. Whole numbers outside of strings may
differ too: nobody reads them, and only of 0 it may be asked whether it is one.

Texts with `\\u` in a string are left to others, and those whose strings break JSON's rules.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import (
    Flags,
    Ints,
    interleaved,
    joined,
    large_strings,
    lists_of,
    repeated,
    utf8_parts,
)
from lookahead_data.columns import MESSAGE
from lookahead_data.errors import RowError
from lookahead_data.source.brackets import BACKSLASH, QUOTE, Bytes
from lookahead_data.source.conversations import Shape, to_row
from lookahead_data.source.records import parse_json
from lookahead_data.texts import says_something

PART = 1 << 21
"""Bytes of texts that are looked at together: with their quotes, as much as stays in a processor's cache."""
FEWEST = 8
"""Texts with as many quotes that are worth finding a pattern for."""
TRIES = 8
"""Patterns that are tried for texts with as many quotes."""

ROLE_KEYS = (b"role", b"from", b"type", b"mask", b"label", b"train", b"loss", b"weight")
"""Keys of strings that decide how a text is read, and are the same in many: part of the pattern."""

MOST_DIGITS = 18
"""Of a number that may differ; no running number has more."""
_NUMBER = re.compile(rb"(?<![\w.+-])(?:0|[1-9][0-9]{,%d})(?![\w.+-])" % (MOST_DIGITS - 1))

_MEANING = np.zeros(256, np.uint8)
"""What a byte means behind a backslash; 0 if it must not stand there, or (`u`) is left to others."""
_MEANING[list(b'"\\/bfnrt')] = list(b'"\\/\b\f\n\r\t')

_MARK = re.compile("\ue000([0-9]+)\ue001")
_MARKS = ("\ue000".encode(), "\ue001".encode())

Piece = str | int
"""Part of a text: what always stands there, or the number of the slot whose string stands there."""


@dataclass(frozen=True)
class Said:
    """A message that every text of a pattern holds."""

    role: str
    content: tuple[Piece, ...]
    reasoning: tuple[Piece, ...]


@dataclass(frozen=True)
class Stretch:
    """Bytes that all texts of a pattern have from one place to another, with at most one number among them.

    Attributes:
        start, stop: the quotes with which it begins and ends, by their number among all quotes of the
            text; None is the text's own start or end.
        head: the bytes; if there is a number, those before it.
        tail: the bytes behind the number; None if there is none.
        zero: whether the number is 0.
    """

    start: int | None
    stop: int | None
    head: bytes
    tail: bytes | None = None
    zero: bool = False


@dataclass(frozen=True)
class Pattern:
    """What texts have in common. The strings in which they differ stand in slots.

    Attributes:
        stretches: what stands outside of the slots.
        slots: of each slot, the number of the quote before it among all quotes of the text.
        messages: the conversation.
        blank: bytes of white space at the end of each text.
    """

    stretches: tuple[Stretch, ...]
    slots: tuple[int, ...]
    messages: tuple[Said, ...]
    blank: int

    @cached_property
    def read(self) -> list[int]:
        """The slots whose strings stand in the conversation, ascending."""
        pieces = (piece for said in self.messages for piece in (*said.content, *said.reasoning))
        return sorted({piece for piece in pieces if isinstance(piece, int)})


@dataclass(frozen=True)
class Alike:
    """Texts of one pattern. Each string that is read of them says something.

    Attributes:
        places: of the texts among all, shape (texts,).
        bounds: where each text begins, and where it ends but for white space, among the bytes of all texts;
            shape (texts, 2).
        starts, ends: where the string of each slot starts and ends among the bytes of all texts, shape
            (texts, slots).
        strings: what the strings of the slots that are read mean, shape (texts * slots that are read,).
    """

    pattern: Pattern
    places: Ints
    bounds: Ints
    starts: Ints
    ends: Ints
    strings: pa.LargeStringArray

    def take(self, chosen: Ints) -> Alike:
        """Some of the texts."""
        count = len(self.pattern.read)
        strings = self.strings.take(pa.array((chosen[:, None] * count + np.arange(count)).ravel()))
        return Alike(
            self.pattern,
            self.places[chosen],
            self.bounds[chosen],
            self.starts[chosen],
            self.ends[chosen],
            strings,
        )

    def string(self, slot: int) -> pa.LargeStringArray:
        """What the strings of one slot mean, which is read; shape (texts,)."""
        count = len(self.pattern.read)
        at = self.pattern.read.index(slot)
        return (
            self.strings.take(pa.array(np.arange(len(self.places)) * count + at))
            if count > 1
            else self.strings
        )

    def messages(self) -> pa.ListArray:
        """The conversations, shape (texts,)."""
        said = self.pattern.messages
        count = len(self.places)
        if [message.content for message in said] == [(slot,) for slot in self.pattern.read]:
            contents = self.strings
        else:
            contents = interleaved([self._column(message.content) for message in said])
        reasoning = pa.nulls(len(contents), pa.large_string())
        if any(message.reasoning for message in said):
            none = pa.nulls(count, pa.large_string())
            reasoning = interleaved([self._column(m.reasoning) if m.reasoning else none for m in said])
        roles = repeated([message.role for message in said], count)
        structs = pa.StructArray.from_arrays([roles, contents, reasoning], fields=list(MESSAGE))
        return lists_of(np.arange(count + 1) * len(said), structs)

    def contents(self, turn: int) -> pa.LargeStringArray:
        """What the message at `turn` says in each conversation, shape (texts,)."""
        return self._column(self.pattern.messages[turn].content)

    def _column(self, text: tuple[Piece, ...]) -> pa.LargeStringArray:
        parts = [piece if isinstance(piece, str) else self.string(piece) for piece in text]
        if all(isinstance(part, str) for part in parts):
            return repeated(["".join(parts)], len(self.places))
        return joined(*parts)


def find_alike(texts: pa.LargeStringArray, whole: Flags, shape: Shape) -> list[Alike]:
    """Texts that have patterns, pattern by pattern.

    Args:
        texts: one behind the other in memory; all UTF-8, if any is `whole`.
        whole: which of them may be looked at.
    """
    bounds, raw = utf8_parts(texts)
    finder = _Finder(shape)
    found: dict[Pattern, list[Alike]] = defaultdict(list)
    for start, stop in _ranges(bounds):
        if stop - start < FEWEST and bounds[stop] - bounds[start] > PART:
            continue  # a few texts so long that they are looked at a little at a time, by others
        part = _Part(raw[bounds[start] : bounds[stop]], bounds[start : stop + 1] - bounds[start])
        for like in finder.find(part, whole[start:stop]):
            base = bounds[start]
            moved = replace(
                like,
                places=like.places + start,
                bounds=like.bounds + base,
                starts=like.starts + base,
                ends=like.ends + base,
            )
            found[like.pattern].append(moved)
    return [_together(parts) for parts in found.values()]


def _ranges(bounds: Ints) -> Iterator[tuple[int, int]]:
    """The texts in ranges of about as many bytes as are looked at together."""
    start = 0
    while start < len(bounds) - 1:
        stop = max(int(np.searchsorted(bounds, bounds[start] + PART)), start + 1)
        stop = min(stop, len(bounds) - 1)
        yield start, stop
        start = stop


def _together(parts: list[Alike]) -> Alike:
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("places", "bounds", "starts", "ends")
    }
    return Alike(parts[0].pattern, **columns, strings=pa.concat_arrays([part.strings for part in parts]))


class _Finder:
    """Knows the patterns that were found so far, by the number of their quotes."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._patterns: dict[int, list[Pattern]] = defaultdict(list)
        self._tries: Counter[int] = Counter()

    def find(self, part: _Part, whole: Flags) -> Iterator[Alike]:
        for quotes, left in part.by_quotes(whole):
            for pattern in self._patterns[quotes]:
                found = part.like(pattern, left)
                yield found
                left = _others(left, found)
            while len(left) >= FEWEST and self._tries[quotes] < TRIES:
                self._tries[quotes] += 1
                new = part.pattern(int(left[0]), self._shape)
                if new is not None:
                    self._patterns[quotes].append(new)
                    found = part.like(new, left)
                    yield found
                    left = _others(left, found)
                left = left[1:] if new is None or not len(found.places) else left


def _others(places: Ints, found: Alike) -> Ints:
    if len(found.places) == len(places):
        return places[:0]
    return places[~np.isin(places, found.places, assume_unique=True)]


class _Part:
    """Some texts, and where the strings in them are."""

    def __init__(self, raw: Bytes, bounds: Ints) -> None:
        self._raw = raw
        self._starts = bounds[:-1]
        self._stops = bounds[1:].copy()
        filled = np.flatnonzero(np.diff(bounds))
        self._stops[filled] -= raw[bounds[1:][filled] - 1] == ord("\n")
        marks = np.flatnonzero((raw == QUOTE) | (raw == BACKSLASH))
        are_quotes = raw[marks] == QUOTE
        escapes = _not_escaped(marks.compress(~are_quotes))
        quotes = marks.compress(are_quotes)
        doubtful = np.flatnonzero(raw[quotes - 1] == BACKSLASH)
        if len(doubtful):
            escaped = doubtful[_are_in(quotes[doubtful] - 1, escapes)]
            quotes = np.delete(quotes, escaped)
        self._quotes = quotes
        self._first = np.searchsorted(quotes, bounds)
        self._odd = np.zeros(len(self._starts), bool)
        controls = np.flatnonzero(raw < ord(" "))
        self._leave(controls[~_are_in(controls, self._stops)])
        self._leave(escapes[_MEANING[raw[np.minimum(escapes + 1, len(raw) - 1)]] == 0])
        self._escapes = escapes[escapes < len(raw) - 1]
        self._meant = _meant(raw, self._escapes)

    def _leave(self, places: Ints) -> None:
        """Leave the texts that hold these places to others."""
        self._odd[np.searchsorted(self._starts, places, side="right") - 1] = True

    def by_quotes(self, whole: Flags) -> Iterator[tuple[int, Ints]]:
        """The texts that can be looked at, by the number of their quotes."""
        counts = np.diff(self._first)
        good = np.flatnonzero(whole & ~self._odd & (counts > 0) & (counts % 2 == 0))
        order = good[np.argsort(counts[good], kind="stable")]
        for group in np.split(order, np.flatnonzero(np.diff(counts[order])) + 1):
            if len(group):
                yield int(counts[group[0]]), group

    def pattern(self, place: int, shape: Shape) -> Pattern | None:
        """The pattern of the text at a place; None where no other one is read as it is."""
        base = int(self._starts[place])
        text = self._raw[base : self._stops[place]].tobytes()
        quotes = (self._quotes[self._first[place] : self._first[place + 1]] - base).tolist()
        slots: list[int] = []
        stretches: list[Stretch] = []
        key = b""
        start: int | None = None  # the quote with which the next stretch begins
        at = 0  # and its place
        for number in range(0, len(quotes) + 1, 2):
            # What stands before a string, or behind the last one.
            low = quotes[number - 1] + 1 if number else 0
            high = quotes[number] if number < len(quotes) else len(text)
            stop = number if number < len(quotes) else None
            numbers = list(_NUMBER.finditer(text, low, high))
            if len(numbers) == 1:
                if at < low - 1:
                    stretches.append(Stretch(start, number - 1, text[at:low]))
                    start, at = number - 1, low - 1
                head, tail = text[at : numbers[0].start()], text[numbers[0].end() : high + 1]
                stretches.append(Stretch(start, stop, head, tail, zero=numbers[0].group() == b"0"))
                start, at = stop, high
            if stop is None:
                break
            end = quotes[number + 1]
            following = quotes[number + 2] if number + 2 < len(quotes) else len(text)
            if text[end + 1 : following].lstrip().startswith(b":"):
                key = text[high + 1 : end]
            elif high + 1 < end and key not in ROLE_KEYS:
                slots.append(number)
                if at < high:
                    stretches.append(Stretch(start, number, text[at : high + 1]))
                start, at = number + 1, end
        if at < len(text):
            stretches.append(Stretch(start, None, text[at:]))
        if not slots or any(mark in text for mark in _MARKS):
            return None
        places = [(quotes[slot] + 1, quotes[slot + 1]) for slot in slots]
        literals = [text[a:b] for (_, a), (b, _) in pairwise([(0, 0), *places, (len(text), 0)])]
        marked = (b"%b%d%b" % (_MARKS[0], slot, _MARKS[1]) for slot in range(len(slots)))
        probe = b"".join(part for pair in zip(literals, [*marked, b""], strict=True) for part in pair)
        try:
            row = to_row(parse_json(probe), shape)
        except RowError:
            return None
        if not row.is_plain:
            return None
        messages = row.messages
        said = (
            Said(m["role"], _pieces(m["content"]), _pieces(m.get("reasoning_content", ""))) for m in messages
        )
        pattern = Pattern(tuple(stretches), tuple(slots), tuple(said), len(text) - len(text.rstrip()))
        return pattern if pattern.read else None

    def like(self, pattern: Pattern, places: Ints) -> Alike:
        """Which of some texts have a pattern; they have as many quotes as it has."""
        first = self._first[places]
        fits = np.ones(len(places), bool)
        for stretch in pattern.stretches:
            begins = self._starts[places] if stretch.start is None else self._quotes[first + stretch.start]
            ends = self._stops[places] if stretch.stop is None else self._quotes[first + stretch.stop] + 1
            left = np.flatnonzero(fits)
            fits[left] = self._hold(stretch, begins[left], ends[left])
        fits = np.flatnonzero(fits)
        slots = first[fits][:, None] + np.array(pattern.slots)
        opens, closes = self._quotes[slots], self._quotes[slots + 1]
        strings = self._strings(opens + 1, closes, pattern.read)
        speak = says_something(strings).reshape(len(fits), len(pattern.read)).all(axis=1)
        if not speak.all():
            fits, opens, closes = fits[speak], opens[speak], closes[speak]
            strings = self._strings(opens + 1, closes, pattern.read)
        chosen = places[fits]
        bounds = np.column_stack([self._starts[chosen], self._stops[chosen] - pattern.blank])
        return Alike(pattern, chosen, bounds, opens + 1, closes, strings)

    def _hold(self, stretch: Stretch, begins: Ints, ends: Ints) -> Flags:
        """Whether a stretch stands between places, which are not beyond the texts."""
        behind = stretch.tail or b""
        free = ends - begins - len(stretch.head) - len(behind)
        digits = (0, 0) if stretch.tail is None else (1, MOST_DIGITS)
        found = (free >= digits[0]) & (free <= digits[1])
        for bytes_, places in ((stretch.head, begins), (behind, ends - len(behind))):
            left = np.flatnonzero(found)
            if bytes_ and len(left):
                same = self._windows(len(bytes_))[places[left]] == np.frombuffer(bytes_, np.uint8)
                found[left] = same.all(axis=1)
        left = np.flatnonzero(found)
        if stretch.tail is not None and len(left):
            found[left] = self._are_numbers(begins[left] + len(stretch.head), free[left], zero=stretch.zero)
        return found

    def _are_numbers(self, places: Ints, sizes: Ints, *, zero: bool) -> Flags:
        """Whether whole numbers stand there, each as it is written in JSON, and all 0 or none."""
        steps = np.arange(sizes.max())
        around = self._raw[np.minimum(places[:, None] + steps, len(self._raw) - 1)]
        digits = ((around >= ord("0")) & (around <= ord("9"))) | (steps >= sizes[:, None])
        first: Flags = around[:, 0] == ord("0")
        return digits.all(axis=1) & ((first & (sizes == 1)) if zero else ~first)

    def _windows(self, size: int) -> Bytes:
        """The bytes from each place on, so many of them; a view of shape (places, size)."""
        return np.ndarray((max(len(self._raw) - size + 1, 0), size), np.uint8, self._raw, strides=(1, 1))

    def _strings(self, starts: Ints, ends: Ints, slots: list[int]) -> pa.LargeStringArray:
        """What the strings of some slots mean, text by text."""
        if not len(starts):
            return pa.array([], pa.large_string())
        # All strings and what is between them, of which those are taken.
        bounds = np.stack([starts, ends], axis=2).ravel()
        every = large_strings(bounds - np.searchsorted(self._escapes, bounds), self._meant)
        each = 2 * (np.arange(len(starts))[:, None] * starts.shape[1] + np.array(slots, np.int64))
        return every.take(pa.array(each.ravel()))


def _pieces(text: str) -> tuple[Piece, ...]:
    parts = _MARK.split(text)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts) if at % 2 or part)


def _are_in(places: Ints, others: Ints) -> Flags:
    """Which places are among the others; both ascend."""
    if not len(others):
        return np.zeros(len(places), bool)
    found: Flags = others[np.minimum(np.searchsorted(others, places), len(others) - 1)] == places
    return found


def _not_escaped(backslashes: Ints) -> Ints:
    """The places of backslashes that begin an escape: of those in a row every other one."""
    behind = np.flatnonzero(np.diff(backslashes) == 1) + 1
    if not len(behind):
        return backslashes
    # How many stand before each of those that are not the first in a row.
    begins = np.append(True, np.diff(behind) != 1)
    at = np.arange(len(behind))
    before = at - np.maximum.accumulate(np.where(begins, at, 0)) + 1
    return np.delete(backslashes, behind[before % 2 == 1])


def _meant(raw: Bytes, escapes: Ints) -> Bytes:
    """The bytes with what each escape means in its place."""
    if not len(escapes):
        return raw
    data = raw.copy()
    data[escapes + 1] = _MEANING[data[escapes + 1]]
    # The backslashes and what is between them, of which every other one is taken: quicker than a mask.
    bounds = np.zeros(2 * len(escapes) + 2, np.int64)
    bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = escapes, escapes + 1, len(raw)
    kept = large_strings(bounds, data).take(pa.array(np.arange(0, len(bounds), 2)))
    return utf8_parts(kept)[1]
