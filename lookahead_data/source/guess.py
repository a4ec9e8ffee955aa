"""Which shape rows have, by their fields and the first values of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lookahead_data.config import Settings
from lookahead_data.source import names
from lookahead_data.source.calls import parsed
from lookahead_data.source.names import as_object, find, value_at
from lookahead_data.source.shapes import Shape
from lookahead_data.source.strict import TALKS, is_context
from lookahead_data.source.turns import looks_like_turns

KNOWN_PAIRS: tuple[tuple[str, str], ...] = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("instruction", "response"),
    ("instruction", "completion"),
    ("instruction", "answer"),
    ("problem", "solution"),
    ("question", "solution"),
    ("input", "output"),
    ("input", "response"),
    ("inputs", "targets"),
    ("input", "target"),
)
"""Fields that name a prompt and its completion, the first pair that is there wins."""

TALK_FIELDS = ("messages", "conversations", "conversation")
"""Fields that hold a conversation wherever they hold a list."""
MAYBE_TALKS = ("contents", "dialogue", "dialog", "turns", "chat", "trajectory", "data")
"""Fields that hold a conversation where their first value looks like one."""


def shape_of(present: Mapping[str, Any], settings: Settings) -> Shape | None:
    """The shape of rows with these fields, and a value of each that says something if there is one."""
    shape = named_shape(settings, present) if is_named(settings) else _guess(present)
    if shape is None:
        return None
    return _with_optional(shape, present, settings)


def is_named(settings: Settings) -> bool:
    """Whether the settings say what shape it is."""
    return settings.shape != "auto" or bool(settings.input_field or settings.output_field)


def named_shape(settings: Settings, present: Mapping[str, Any]) -> Shape:
    """The shape that the settings name, of rows with these fields."""
    kind = "prompt-completion" if settings.shape == "auto" else settings.shape
    given, answer = settings.input_field, settings.output_field
    if settings.shape == "auto" and given and not answer:
        value = value_at(present, given)
        if _are_segments(value):
            return Shape("segments", given)
        # A prompt that is a conversation may have its answer in another field.
        beside = any(find(present, pair[1]) for pair in KNOWN_PAIRS if names.plain(given) == pair[0])
        if (isinstance(value, list) or looks_like_turns(value)) and not beside:
            return Shape(kind_of_turns(value), given)
    if kind == "prompt-completion":
        for prompt, completion in KNOWN_PAIRS:
            both = given or find(present, prompt), answer or find(present, completion)
            fits = given is None or names.plain(given) == names.plain(prompt)
            fits &= answer is None or names.plain(answer) == names.plain(completion)
            if fits and all(both):
                return Shape(kind, str(both[0]), str(both[1]))
        prompt = given or next(
            (found for pair in KNOWN_PAIRS if (found := find(present, pair[0])) and found != answer), "prompt"
        )
        return Shape(kind, prompt, answer or "completion")
    if kind == "alpaca":
        default = find(present, "instruction") or "instruction", find(present, "output") or "output"
        return Shape(kind, given or default[0], answer or default[1])
    default_field = {
        "messages": "messages",
        "sharegpt": "conversations",
        "text": "text",
        "segments": "segments",
    }
    return Shape(kind, given or find(present, default_field[kind]) or default_field[kind])


def _guess(present: Mapping[str, Any]) -> Shape | None:
    for wanted in (*TALK_FIELDS, *MAYBE_TALKS):
        name = find(present, wanted)
        if name is None:
            continue
        value = present[name]
        if looks_like_turns(value) or (wanted in TALK_FIELDS and isinstance(value, list)):
            return Shape(kind_of_turns(value), name)
    if (name := find(present, "segments")) and _are_segments(present[name]):
        return Shape("segments", name)
    instruction, output = find(present, "instruction"), find(present, "output")
    if instruction and output:
        return Shape("alpaca", instruction, output)
    for prompt, completion in KNOWN_PAIRS:
        asked, answered = find(present, prompt), find(present, completion)
        if asked and answered:
            return Shape("prompt-completion", asked, answered)
    text = find(present, "text")
    return Shape("text", text) if text else None


def _with_optional(shape: Shape, present: Mapping[str, Any], settings: Settings) -> Shape:
    """The shape with the optional fields that the settings name, or that its rows have."""
    shape = replace(
        shape,
        ignored=settings.ignore_field,
        role_field=settings.role_field,
        content_field=settings.content_field,
        train_field=settings.train_field,
        roles=tuple(sorted(settings.role.items())),
    )
    if shape.kind == "text":
        return shape
    return replace(
        shape,
        as_json=shape.output_field is not None and _is_messages_as_json(value_at(present, shape.input_field)),
        system_field=settings.system_field or _system_in(present, shape),
        context_fields=settings.context_field or _contexts_in(present, shape),
        history_field=settings.history_field,
        reasoning_field=settings.reasoning_field,
        tools_field=settings.tools_field,
    )


def _is_messages_as_json(value: Any) -> bool:
    """Whether a text is a list of messages, written as JSON."""
    return isinstance(value, str) and value.lstrip().startswith("[{") and looks_like_turns(value)


def _system_in(present: Mapping[str, Any], shape: Shape) -> str | None:
    """The field of the system prompt. A null is no reason to pass over it: later rows may fill it."""
    found = [
        name
        for name, value in present.items()
        if names.meaning_of(name) == names.SYSTEM
        and name not in (*shape.fields, *shape.ignored)
        and isinstance(value, str | None)
    ]
    said = [name for name in found if present[name]]
    # Quick readers read texts of prompts alone, and leave a line with a system prompt beside messages to others.
    return next(iter(said if is_talk(shape) else [*said, *found]), None)


def _contexts_in(present: Mapping[str, Any], shape: Shape) -> tuple[str, ...]:
    """The fields that continue the prompt, in the order of `names.CONTEXTS`."""
    found = (find(present, name) for name in names.CONTEXTS)
    return tuple(
        name
        for name in found
        if name and name not in (*shape.fields, *shape.ignored) and is_context(name, shape)
    )


def kind_of_turns(turns: Any) -> str:
    """`sharegpt` for messages of that form, else `messages`."""
    found = as_object(parsed(turns))
    first = as_object(found[0]) if isinstance(found, list) and found else found
    return "sharegpt" if isinstance(first, Mapping) and "from" in first else "messages"


def _are_segments(value: Any) -> bool:
    first = as_object(value[0]) if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and "text" in first and isinstance(first.get("label"), bool)


def nested_talk(present: Mapping[str, Any]) -> str | None:
    """The dotted name of a conversation that stands one level deeper, to propose it."""
    for name, value in present.items():
        value = as_object(value)
        if isinstance(value, Mapping):
            for inner in TALK_FIELDS:
                if looks_like_turns(value.get(inner)):
                    return f"{name}.{inner}"
    return None


def is_talk(shape: Shape) -> bool:
    """Whether one field holds the whole conversation."""
    return shape.kind in TALKS
