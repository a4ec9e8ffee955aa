"""What an answer's message adds to the supervised text, and previews that are true of it.

LookAhead Tuning previews what the model produces first. That is an answer's reasoning, where the template renders it
and it is supervised, and else its content, as the template renders it: stripped, say. What the template itself writes
before it, such as a think tag, is never shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.dialogue import CALL, Dialogue, Message, text_of
from lookahead_data.model.heads import Head
from lookahead_data.model.meant import CALL_TAGS
from lookahead_data.model.reasoning import CLOSE, INNER, OPEN, split_inline
from lookahead_data.model.rope import pieces_of
from lookahead_data.model.supervision import Rendered, Supervision

NOT_RENDERED = "preview_not_rendered"
BEFORE_CALL = "preview_before_tool_call"


@dataclass(frozen=True)
class Produced:
    """The text that an answer's message adds first to the supervised text.

    Attributes:
        field: the name of its slot: `reasoning_content`, `content`, or a part of a content with inline reasoning.
        text: the text, as the template renders it.
        start, end: where it stands in the rendered row, in characters.
    """

    field: str
    text: str
    start: int
    end: int


def first_produced(rendered: Rendered, turn: int) -> Produced | str:
    """What the answer at `turn` adds first to the supervised text, or the note that says why a preview of it is
    impossible."""
    spans = rendered.spans
    start = at = 0
    field, texts = "", list[str]()
    for piece in pieces_of(rendered.text):
        low, at = at, at + len(piece.text)
        if texts and piece.text and piece.slot != (turn, field):
            break
        if piece.slot is None or piece.slot[0] != turn or not piece.text:
            continue
        name = piece.slot[1]
        if name in (OPEN, CLOSE):
            continue
        if name.startswith(CALL):
            return BEFORE_CALL
        if not any(first <= low and at <= last for first, last in spans):
            if any(first < at and low < last for first, last in spans):
                return (
                    NOT_RENDERED  # a part of the text is supervised, and the preview would show another one
                )
            continue
        if not texts and not piece.text.strip():
            continue
        if not texts:
            start, field = low, name
        texts.append(piece.text)
    if not texts:
        return NOT_RENDERED
    text = "".join(texts)
    if field != INNER and text.lstrip().startswith(tuple(tag for tag, _ in CALL_TAGS)):
        return BEFORE_CALL
    return Produced(field, text, start, start + len(text))


class RowPreviewer:
    """Previews of rows one by one, each checked on the rendered row.

    It serves the rows for which rendering decides what comes first: with reasoning, tools or flags, or whose answers a
    template changes.
    """

    def __init__(self, settings: Settings, rule: Supervision) -> None:
        self._settings = settings
        self._rule = rule

    def produced(self, dialogue: Dialogue, turns: Sequence[int], notes: Counter[str]) -> dict[int, Produced]:
        """What the answers at `turns` add first to the supervised text; those of which nothing can be shown are
        counted."""
        try:
            rendered = self._rule.render(dialogue)
        except RowError:
            return {}  # rendering the row will say so
        found: dict[int, Produced] = {}
        for turn in turns:
            first = first_produced(rendered, turn)
            if isinstance(first, str):
                notes[first] += 1
            else:
                found[turn] = first
        return found

    def insert(
        self, dialogue: Dialogue, produced: dict[int, Produced], heads: dict[int, Head], notes: Counter[str]
    ) -> tuple[Sequence[Message], list[dict[str, Any]]]:
        """The messages with their previews, and the values of the column `previews`.

        A preview that does not come out as it must is left out and counted.
        """
        turns = sorted(heads)
        while turns:
            messages = self._edited(dialogue.messages, {turn: produced[turn] for turn in turns}, heads)
            wrong = self._untrue(replace(dialogue, messages=messages), turns, heads)
            if not wrong:
                return messages, [self._described(turn, heads[turn]) for turn in turns]
            notes[NOT_RENDERED] += len(wrong)
            turns = [turn for turn in turns if turn not in wrong]
        return dialogue.messages, []

    def _described(self, turn: int, head: Head) -> dict[str, Any]:
        text = self._settings.connector + head.text
        return {"turn": turn - 1, "text": text, "tokens": head.tokens, "whole": head.whole}

    def _edited(
        self, messages: Sequence[Message], produced: dict[int, Produced], heads: dict[int, Head]
    ) -> list[dict[str, Any]]:
        edited = [dict(message) for message in messages]
        for turn, first in produced.items():
            prompt, answer = edited[turn - 1], edited[turn]
            prompt["content"] = text_of(prompt) + self._settings.connector + heads[turn].text
            if self._settings.mode == "virtual":
                self._put_phrase(answer, first.field)
        return edited

    def _put_phrase(self, answer: dict[str, Any], field: str) -> None:
        """Put the phrase before the text that the model produces first."""
        phrase = self._settings.phrase
        if field == "reasoning_content":
            answer["reasoning_content"] = phrase + answer["reasoning_content"]
            return
        parts = split_inline(text_of(answer), self._rule.tags)
        if parts is None:
            answer["content"] = phrase + text_of(answer)
        elif field == INNER:
            answer["content"] = "".join(parts._replace(inner=phrase + parts.inner))
        else:
            answer["content"] = "".join(parts._replace(rest=phrase + parts.rest))

    def _untrue(self, dialogue: Dialogue, turns: Sequence[int], heads: dict[int, Head]) -> set[int]:
        """The turns whose previews are not what the model produces first, or do not end the prompt."""
        try:
            rendered = self._rule.render(dialogue)
        except RowError:
            return set(turns)
        texts: dict[int, str] = {}
        for piece in pieces_of(rendered.text):
            if piece.slot is not None and piece.slot[1] == "content":
                texts[piece.slot[0]] = texts.get(piece.slot[0], "") + piece.text
        wrong = set()
        for turn in turns:
            shown = heads[turn].text
            first = first_produced(rendered, turn)
            # Templates may strip the end of a prompt, and the start of an answer.
            begins = isinstance(first, Produced) and first.text.startswith((shown, shown.lstrip()))
            ends = texts.get(turn - 1, "").rstrip().endswith((self._settings.connector + shown).rstrip())
            if not begins or not ends:
                wrong.add(turn)
        return wrong
