"""What chat templates put around messages, encoded once and for all.

A tokenizer's added tokens cut a text before all else: what stands between two of them is encoded as if it
stood alone. So of a rendered row only the messages, with the few words that templates write before them,
have to be encoded; the rest is the same in all rows of a shape, and its ids are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, joined, lists_of, utf8_parts
from lookahead_data.columns import SEGMENT
from lookahead_data.model.rope import Piece
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.talk import Talk
from lookahead_data.texts import begins_visibly, stripped

SUPERVISED = np.int32(1 << 30)
"""The bit that marks an id where the loss counts, so that both are put in their places at once. No vocabulary
is so large."""


class Part(NamedTuple):
    """Text of a template that is encoded by itself, and whether the loss counts there."""

    text: str
    supervised: bool


class Around(NamedTuple):
    """What stands around a message.

    Attributes:
        before: the number of the frame before it.
        apart: the same where the message does not begin with white space, from which the prefix can then be
            told apart, so that it is part of the frame; else as `before`.
        prefix, suffix: text that is encoded together with the message.
        stripping: what is done to the message (see `Piece`).
        supervised: whether the loss counts in the message, the prefix and the suffix.
        after: the number of the frame behind it; the next message has its own before it.
    """

    before: int
    apart: int
    prefix: str
    suffix: str
    stripping: tuple[tuple[str, str | None], ...]
    supervised: bool
    after: int


class Frames:
    """The frames of a tokenizer's rows, numbered as they are met. Number 0 is empty."""

    def __init__(self, tokenizer: LoadedTokenizer, borders: re.Pattern[str]) -> None:
        """
        Args:
            borders: the tokenizer's `border_pattern`.
        """
        self._tokenizer = tokenizer
        self._borders = borders
        self._numbers: dict[tuple[Part, ...], int] = {(): 0}
        self._ids: list[bytes] = []

    def number(self, parts: Sequence[Part]) -> int:
        return self._numbers.setdefault(tuple(parts), len(self._numbers))

    def encoded(self) -> pa.LargeBinaryArray:
        """Of each frame the bytes of its ids (int32), with `SUPERVISED` in those where the loss counts."""
        for parts in list(self._numbers)[len(self._ids) :]:
            ids = self._tokenizer.encode_ids([part.text for part in parts], special=True)
            marks = [SUPERVISED if part.supervised else 0 for part in parts]
            marked = [token | mark for some, mark in zip(ids, marks, strict=True) for token in some]
            self._ids.append(np.array(marked, np.int32).tobytes())
        return pa.array(self._ids, pa.large_binary())

    def around(self, pieces: Sequence[tuple[Sequence[Piece], bool]], messages: int) -> list[Around] | None:
        """What a layout puts around each message.

        Args:
            pieces: of `SegmentLayout`.
            messages: how many a row has.

        Returns:
            None where the messages do not stand one by one, in their order, each between two borders.
        """
        found: list[Around] = []
        parts: list[Part] = []
        for (left, left_flag), (right, flag) in pairwise(pieces):
            if flag == left_flag:
                return None  # two segments that are told apart by nothing
            if left_flag and not self._is_border(left[-1], right[0]):
                return None  # a token may join an answer to what follows
        for segment, supervised in pieces:
            literal, inside = "", False
            for piece in segment:
                if piece.slot is None:
                    literal += piece.text
                    continue
                cut = self._cut(literal)
                if piece.slot != (len(found), "content") or (inside and cut is None):
                    return None
                head, middle, prefix = cut or ("", "", literal)
                if inside:
                    found[-1] = found[-1]._replace(suffix=head)
                    head = ""
                if head + middle:
                    parts.append(Part(head + middle, supervised))
                before = apart = self.number(parts)
                if prefix and not prefix.strip("\n") and self._tokenizer.newlines_apart:
                    apart = self.number([*parts, Part(prefix, supervised)])
                found.append(Around(before, apart, prefix, "", piece.stripping, supervised, 0))
                parts, literal, inside = [], "", True
            head, middle, tail = self._cut(literal) or ((literal, "", "") if inside else ("", "", literal))
            if inside:
                found[-1] = found[-1]._replace(suffix=head)
                head = ""
            if head + middle + tail:
                parts.append(Part(head + middle + tail, supervised))
        if not found or len(found) != messages:
            return None
        found[-1] = found[-1]._replace(after=self.number(parts))
        return found

    def _is_border(self, left: Piece, right: Piece) -> bool:
        """Whether the tokenizer cuts a text between two pieces, whatever they say."""
        safe = self._tokenizer.safe_tokens
        return bool(
            (left.slot is None and left.text.endswith(safe))
            or (right.slot is None and right.text.startswith(safe))
        )

    def _cut(self, text: str) -> tuple[str, str, str] | None:
        """The text before the first border, from there to the end of the last one, and the rest."""
        borders = list(self._borders.finditer(text))
        if not borders:
            return None
        first, last = borders[0].start(), borders[-1].end()
        return text[:first], text[first:last], text[last:]

    def whole(self, segments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A row's segments without frames, as they are where each is all text of one kind up to the next."""
        known = list(self._numbers)
        found: list[dict[str, Any]] = []

        def add(text: str, *, supervised: bool, special: bool) -> None:
            kind = {"supervised": supervised, "special": special, "bare": False}
            if found and all(found[-1][name] == kind[name] for name in ("supervised", "special")):
                found[-1]["text"] += text
            elif text:
                found.append({"text": text, **kind, "before": 0, "after": 0})

        for segment in segments:
            for part in known[segment["before"]]:
                add(part.text, supervised=part.supervised, special=True)
            add(segment["text"], supervised=segment["supervised"], special=segment["special"])
            for part in known[segment["after"]]:
                add(part.text, supervised=part.supervised, special=True)
        return found


def framed_segments(talk: Talk, shapes: Sequence[Sequence[Around]], which: Ints) -> pa.ListArray:
    """The column `segments` of conversations: a segment a message, with the frames around it.

    Args:
        shapes: what stands around each message, of each shape.
        which: the place of each conversation's shape among the shapes, shape (rows,).
    """
    table = [around for shape in shapes for around in shape]
    firsts = np.cumsum([0, *map(len, shapes)])[:-1]
    at = np.repeat(firsts[which] - talk.starts[:-1], np.diff(talk.starts)) + np.arange(talk.starts[-1])

    texts, sizes = talk.contents, _sizes(talk.contents)
    kinds = [around.stripping for around in table]
    for kind in set(kinds) - {()}:
        texts = stripped(texts, kind, np.array([other == kind for other in kinds])[at])
    unchanged = _sizes(texts) == sizes
    before, apart = (_column([getattr(around, name) for around in table], at) for name in ("before", "apart"))
    is_apart = (before != apart) & begins_visibly(texts)
    # What is not joined to a message stands behind the table's own.
    prefixes = [*(around.prefix for around in table), ""]
    with_prefix = np.array([prefix != "" for prefix in prefixes])[np.where(is_apart, len(table), at)]
    with_suffix = np.array([around.suffix != "" for around in table])[at]
    texts = joined(
        *_besides(prefixes, np.where(is_apart, len(table), at)),
        texts,
        *_besides([around.suffix for around in table], at),
    )
    columns = [
        texts,
        pa.array(np.array([around.supervised for around in table])[at]),
        pa.array(np.ones(len(at), bool)),
        pa.array(unchanged & ~with_prefix & ~with_suffix),
        pa.array(np.where(is_apart, apart, before)),
        pa.array(_column([around.after for around in table], at)),
    ]
    return lists_of(talk.starts, pa.StructArray.from_arrays(columns, fields=list(SEGMENT)))


def _sizes(texts: pa.LargeStringArray) -> Ints:
    """The bytes of each text."""
    return np.diff(utf8_parts(texts)[0])


def _column(values: Sequence[int], at: Ints) -> npt.NDArray[np.int32]:
    return np.array(values, np.int32)[at]


def _besides(texts: Sequence[str], at: Ints) -> list[pa.LargeStringArray]:
    """What stands beside each message, if anything does anywhere."""
    return [pa.array(texts, pa.large_string()).take(pa.array(at))] if any(texts) else []
