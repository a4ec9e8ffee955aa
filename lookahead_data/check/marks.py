"""What two texts do not share, or do, marked word by word and cut to what can be taken in at a glance."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import pyarrow as pa

from lookahead_data.curation.contamination import comparable

MOST, BEFORE = 72, 12
"""Words that are shown in all, and of a longer text before the first one that is marked."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_ODDMENT = 2

# What is written without spaces is taken character by character, and so is punctuation.
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,40}}|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether it is marked."""

    text: str
    marked: bool = False


_Pair = tuple[re.Match[str] | None, re.Match[str] | None]
"""The words that stand at one place of two texts."""

Span = tuple[int, int]
"""Where a word begins in its text, and where it ends."""


def differences(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts around the first word in which they differ, the words that only one has marked; white space
    is no difference. Texts with the same words are shown from their beginnings."""
    shown = _around_difference(one, other)
    lefts = [left for left, _ in shown if left is not None]
    rights = [right for _, right in shown if right is not None]
    of_left, of_right = [True] * len(lefts), [True] * len(rights)
    matcher = SequenceMatcher(
        None, [left[0] for left in lefts], [right[0] for right in rights], autojunk=False
    )
    for block in matcher.get_matching_blocks():
        of_left[block.a : block.a + block.size] = [False] * block.size
        of_right[block.b : block.b + block.size] = [False] * block.size
    return (
        _pieces(one, [left.span() for left in lefts], of_left),
        _pieces(other, [right.span() for right in rights], of_right),
    )


def _around_difference(one: str, other: str) -> list[_Pair]:
    """The words of both texts, pair by pair, from some before the first that differ on."""
    words = itertools.zip_longest(_WORD.finditer(one), _WORD.finditer(other))
    before: deque[_Pair] = deque(maxlen=MOST)
    for place, pair in enumerate(words):
        if pair[0] is None or pair[1] is None or pair[0][0] != pair[1][0]:
            rest = [pair, *itertools.islice(words, MOST)]
            fits = place + len(rest) <= MOST
            return [*list(before)[0 if fits else -BEFORE :], *rest][:MOST]
        before.append(pair)
    same = itertools.zip_longest(_WORD.finditer(one), _WORD.finditer(other))
    return list(itertools.islice(same, MOST))


def shared(text: str, overlap: str) -> list[Piece]:
    """A text around the first place that has a run of words, which is marked.

    Args:
        overlap: the words as contamination compares them. Where normalization joins what is apart in the text
            they may not be found; the text is then shown from its beginning, with nothing marked.
    """
    words = list(_compared(text))
    wanted = overlap.split()
    there = [word for word, _ in words]
    spans = [span for _, span in words]
    for at in range(len(there) - len(wanted) + 1):
        if wanted and there[at : at + len(wanted)] == wanted:
            first = max(0, at - BEFORE) if len(words) > MOST else 0
            stop = max(first + MOST, at + len(wanted))
            marked = [at <= place < at + len(wanted) for place in range(first, min(stop, len(there)))]
            return _pieces(text, spans[first:stop], marked)
    return _pieces(text, spans[:MOST], [False] * len(spans[:MOST]))


def _compared(text: str) -> Iterator[tuple[str, Span]]:
    """The words of a text as contamination compares them, and where each stands."""
    spans: list[Span] = []
    at = 0
    for inside, group in itertools.groupby(text, lambda letter: unicodedata.category(letter)[0] in "LMN"):
        size = sum(1 for _ in group)
        if inside:
            spans.append((at, at + size))
        at += size
    runs = pa.array([text[start:end] for start, end in spans], pa.large_string())
    for (start, end), found in zip(spans, comparable(runs).to_pylist(), strict=True):
        words = found.split()
        single = len(words) == end - start
        for place, word in enumerate(words):
            yield word, ((start + place, start + place + 1) if single else (start, end))


def _pieces(text: str, words: Sequence[Span], marked: Sequence[bool]) -> list[Piece]:
    """The part of a text from the first of some words to the last, cut where words begin or cease to be marked.

    White space between a marked word and one that is not belongs to neither, so it is not marked.
    """
    if not words:
        return [Piece(text)] if text.strip() else []
    at, stop = words[0][0], words[-1][1]
    # Not more than a mark or two is shown rather than an ellipsis in its place.
    head, tail = text[:at].strip(), text[stop:].strip()
    pieces = [Piece("… " if len(head) > _ODDMENT else text[:at].lstrip())]
    for flag, group in itertools.groupby(zip(words, marked, strict=True), lambda pair: pair[1]):
        (begin, end), *others = (span for span, _ in group)
        end = others[-1][1] if others else end
        if flag:
            pieces += [Piece(text[at:begin]), Piece(text[begin:end], marked=True)]
        else:
            pieces.append(Piece(text[at:end]))
        at = end
    pieces.append(Piece(" …" if len(tail) > _ODDMENT else text[stop:].rstrip()))
    return [piece for piece in pieces if piece.text]
