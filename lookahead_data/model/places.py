"""Where the messages stand in a rendered conversation, and what the template wrote around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lookahead_data.model.rope import Rope, pieces_of

Span = tuple[int, int]
"""From one character to before another."""


class Places:
    """Where the messages stand in a rendered row."""

    def __init__(self, rope: Rope) -> None:
        self.pieces = pieces_of(rope)
        self.text = "".join(piece.text for piece in self.pieces)
        self.starts = [0]
        for piece in self.pieces:
            self.starts.append(self.starts[-1] + len(piece.text))
        self._by_turn: dict[int, list[int]] = {}
        for at, piece in enumerate(self.pieces):
            if piece.slot is not None:
                self._by_turn.setdefault(piece.slot[0], []).append(at)

    def first(self, turn: int, field: str | None = None) -> int:
        """Where the message at `turn` (or one field of it) starts, in characters."""
        places = self._by_turn[turn]
        if field is not None:
            own = [at for at in places if self.pieces[at].slot == (turn, field) and self.pieces[at].text]
            places = own or places
        return self.starts[places[0]]

    def last(self, turn: int) -> int:
        """Where the message at `turn` ends, in characters."""
        return self.starts[self._by_turn[turn][-1] + 1]

    def literal_before(self, turn: int) -> str:
        return self._literal(self._by_turn[turn][0] - 1, -1)

    def literal_after(self, turn: int) -> str:
        """The template's own text behind a message; nothing where the message does not show."""
        places = self._by_turn.get(turn)
        return self._literal(places[-1] + 1, 1) if places else ""

    def literal_at_start(self) -> str:
        return self._literal(0, 1)

    def literal_at_end(self) -> str:
        return self._literal(len(self.pieces) - 1, -1)

    def _literal(self, at: int, step: int) -> str:
        """The template's own text from piece `at` up to the next slot in the given direction."""
        texts = []
        while 0 <= at < len(self.pieces) and self.pieces[at].slot is None:
            texts.append(self.pieces[at].text)
            at += step
        return "".join(texts[::step])


def common_start(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many items the two begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def outside_tag(text: str, at: int) -> int:
    """`at`, or the start of the tag (`<think>`, say) that it would cut in two."""
    start = text.rfind("<", 0, at)
    return start if start >= 0 and ">" not in text[start:at] else at


def literal_ranges(text: Rope) -> list[Span]:
    ranges: list[Span] = []
    at = 0
    for piece in pieces_of(text):
        end = at + len(piece.text)
        if piece.slot is None and piece.text:
            if ranges and ranges[-1][1] == at:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((at, end))
        at = end
    return ranges
