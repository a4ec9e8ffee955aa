"""Guarded tokens that an answer of the corpus spells out and means.

What an answer says is what the model is to produce. Where it begins with a block of reasoning, or holds a
well-formed tool call, the tags around these are the tokens that the model must write. Everywhere else, and
in every message that is not an answer, a guarded token that is spelled out is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from lookahead_data.model.places import Span
from lookahead_data.model.reasoning import TAGS
from lookahead_data.model.rope import Rope, pieces_of

CALL_TAGS = (
    ("<tool_call>", "</tool_call>"),
    ("<function_call>", "</function_call>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("<|tool_call_start|>", "<|tool_call_end|>"),
)
"""Tags around a tool call."""

_ARGUMENTS = re.compile(r"</?arg_(?:key|value)>")
_BY_KEYS = re.compile(r"\s*[\w.-]+\s*(?:<arg_key>.*?</arg_key>\s*<arg_value>.*?</arg_value>\s*)+", re.DOTALL)
_BY_FUNCTION = re.compile(r"\s*<function=[^>\n]+>.*</function>\s*", re.DOTALL)
_BY_PYTHON = re.compile(r"\s*\[\s*[A-Za-z_][\w.]*\(.*\)\s*\]\s*", re.DOTALL)

_CONTENT = frozenset(("content", "open", "inner", "close", "rest"))
"""Names of the slots that a message's content is in."""


def meant_spans(text: Rope, answers: Sequence[int]) -> list[Span]:
    """Where in a rendered conversation answers spell out tags that they mean.

    Args:
        answers: the places of the answers among the messages.
    """
    found: list[Span] = []
    for at, content in _contents(text, frozenset(answers)):
        found += [(at + low, at + high) for low, high in tags_in(content)]
    return found


def _contents(text: Rope, answers: frozenset[int]) -> Iterator[tuple[int, str]]:
    """The contents of answers, each with where it begins."""
    at, start, turn, run = 0, 0, -1, ""
    for piece in pieces_of(text):
        mine = piece.slot is not None and piece.slot[0] in answers and piece.slot[1] in _CONTENT
        if run and not (mine and piece.slot and piece.slot[0] == turn):
            yield start, run
            run = ""
        if mine and piece.slot:
            start, turn, run = (start if run else at), piece.slot[0], run + piece.text
        at += len(piece.text)
    if run:
        yield start, run


def tags_in(answer: str) -> Iterator[Span]:
    """Where an answer has the tags of its reasoning and of its tool calls."""
    head = len(answer) - len(answer.lstrip())
    for first, last in TAGS:
        stop = answer.find(last, head) if answer.startswith(first, head) else -1
        if stop >= 0:
            yield head, head + len(first)
            yield stop, stop + len(last)
            break
    for first, last in CALL_TAGS:
        start = answer.find(first)
        while start >= 0 and (stop := answer.find(last, start)) >= 0:
            body = answer[start + len(first) : stop]
            if _is_call(body):
                yield start, start + len(first)
                for match in _ARGUMENTS.finditer(body) if _BY_KEYS.fullmatch(body) else ():
                    yield tuple(start + len(first) + place for place in match.span())  # type: ignore[misc]
                yield stop, stop + len(last)
                start = answer.find(first, stop)
            else:
                start = answer.find(first, start + 1)


def _is_call(body: str) -> bool:
    """Whether a text is a call as models write it: JSON, XML-like, by keys, or like Python."""
    if body.lstrip()[:1] in ("{", "["):
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return _BY_PYTHON.fullmatch(body) is not None
        return True
    return any(form.fullmatch(body) for form in (_BY_FUNCTION, _BY_KEYS))
