"""Rows of a batch as the conversations that a chat template is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Flags, offsets_of
from lookahead_data.model.dialogue import Dialogue

BESIDE = ("tools", "template_args")
"""Columns of what a row says beside its messages."""


def carry_more(batch: pa.RecordBatch) -> Flags:
    """Which rows carry more than texts: tools, template arguments, tool calls, names, loss weights; shape (rows,)."""
    found = np.zeros(batch.num_rows, bool)
    names = batch.schema.names
    for name in BESIDE:
        if name in names:
            found |= batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    if "message_extras" in names:
        extras = batch.column("message_extras")
        flat = extras.flatten()
        some = np.zeros(len(flat), bool)
        for at in range(flat.type.num_fields):
            some |= pc.struct_field(flat, at).is_valid().to_numpy(zero_copy_only=False)
        owners = np.repeat(np.arange(batch.num_rows), np.diff(offsets_of(extras)))
        found[owners[some]] = True
    return found


def dialogues(batch: pa.RecordBatch) -> Iterator[Dialogue]:
    """The conversation of each row, in order."""
    nothing = [None] * batch.num_rows
    tools, arguments = (
        batch.column(name).to_pylist() if name in batch.schema.names else nothing for name in BESIDE
    )
    extras = batch.column("message_extras").to_pylist() if "message_extras" in batch.schema.names else nothing
    for messages, more, own_tools, own_arguments in zip(
        batch.column("messages").to_pylist(), extras, tools, arguments, strict=True
    ):
        yield Dialogue(
            [
                _message(message, beside)
                for message, beside in zip(messages, more or [{}] * len(messages), strict=True)
            ],
            None if own_tools is None else json.loads(own_tools),
            {} if own_arguments is None else json.loads(own_arguments),
        )


def _message(message: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in {**message, **beside}.items() if value is not None}
    if "tool_calls" in found:
        found["tool_calls"] = json.loads(found["tool_calls"])
    return found
