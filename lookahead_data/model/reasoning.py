"""Reasoning that stands at the head of a content, between tags that the template or the tokenizer knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lookahead_data.model.rope import Piece, Rope
from lookahead_data.texts import WHITE_SPACE

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|think|>", "<|/think|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
)
"""Pairs of tags around reasoning. A pair counts where the template or the tokenizer knows its first one."""

OPEN, INNER, CLOSE, REST = "open", "inner", "close", "rest"
FIXED = frozenset((OPEN, CLOSE))
"""Slots of the tags of an inline reasoning block, whose text is part of the shape of a conversation."""
OF_CONTENT = frozenset(("content", OPEN, INNER, CLOSE, REST))
"""Slots of a message's content."""
REASONING = frozenset(("reasoning_content", INNER))
"""Slots of reasoning."""


class Inline(NamedTuple):
    """A content that begins with a reasoning block.

    Attributes:
        open, close: the tags with the white space around them. Without reasoning between them `open` holds both.
        inner: the reasoning, which neither begins nor ends with white space.
        rest: what stands behind the block; it does not begin with white space.
    """

    open: str
    inner: str
    close: str
    rest: str

    def rope(self, turn: int) -> Rope:
        """The content with the origin of each part."""
        return Rope([Piece(text, (turn, name)) for name, text in self._asdict().items() if text])


def split_inline(content: str, tags: Sequence[tuple[str, str]]) -> Inline | None:
    """The parts of a content that begins with a reasoning block; None where it does not."""
    head = content.lstrip(WHITE_SPACE)
    for first, last in tags:
        if not head.startswith(first):
            continue
        body = len(content) - len(head) + len(first)
        stop = content.find(last, body)
        if stop < 0:
            return None
        inner = content[body:stop].strip(WHITE_SPACE)
        rest = content[stop + len(last) :].lstrip(WHITE_SPACE)
        end = len(content) - len(rest)
        if not inner:
            return Inline(content[:end], "", "", rest)
        start = content.index(inner, body)
        return Inline(content[:start], inner, content[start + len(inner) : end], rest)
    return None


def known_tags(source: str, special: Callable[[str], int | None]) -> tuple[tuple[str, str], ...]:
    """The tags that a template writes or looks for, or that are tokens.

    Args:
        source: of the template.
        special: the id of a token, or None.
    """
    return tuple(pair for pair in TAGS if pair[0] in source or special(pair[0]) is not None)
