"""The texts of conversations by which rows are compared: prompts, completions, or all that is said."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, lists_of, whole_array
from lookahead_data.talk import Talk

FIELDS = ("prompt", "completion", "conversation")

_SEPARATOR = "\n"


def field_lists(talk: Talk, field: str) -> pa.ListArray:
    """The contents of the messages that make up a field of each conversation.

    Args:
        field: `completion` is the last answer, `prompt` all that is said before it, `conversation` both.
            Of a conversation without an answer all is prompt.
    """
    bounds, places = _messages_of(talk, field)
    return lists_of(bounds, talk.said.take(places))


def field_roles(talk: Talk, field: str) -> pa.ListArray:
    """The roles of the messages whose contents `field_lists` gives."""
    bounds, places = _messages_of(talk, field)
    return lists_of(bounds, talk.roles.take(places))


def field_texts(talk: Talk, field: str) -> pa.LargeStringArray:
    """What `field_lists` gives, each as one text, a message a line."""
    joined = pl.Series(field_lists(talk, field), dtype=pl.List(pl.String)).list.join(_SEPARATOR)
    return whole_array(joined.to_arrow()).cast(pa.large_string())


def _messages_of(talk: Talk, field: str) -> tuple[Ints, pa.Array]:
    """Where each conversation's messages of a field begin, shape (rows + 1,), and their places in `talk`."""
    starts, ends = talk.starts[:-1], talk.starts[1:]
    if field != "conversation":
        answers = last_answers(talk)
        starts, ends = (starts, answers) if field == "prompt" else (answers, np.minimum(answers + 1, ends))
    sizes = ends - starts
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    return bounds, pa.array(np.arange(bounds[-1]) - np.repeat(bounds[:-1] - starts, sizes))


def last_answers(talk: Talk) -> Ints:
    """The place of each conversation's last answer, or where the conversation ends if it has none."""
    found = talk.starts[1:].copy()
    answers = np.flatnonzero(talk.are("assistant"))
    rows = talk.rows[answers]
    last = np.append(rows[1:] != rows[:-1], True)[: len(rows)]
    found[rows[last]] = answers[last]
    return found
