"""Shapes: how the rows of a file hold their conversations."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lookahead_data.source.turns import Rules


@dataclass(frozen=True)
class Shape:
    """How the rows of a file hold their conversations. Names of fields may be dotted.

    Attributes:
        kind: `prompt-completion`, `alpaca`, `messages`, `sharegpt`, `segments` or `text`.
        input_field: the prompt; for `alpaca` the instruction; else the messages, the segments or the text.
        output_field: the completion, or None.
        system_field: the system prompt, or None.
        context_fields: what continues the prompt, such as Alpaca's `input`.
        history_field, reasoning_field, tools_field, train_field: see `Settings`.
        flag_field: what tells whether a row is of the class safety, or None.
        role_field, content_field: the keys of a message's role and content, None for the usual ones.
        roles: further role names, and their roles.
        ignored: fields that do not matter, whatever their names mean.
        condition_fields: fields that conditions on rows name.
        as_json: whether prompt and answer are lists of messages, written as JSON in a text.
    """

    kind: str
    input_field: str
    output_field: str | None = None
    system_field: str | None = None
    context_fields: tuple[str, ...] = ()
    history_field: str | None = None
    reasoning_field: str | None = None
    tools_field: str | None = None
    train_field: str | None = None
    flag_field: str | None = None
    role_field: str | None = None
    content_field: str | None = None
    roles: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    condition_fields: tuple[str, ...] = ()
    as_json: bool = False

    def __post_init__(self) -> None:
        # A plan that was read from JSON has lists here.
        for name in ("context_fields", "ignored", "condition_fields"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "roles", tuple((str(name), str(role)) for name, role in self.roles))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that must be there."""
        return (self.input_field,) if self.output_field is None else (self.input_field, self.output_field)

    @functools.cached_property
    def texts(self) -> tuple[str, ...]:
        """The fields that quick readers read: those that must be there, and optional ones of text."""
        optional = (self.system_field, *self.context_fields)
        return (*self.fields, *(name for name in optional if name))

    @functools.cached_property
    def all_fields(self) -> tuple[str, ...]:
        """The fields that are read."""
        optional = (
            self.history_field, self.reasoning_field, self.tools_field, self.train_field, self.flag_field,
        )  # fmt: skip
        return (*self.texts, *(name for name in optional if name), *self.condition_fields)

    @functools.cached_property
    def rules(self) -> Rules:
        """How messages are read."""
        ignored = {short for name in self.ignored for short in (name, name.rpartition(".")[2])}
        return Rules(
            self.roles, self.role_field, self.content_field, self.train_field, tuple(sorted(ignored))
        )

    @functools.cached_property
    def opened(self) -> frozenset[str]:
        """Fields inside of which others are read."""
        return frozenset(name.partition(".")[0] for name in self.all_fields if "." in name)

    @functools.cached_property
    def meanings(self) -> dict[str, str | None]:
        """What the fields met so far mean beside prompt, answer and messages (see `strict`); None for nothing."""
        return {}

    @property
    def is_plain(self) -> bool:
        """Whether quick readers can read rows of this shape."""
        careful = (
            self.history_field, self.reasoning_field, self.tools_field, self.train_field, self.flag_field,
            self.role_field, self.content_field, self.condition_fields, self.roles, self.as_json,
        )  # fmt: skip
        return (
            not any(careful)
            and self.kind != "segments"
            and len(self.context_fields) <= 1
            and not any("." in name for name in self.texts)
        )

    @functools.cached_property
    def is_plain_pair(self) -> bool:
        """Whether rows are prompts and answers, with nothing else named but what continues the prompt."""
        careful = (
            self.history_field,
            self.reasoning_field,
            self.tools_field,
            self.train_field,
            self.opened,
            self.as_json,
        )
        return self.output_field is not None and not any(careful)

    def __str__(self) -> str:
        names = [
            self.system_field, self.history_field, self.input_field, *self.context_fields,
            self.reasoning_field, self.output_field,
        ]  # fmt: skip
        return f"{self.kind} ({', '.join(name for name in names if name)})"


def in_words(shapes: Iterable[Shape]) -> str:
    """The shapes of a corpus's files, and how many files have each where they differ."""
    files = Counter(map(str, shapes))
    if len(files) == 1:
        return next(iter(files))
    return ", ".join(f"{shape} in {count} file{'s' * (count != 1)}" for shape, count in files.items())
