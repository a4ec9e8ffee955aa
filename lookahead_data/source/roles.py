"""Who speaks: role names as corpora write them, and the ones that chat templates know."""

from __future__ import annotations

import functools
import re

ROLES: dict[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "gpt3": "assistant",
    "gpt4": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "tool_results": "tool",
    "tool_output": "tool",
    "function": "tool",
    "function_response": "tool",
    "function_result": "tool",
    "function_output": "tool",
    "observation": "tool",
    "environment": "tool",
    "ipython": "tool",
}
"""Role names as corpora write them, and the roles that they are."""

CALLS = ("function_call", "tool_call", "tool_calls")
"""Roles of messages that are calls of tools: the assistant's."""

_BETWEEN = re.compile(r"[\s_-]+")


def plain_role(name: str) -> str:
    """A role name without case, blanks around it, and with one way to part its words."""
    return _BETWEEN.sub("_", name.strip().casefold())


@functools.lru_cache(1024)
def role_of(name: str, more: tuple[tuple[str, str], ...] = ()) -> str | None:
    """The role that a name stands for, or `function_call`; None if it is not known.

    Args:
        more: names and roles that go before the known ones.
    """
    plain = plain_role(name)
    for other, role in more:
        if plain_role(other) == plain:
            return role
    if plain in CALLS:
        return CALLS[0]
    return ROLES.get(plain)
