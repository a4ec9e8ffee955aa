"""Calls of tools and definitions of tools, as chat templates expect them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lookahead_data.errors import RowError
from lookahead_data.source.names import as_object, is_empty

Call = dict[str, Any]

_NAMES = ("name", "tool_name", "tool")
_ARGUMENTS = ("arguments", "args", "parameters", "input", "kwargs")


def cleaned(value: Any) -> Any:
    """A value without the keys that hold null.

    Arrow gives all objects of a column the same keys, with nulls where an object had none; templates would
    print these.
    """
    value = as_object(value)
    if isinstance(value, Mapping):
        return {str(key): cleaned(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value


def parsed(value: Any) -> Any:
    """The object or list that a text holds as JSON; all else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def tool_calls(value: Any, where: str) -> list[Call]:
    """Calls of tools in OpenAI's form, their arguments as objects.

    Args:
        value: a list of calls or one call, maybe as JSON, in the form of OpenAI or as name and arguments.

    Raises:
        RowError: something in it is no call.
    """
    value = as_object(parsed(value))
    if is_empty(value):
        return []
    calls = value if isinstance(value, list) else [value]
    return [_call(call, where) for call in calls]


def _call(value: Any, where: str) -> Call:
    value = as_object(parsed(value))
    call = cleaned(value) if isinstance(value, Mapping) else {}
    function = as_object(parsed(call.get("function")))
    if not isinstance(function, Mapping):
        arguments = next((call.pop(name) for name in _ARGUMENTS if name in call), None)
        named = next((call.pop(name) for name in _NAMES if name in call), None)
        function = {"name": named, "arguments": arguments}
        call = {key: value for key, value in call.items() if key in ("id", "index")}
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(
            "unsupported_content",
            f"{where} holds a tool call without a function name: {json.dumps(value, default=str)[:200]}",
        )
    arguments = parsed(function.get("arguments"))
    function = {**function, "arguments": {} if arguments is None or arguments == "" else arguments}
    return {"type": "function", **call, "function": function}


def is_call(value: Any) -> bool:
    """Whether a text is a call of a tool, or a list of such, as JSON."""
    found = parsed(value)
    calls = found if isinstance(found, list) else [found]
    return bool(calls) and all(
        isinstance(call, Mapping)
        and (isinstance(call.get("name"), str) or isinstance(call.get("function"), Mapping))
        for call in calls
    )


def tool_definitions(value: Any, name: str) -> list[Any] | None:
    """The tools of a row: a list of definitions, maybe as JSON; None where none are given.

    Raises:
        RowError: it is no list of definitions.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    found = as_object(parsed(value))
    if isinstance(found, Mapping):
        found = [found]
    tools = (
        [tool if isinstance(value, str) else cleaned(tool) for tool in map(parsed, found)]
        if isinstance(found, list)
        else [found]
    )
    for tool in tools:
        if not isinstance(tool, Mapping):
            raise RowError(
                "unsupported_content",
                f"the field {name!r} is no list of tool definitions; if it does not matter, "
                f"pass --ignore-field {name}",
            )
    if name == "functions":  # OpenAI's older way
        tools = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return tools


def template_arguments(value: Any, name: str) -> dict[str, Any] | None:
    """The template arguments of a row: an object, maybe as JSON; None where none are given.

    Raises:
        RowError: it is no object.
    """
    found = as_object(parsed(value))
    if found is None or found == "":
        return None
    if not isinstance(found, Mapping):
        raise RowError(
            "not_text",
            f"the field {name!r} holds template arguments, which must be an object; if it does not matter, "
            f"pass --ignore-field {name}",
        )
    return cleaned(found) or None
