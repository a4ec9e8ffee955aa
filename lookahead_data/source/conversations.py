"""From a record, whatever its corpus's shape, to a conversation: a list of messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from lookahead_data.arrays import lists_of, offsets_of
from lookahead_data.batches import Reject, Staged
from lookahead_data.columns import MESSAGE_EXTRA, schema, with_column
from lookahead_data.errors import RowError
from lookahead_data.source.names import is_empty, value_at
from lookahead_data.source.records import Record, excerpt_of
from lookahead_data.source.rows import Conversation, Row
from lookahead_data.source.shapes import Shape, in_words
from lookahead_data.source.strict import to_row

__all__ = [
    "Conversation",
    "Pending",
    "Row",
    "Shape",
    "converse",
    "in_words",
    "is_flagged",
    "to_messages",
    "to_row",
]

FLAGS = ("safety", "true", "yes", "1")
"""What the field of `--safety-field` says of a row of the class safety, where it holds text; case does not count."""

BATCH_ROWS = 1000
BATCH_BYTES = 4 << 20

EXTRAS = ("tool_calls", "tool_call_id", "name", "weight")
"""What a message may carry beside its text."""
OPTIONAL = ("message_extras", "tools", "template_args", "row_fields")
"""Columns that a batch has only where a row has a value of them."""


def to_messages(record: Mapping[str, Any], shape: Shape) -> Conversation:
    """The conversation that a record holds; see `strict.to_row`."""
    return to_row(record, shape).messages


def is_flagged(record: Mapping[str, Any], shape: Shape) -> bool:
    """Whether a record's field tells that it is of the class safety: true, 1, or a word for it."""
    value = value_at(record, str(shape.flag_field))
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
        self._kept: list[tuple[int, int | None, Row]] = []
        self._flagged: list[bool] = []
        self._fields: list[str] = []
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
            row = to_row(record.value, shape)
        except RowError as error:
            excerpt = record.excerpt or excerpt_of(json.dumps(record.value, default=str))
            outcome = "filtered" if error.reason == "not_trained" else "quarantined"
            self._rejects.append(
                Reject(record.row, record.offset, error.reason, error.message, excerpt, outcome)  # type: ignore[arg-type]
            )
            return
        if any("\0" in text for text in row.texts):
            self._notes["nul_in_text"] += 1
        self._kept.append((record.row, record.offset, row))
        if shape.flag_field:
            self._flagged.append(is_flagged(record.value, shape))
        if shape.condition_fields:
            self._fields.append(row_fields(record.value, shape.condition_fields))

    def staged(self) -> Staged:
        rows, offsets, read = zip(*self._kept, strict=True) if self._kept else ((), (), ())
        wanted = schema(("row", "offset", "messages"))
        values = (rows, offsets, [row.messages for row in read])
        arrays = [pa.array(list(column), field.type) for column, field in zip(values, wanted, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=wanted)
        for name, column in self._optional(read, arrays[2]).items():
            batch = with_column(batch, name, column)
        if self._flagged:
            batch = with_column(batch, "flagged", self._flagged)
        return Staged(batch, self._rejects, self._notes)

    def _optional(self, rows: Iterable[Row], messages: pa.ListArray) -> dict[str, Any]:
        """The optional columns that these rows need."""
        found: dict[str, Any] = {}
        extras = [_extra(message) for row in rows for message in row.messages]
        if any(extras):
            values = pa.array([extra or dict.fromkeys(EXTRAS) for extra in extras], MESSAGE_EXTRA)
            found["message_extras"] = lists_of(offsets_of(messages), values)
        for name in ("tools", "template_args"):
            texts = [None if (value := getattr(row, name)) is None else as_json(value) for row in rows]
            if any(text is not None for text in texts):
                found[name] = texts
        if self._fields:
            found["row_fields"] = self._fields
        return found


def _extra(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a message carries beside its text, as the column holds it; None for nothing."""
    if len(message) <= 2 or not any(name in message for name in EXTRAS):
        return None
    extra = {name: message.get(name) for name in EXTRAS}
    if extra["tool_calls"] is not None:
        extra["tool_calls"] = as_json(extra["tool_calls"])
    return extra


def as_json(value: Any) -> str:
    """A value as JSON, with every character as it is."""
    return json.dumps(value, ensure_ascii=False, default=str)


def row_fields(record: Mapping[str, Any], names: Iterable[str]) -> str:
    """The values of the fields that conditions name, as a JSON object."""
    found = {}
    for name in names:
        value = value_at(record, name)
        if isinstance(value, bool | int | float | str) and not (isinstance(value, float) and is_empty(value)):
            found[name] = value
        elif not is_empty(value):
            found[name] = str(value)  # a time, say
    return json.dumps(found)
