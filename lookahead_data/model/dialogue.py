"""A conversation as a chat template is given it: its messages, its tools and its template arguments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from lookahead_data.errors import RowError
from lookahead_data.model.rope import TOOLS, Piece, Rope, rooted

Message = Mapping[str, Any]
"""One message: `role`, maybe `content`, `reasoning_content`, `tool_calls`, `tool_call_id`, `name`, `weight`."""

CALL = "call"
"""Slots of tool calls are named so, with the number of the call behind it."""

RESERVED = ("messages", "add_generation_prompt", "tools", "documents")
"""Variables of every template, which an argument must not hide."""


@dataclass(frozen=True)
class Dialogue:
    """A conversation with what its row says beside the messages.

    Attributes:
        messages: in order.
        tools: the tool definitions; None is none given, which is not the same as an empty list.
        arguments: template arguments of this row.
    """

    messages: Sequence[Message]
    tools: Sequence[Any] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def before(self, turn: int) -> Dialogue:
        """The messages before `turn` alone."""
        return replace(self, messages=self.messages[:turn])

    def followed(self) -> Dialogue:
        """With one more question behind the last message."""
        return replace(self, messages=[*self.messages, {"role": "user", "content": "?"}])


def text_of(message: Message) -> str:
    """The content of a message; nothing where it has tool calls alone."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


def is_trained(message: Message) -> bool:
    """Whether a message is an answer that shall be learned."""
    return message["role"] == "assistant" and message.get("weight") != 0


def with_contents(dialogue: Dialogue) -> Dialogue:
    """The conversation with an empty content where a message has none, for templates that fail without; the same
    object where each message has one."""
    if all("content" in message for message in dialogue.messages):
        return dialogue
    return replace(dialogue, messages=[{"content": "", **message} for message in dialogue.messages])


def roped(dialogue: Dialogue) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Messages and tools with the origin of all their text.

    Texts that are ropes already (probes, say) are taken as they are.
    """
    messages = []
    for turn, message in enumerate(dialogue.messages):
        mine: dict[str, Any] = {"role": message["role"]}
        for key, value in message.items():
            if key in ("role", "weight") or value is None:
                continue
            if key == "tool_calls":
                mine[key] = [rooted(call, (turn, f"{CALL}{at}")) for at, call in enumerate(value)]
            else:
                mine[key] = value if isinstance(value, Rope) else rooted(value, (turn, key))
        messages.append(mine)
    tools = dialogue.tools
    return messages, None if tools is None else [
        rooted(tool, (TOOLS, str(at))) for at, tool in enumerate(tools)
    ]


def bare(dialogue: Dialogue) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Messages and tools as plain values, for plain Jinja; keys of messages without a value are dropped."""
    messages = [
        {key: value for key, value in message.items() if key != "weight" and value is not None}
        for message in dialogue.messages
    ]
    return messages, None if dialogue.tools is None else list(dialogue.tools)


def leaves(value: Any) -> Iterator[str]:
    """All texts inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(key)
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


def check_tools(full: Rope, pieces: Sequence[Piece], dialogue: Dialogue) -> None:
    """Hold a rendering against the tools and tool calls that it must show.

    Raises:
        RowError: the template leaves some of them out.
    """
    if not dialogue.tools and not any(message.get("tool_calls") for message in dialogue.messages):
        return
    text = str.__str__(full)
    starts = list(accumulate((len(piece.text) for piece in pieces), initial=0))
    shown = [(at, piece.slot) for at, piece in zip(starts, pieces, strict=False) if piece.slot and piece.text]
    for tool in dialogue.tools or ():
        name = name_of(tool)
        if not any(slot[0] == TOOLS for _, slot in shown) or not _stands(text, name):
            raise RowError(
                "tools_not_rendered", f"the template does not render the tools of the row (such as {name!r})"
            )
    for turn, message in enumerate(dialogue.messages):
        mine = [at for at, slot in shown if slot[0] == turn and slot[1].startswith(CALL)]
        after = [at for at, slot in shown if slot[0] > turn]
        part = text[mine[0] : min(after, default=len(text))] if mine else ""
        calls = message.get("tool_calls") or ()
        for at, call in enumerate(calls):
            own = (turn, f"{CALL}{at}") in {slot for _, slot in shown}
            # A list that is written as JSON at one go counts as its first call's.
            if not (own or _are_listed(part, calls)) or not _tells(part, call):
                raise RowError(
                    "tools_not_rendered",
                    f"the template does not render tool call {at + 1} of message {turn + 1} in full",
                )


def _are_listed(text: str, calls: Sequence[Any]) -> bool:
    """Whether a text holds each of some calls as JSON, as often as they repeat."""
    listed = Counter(json.dumps(call, ensure_ascii=False) for call in calls)
    return all(text.count(call) >= count for call, count in listed.items())


def name_of(tool: Any) -> str:
    """What a tool, or a call, is called."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def _tells(text: str, call: Any) -> bool:
    """Whether a rendering holds a call's name and all that its arguments say."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    arguments = function.get("arguments")
    return all(_stands(text, value) for value in (name_of(call), *_scalars(arguments)))


def _stands(text: str, value: Any) -> bool:
    if isinstance(value, str):
        value = str.__str__(value)
        escaped = json.dumps(value, ensure_ascii=False)[1:-1]
        return (
            value.strip() in text or escaped.strip() in text or json.dumps(escaped, ensure_ascii=False)[1:-1] in text
            or json.dumps(value)[1:-1] in text
        )  # fmt: skip
    return json.dumps(value) in text or str(value) in text


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _scalars(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _scalars(inner)
    elif value is not None:
        yield value
