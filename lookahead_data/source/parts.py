"""The parts of a message's content: text, reasoning, refusals, calls of tools and their results, media."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lookahead_data.errors import RowError
from lookahead_data.source.calls import Call, cleaned, tool_calls
from lookahead_data.source.names import as_object, is_empty

Path = tuple[str | int, ...]
"""The keys and places that lead to a value inside of a row."""

MEDIA_TYPES = ("image", "audio", "video", "file", "document", "media")
MEDIA_KEYS = (
    "image", "image_url", "input_image", "audio", "input_audio", "audio_url", "video", "video_url", "file",
    "document", "inlineData", "inline_data", "fileData", "file_data",
)  # fmt: skip
TEXTS = ("text", "input_text", "output_text")
REASONING_TYPES = ("reasoning", "thinking", "thought", "redacted_thinking", "reasoning_text", "summary_text")
REASONING_KEYS = ("thinking", "reasoning", "reasoning_content", "thought", "reasoningContent")
CALL_TYPES = ("tool_use", "tool_call", "function_call", "toolUse", "server_tool_use")
CALL_KEYS = ("functionCall", "function_call", "toolUse", "tool_use", "tool_call")
RESULT_TYPES = ("tool_result", "function_response", "function_call_output", "toolResult")
RESULT_KEYS = ("functionResponse", "function_response", "toolResult", "tool_result")


@dataclass
class Said:
    """What the parts of a content say.

    Attributes:
        texts: each text and where it stands.
        reasoning: what was thought before.
        calls: calls of tools.
        results: messages with results of tools.
    """

    texts: list[tuple[str, Path]] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.texts)


def said_in(parts: list[Any], where: str, path: Path) -> Said:
    """What the parts of a content say.

    Args:
        where: the message, for people.
        path: leads to the parts.

    Raises:
        RowError: a part is an image, audio or video, or is none of the known kinds.
    """
    said = Said()
    for at, part in enumerate(parts):
        _add(part, said, where, (*path, at))
    return said


def _add(part: Any, said: Said, where: str, path: Path) -> None:
    part = as_object(part)
    if isinstance(part, str):
        said.texts.append((part, path))
        return
    if not isinstance(part, Mapping):
        raise _odd(part, where)
    kind = part.get("type") if isinstance(part.get("type"), str) else ""
    assert isinstance(kind, str)
    if any(name in kind for name in MEDIA_TYPES) or any(not is_empty(part.get(key)) for key in MEDIA_KEYS):
        raise RowError("media", f"{where} has a part that is not text: {_named(kind, part)}")
    if kind in RESULT_TYPES or any(not is_empty(part.get(key)) for key in RESULT_KEYS):
        said.results.append(_result(part, where, path))
    elif kind in CALL_TYPES or any(not is_empty(part.get(key)) for key in CALL_KEYS):
        inner = next((part[key] for key in CALL_KEYS if not is_empty(part.get(key))), part)
        said.calls += _call(as_object(inner), where)
    elif kind == "refusal" or isinstance(part.get("refusal"), str):
        _text(part, ("refusal", "text"), said, where, path)
    elif (
        kind in REASONING_TYPES
        or part.get("thought") is True
        or (any(not is_empty(part.get(key)) for key in REASONING_KEYS) and is_empty(part.get("text")))
    ):
        said.reasoning += _reasoning(part, where)
    elif kind in ("", *TEXTS):
        _text(part, ("text", "content", "value"), said, where, path)
    else:
        raise _odd(part, where)


def _text(part: Mapping[str, Any], keys: tuple[str, ...], said: Said, where: str, path: Path) -> None:
    key = next((key for key in keys if isinstance(part.get(key), str)), None)
    if key is None:
        raise _odd(part, where)
    said.texts.append((part[key], (*path, key)))


def _reasoning(part: Mapping[str, Any], where: str) -> list[str]:
    for key in ("text", *REASONING_KEYS, "summary", "content", "reasoningText", "data"):
        value = as_object(part.get(key))
        if isinstance(value, str) and value:
            return [value]
        if isinstance(value, Mapping):
            return _reasoning(value, where)
        if isinstance(value, list) and value:
            return [
                text
                for item in value
                for text in ([item] if isinstance(item, str) else _reasoning(item, where))
            ]
    return []


def _call(inner: Any, where: str) -> list[Call]:
    if isinstance(inner, Mapping):
        call = {key: value for key, value in cleaned(inner).items() if key != "type"}
        for key in ("toolUseId", "tool_use_id", "call_id"):
            if key in call:
                call["id"] = call.pop(key)
        return tool_calls(call, where)
    return tool_calls(inner, where)


def _result(part: Mapping[str, Any], where: str, path: Path) -> dict[str, Any]:
    key = next((key for key in RESULT_KEYS if not is_empty(part.get(key))), None)
    inner = cleaned(part[key] if key else part)
    content = next(
        (inner[name] for name in ("content", "output", "response", "text") if inner.get(name) is not None), ""
    )
    if isinstance(content, list) and all(isinstance(item, str) or "text" in item for item in content):
        content = said_in(content, where, path).text
    if not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False)
    message: dict[str, Any] = {"role": "tool", "content": content}
    for name in ("tool_use_id", "toolUseId", "tool_call_id", "call_id", "id"):
        if isinstance(inner.get(name), str):
            message["tool_call_id"] = inner[name]
            break
    if isinstance(inner.get("name"), str):
        message["name"] = inner["name"]
    return message


def _named(kind: str, part: Mapping[str, Any]) -> str:
    return repr(kind) if kind else repr(next((key for key in MEDIA_KEYS if part.get(key)), "?"))


def _odd(part: Any, where: str) -> RowError:
    return RowError("unsupported_content", f"{where} has a part of an unknown kind: {repr(part)[:200]}")
