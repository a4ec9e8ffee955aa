"""From a record, whatever its corpus's shape, to a conversation: a list of messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lookahead_data.batches import Reject, Staged
from lookahead_data.columns import schema, with_column
from lookahead_data.errors import RowError
from lookahead_data.source.records import Record, excerpt_of

ROLES: dict[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Role names as corpora write them, and the names that chat templates know."""

FLAGS = ("safety", "true", "yes", "1")
"""What the field of `--safety-field` says of a row of the class safety, where it holds text; case does not count."""

REASONING = ("reasoning_content", "reasoning", "thinking")
UNSUPPORTED = ("tool_calls", "function_call", "images", "audio")

BATCH_ROWS = 1000
BATCH_BYTES = 4 << 20

Conversation = list[dict[str, str]]


@dataclass(frozen=True)
class Shape:
    """How the rows of a file hold their conversations.

    Attributes:
        kind: `prompt-completion`, `alpaca`, `messages`, `sharegpt` or `text`.
        input_field: the prompt; for `alpaca` the instruction; else the list of messages, or the text.
        output_field: the completion, or None.
        system_field: the system prompt, or None.
        extra_field: Alpaca's optional `input`, or None.
        flag_field: what tells whether a row is of the class safety, or None.
    """

    kind: str
    input_field: str
    output_field: str | None = None
    system_field: str | None = None
    extra_field: str | None = None
    flag_field: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that must be there."""
        return (self.input_field,) if self.output_field is None else (self.input_field, self.output_field)

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The fields that are read."""
        optional = (self.system_field, self.extra_field, self.flag_field)
        return (*self.fields, *(name for name in optional if name))

    def __str__(self) -> str:
        names = [self.system_field, self.input_field, self.extra_field, self.output_field]
        return f"{self.kind} ({', '.join(name for name in names if name)})"


def in_words(shapes: Iterable[Shape]) -> str:
    """The shapes of a corpus's files, and how many files have each where they differ."""
    files = Counter(map(str, shapes))
    if len(files) == 1:
        return next(iter(files))
    return ", ".join(f"{shape} in {count} file{'s' * (count != 1)}" for shape, count in files.items())


def to_messages(record: Mapping[str, Any], shape: Shape) -> Conversation:
    """The conversation that a record holds.

    Raises:
        RowError: a field is missing, null, not text or empty; a role is unknown; a message carries
            something other than text; nobody answers.
    """
    messages: Conversation = []
    if shape.system_field and record.get(shape.system_field) is not None:
        system = _text(record, shape.system_field)
        if system:
            messages.append({"role": "system", "content": system})
    if shape.kind == "text":
        messages.append({"role": "assistant", "content": _text(record, shape.input_field)})
    elif shape.kind in ("messages", "sharegpt"):
        messages += _turns(record, shape.input_field)
    elif isinstance(record.get(shape.input_field), list):
        # TRL's conversational prompt and completion: two lists of messages.
        messages += _turns(record, shape.input_field) + _turns(record, shape.output_field or "")
    else:
        prompt = _text(record, shape.input_field)
        if shape.extra_field and record.get(shape.extra_field):
            prompt = f"{prompt}\n{_text(record, shape.extra_field)}"
        answer = _text(record, shape.output_field or "")
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    _check(messages)
    return messages


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        raise RowError("missing_field", f"the field {name!r} is {'null' if name in record else 'missing'}")
    if not isinstance(value, str):
        raise RowError("not_text", f"the field {name!r} holds {_kind(value)}, not text")
    return value


def _turns(record: Mapping[str, Any], name: str) -> Conversation:
    turns = record.get(name)
    if turns is None:
        raise RowError("missing_field", f"the field {name!r} is {'null' if name in record else 'missing'}")
    if not isinstance(turns, list):
        raise RowError("not_text", f"the field {name!r} holds {_kind(turns)}, not a list of messages")
    return [_message(turn, f"{name}[{at}]") for at, turn in enumerate(turns)]


def _message(turn: Any, where: str) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise RowError("not_text", f"{where} holds {_kind(turn)}, not a message")
    named, said = ("from", "value") if "from" in turn and "role" not in turn else ("role", "content")
    role = turn.get(named)
    if not isinstance(role, str) or role.lower() not in ROLES:
        known = ", ".join(ROLES)
        raise RowError("unknown_role", f"{where} has the role {role!r}; known roles: {known}")
    for name in UNSUPPORTED:
        if turn.get(name):
            raise RowError("unsupported_content", f"{where} carries {name!r}; only text is supported")
    content = turn.get(said)
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    if content is None:
        raise RowError("missing_field", f"{where} has no {said!r}")
    if not isinstance(content, str):
        raise RowError("not_text", f"{where}.{said} holds {_kind(content)}, not text")
    message = {"role": ROLES[role.lower()], "content": content}
    for name in REASONING:
        if isinstance(turn.get(name), str) and turn[name]:
            message["reasoning_content"] = turn[name]
            break
    return message


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        raise RowError(
            "unsupported_content", f"{where} has a part that is not text: {excerpt_of(repr(part))}"
        )
    return text


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _check(messages: Conversation) -> None:
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RowError("no_answer", "the conversation has no assistant message")
    for message in answers:
        if not message["content"].strip() and not message.get("reasoning_content"):
            raise RowError("empty_answer", "an answer is empty")
    for message in messages:
        for text in message.values():
            if not text.isascii():
                _check_encodable(text)


def _check_encodable(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("lone_surrogate", f"character {error.start} is half of a UTF-16 pair") from None


def is_flagged(record: Mapping[str, Any], shape: Shape) -> bool:
    """Whether a record's field tells that it is of the class safety: true, 1, or a word for it."""
    value = record.get(str(shape.flag_field))
    return value.strip().lower() in FLAGS if isinstance(value, str) else value is True or value == 1


def converse(records: Iterable[Record], shape: Shape) -> Iterator[tuple[Staged, int]]:
    """Batches of conversations, each with the bytes of input that it took."""
    pending = Pending()
    for record in records:
        pending.add(record, shape)
        if pending.rows >= BATCH_ROWS or pending.size >= BATCH_BYTES:
            yield pending.staged(), pending.size
            pending = Pending()
    yield pending.staged(), pending.size


class Pending:
    """The rows of the batch that is being filled."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int | None, Conversation]] = []
        self._flagged: list[bool] = []
        self._rejects: list[Reject] = []
        self._notes: Counter[str] = Counter()
        self.size = 0

    @property
    def rows(self) -> int:
        return len(self._kept) + len(self._rejects)

    def add(self, record: Record, shape: Shape) -> None:
        self.size += record.size
        try:
            if isinstance(record.value, RowError):
                raise record.value
            messages = to_messages(record.value, shape)
        except RowError as error:
            excerpt = record.excerpt or excerpt_of(json.dumps(record.value, default=str))
            self._rejects.append(Reject(record.row, record.offset, error.reason, error.message, excerpt))
            return
        if any("\0" in text for message in messages for text in message.values()):
            self._notes["nul_in_text"] += 1
        self._kept.append((record.row, record.offset, messages))
        if shape.flag_field:
            self._flagged.append(is_flagged(record.value, shape))

    def staged(self) -> Staged:
        rows, offsets, messages = zip(*self._kept, strict=True) if self._kept else ((), (), ())
        names = ("row", "offset", "messages")
        wanted = schema(names)
        arrays = [
            pa.array(list(values), field.type)
            for values, field in zip((rows, offsets, messages), wanted, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=wanted)
        if self._flagged:
            batch = with_column(batch, "flagged", self._flagged)
        return Staged(batch, self._rejects, self._notes)
