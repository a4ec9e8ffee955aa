"""What every regular conversation of one shape becomes, a batch at a time (see `model.trace`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Ints, interleaved, joined, large_strings, lists_of
from lookahead_data.columns import SEGMENT
from lookahead_data.model.rope import Piece
from lookahead_data.talk import Talk
from lookahead_data.texts import contain_any, says_something, stripped

Shape = tuple[tuple[str, bool], ...]
"""What a conversation looks like: of each message its role, and whether it carries reasoning."""


def by_shape(talk: Talk) -> Iterator[tuple[Shape, Ints]]:
    """Each shape of conversation with the places of its rows."""
    if len(talk.starts) < 2:
        return
    roles = talk.roles.dictionary_encode()
    names = roles.dictionary.to_pylist()
    codes = roles.indices.to_numpy().astype(np.uint8) * 2 + talk.reasons
    # A shape is a word whose letters are messages: Arrow then counts the distinct words.
    words = large_strings(talk.starts, codes.astype(np.uint8)).dictionary_encode()
    found = words.indices.to_numpy()
    for at, word in enumerate(words.dictionary.to_pylist()):
        yield (
            tuple((names[ord(letter) // 2], bool(ord(letter) % 2)) for letter in word),
            np.flatnonzero(found == at),
        )


def are_regular(texts: pa.LargeStringArray, needles: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Which texts are not blank, and hold no needle; shape (texts,)."""
    return says_something(texts) & ~contain_any(texts, needles)


@dataclass(frozen=True)
class SegmentLayout:
    """How every regular conversation of one shape is rendered (see `model.trace`).

    Attributes:
        pieces: of each segment its literals and slots, and whether it is supervised.
        needles: a conversation with one of these in a text is not regular.
        notes: as of `Rendered`.
    """

    pieces: list[tuple[list[Piece], bool]]
    needles: frozenset[str]
    notes: tuple[str, ...]

    def regular(self, talk: Talk, rows: Ints) -> npt.NDArray[np.bool_]:
        """Which rows are regular: their texts are not blank, and hold no needle."""
        found = np.ones(len(rows), bool)
        for slot in {piece.slot for segment, _ in self.pieces for piece in segment if piece.slot}:
            found &= are_regular(talk.take(slot, rows), self.needles)
        return found

    def segments(self, talk: Talk, rows: Ints) -> pa.Array:
        """The column `segments` of the given rows, which are regular."""
        columns = [
            joined(*(self._part(piece, talk, rows) for piece in segment))
            if any(piece.slot for piece in segment)
            else pa.array([segment[0].text] * len(rows), pa.large_string())
            for segment, _ in self.pieces
        ]
        count = len(columns)
        flags = np.tile([supervised for _, supervised in self.pieces], len(rows))
        structs = pa.StructArray.from_arrays(
            [
                interleaved(columns),
                pa.array(flags),
                pa.array(np.ones(len(flags), bool)),
                pa.array(np.zeros(len(flags), bool)),
                pa.array(np.zeros(len(flags), np.int32)),
                pa.array(np.zeros(len(flags), np.int32)),
            ],
            fields=list(SEGMENT),
        )
        return lists_of(np.arange(len(rows) + 1) * count, structs)

    def places(self, talk: Talk, rows: Ints, turn: int) -> tuple[Ints, Ints]:
        """Where the message at `turn` stands in the text of each of the given rows, which are regular:
        from the byte at which its content starts to the one before which its last field ends."""
        starts = ends = at = np.zeros(len(rows), np.int64)
        found = False
        for segment, _ in self.pieces:
            for piece in segment:
                if piece.slot is None:
                    at = at + len(piece.text.encode())
                    continue
                if piece.slot == (turn, "content") and not found:
                    starts, found = at, True
                at = at + pc.binary_length(self._part(piece, talk, rows)).to_numpy()
                if piece.slot[0] == turn:
                    ends = at
        return starts, ends

    def begins(self, talk: Talk, rows: Ints, turn: int, texts: Sequence[str]) -> Ints:
        """How many bytes of the message at `turn` are the first one of `texts` with which it begins in
        each of the given rows, which are regular; 0 where it begins with none of them."""
        sizes = np.zeros(len(rows), np.int64)
        pieces = [piece for segment, _ in self.pieces for piece in segment if piece.slot == (turn, "content")]
        if pieces:
            part = self._part(pieces[0], talk, rows)
            for text in reversed(texts):
                sizes[pc.starts_with(part, text).to_numpy(zero_copy_only=False)] = len(text.encode())
        return sizes

    def _part(self, piece: Piece, talk: Talk, rows: Ints) -> Any:
        if piece.slot is None:
            return piece.text
        column = talk.take(piece.slot, rows)
        return stripped(column, piece.stripping)
