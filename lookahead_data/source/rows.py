"""A row as it was read, and what must hold of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lookahead_data.errors import RowError
from lookahead_data.source.turns import Message, Place

Conversation = list[Message]
"""Messages as plain values: `role` and `content`, and what else is given of `reasoning_content`,
`tool_calls`, `tool_call_id`, `name` and `weight`. A content is None where only tools are called."""


@dataclass(slots=True)
class Row:
    """What a record holds.

    Attributes:
        messages: the conversation.
        places: where the text of each message stands in the record, or None.
        tools, template_args: of the row; None where none are given.
        looked_inside: whether what a text or a number says has decided how the record is read. If not, a
            record that differs in texts alone is read alike.
    """

    messages: Conversation
    places: list[Place | None]
    tools: list[Any] | None = None
    template_args: dict[str, Any] | None = None
    looked_inside: bool = False

    @property
    def texts(self) -> Iterator[str]:
        """What the messages say and think."""
        for message in self.messages:
            if message["content"]:
                yield message["content"]
            if len(message) > 2 and message.get("reasoning_content"):
                yield message["reasoning_content"]

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but messages of text, whatever the texts are."""
        carried = any(key not in _PLAIN for message in self.messages for key in message)
        return not carried and self.tools is None and self.template_args is None and not self.looked_inside


_PLAIN = ("role", "content", "reasoning_content")


def check(row: Row) -> None:
    """Raise `RowError` if nobody answers, an answer is empty or none is to be learned, or a text is no UTF-8."""
    _check(row.messages)
    _check_encodable(row)
    _check_trained(row.messages)


def _check(messages: Conversation) -> None:
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RowError("no_answer", "the conversation has no assistant message")
    for message in answers:
        said = (message["content"] or "").strip() or message.get("reasoning_content")
        if not said and not message.get("tool_calls"):
            raise RowError("empty_answer", "an answer is empty")


def _check_trained(messages: Conversation) -> None:
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        raise RowError("not_trained", "the row says of all its answers that they are not to be learned")


def _check_encodable(row: Row) -> None:
    texts = list(row.texts)
    carried = [message for message in row.messages if len(message) > 2]
    if carried or row.tools is not None or row.template_args is not None:
        texts.append(json.dumps([carried, row.tools, row.template_args], ensure_ascii=False, default=str))
    for text in texts:
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise RowError(
                    "lone_surrogate", f"character {error.start} is half of a UTF-16 pair"
                ) from None
