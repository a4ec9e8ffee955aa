"""A batch of conversations, seen message by message."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Ints, lists_of, offsets_of
from lookahead_data.columns import MESSAGE

Slot = tuple[int, str]
"""A message's place in its conversation, and the name of a field."""


class Talk:
    """The column `messages`, flat.

    Attributes:
        starts: where each conversation's messages begin, and the end; shape (rows + 1,).
        roles, contents, reasoning: of each message, shape (messages,); the reasoning may be null, and the
            content of a message that only calls tools.
        calls: the tool calls of each message as JSON, or null; None where no message has any.
    """

    def __init__(self, messages: pa.ListArray, extras: pa.ListArray | None = None) -> None:
        flat = messages.flatten()
        self.starts = offsets_of(messages)
        self.roles = pc.struct_field(flat, "role")
        self.contents = pc.struct_field(flat, "content")
        self.reasoning = pc.struct_field(flat, "reasoning_content")
        self.calls = None if extras is None else pc.struct_field(extras.flatten(), "tool_calls")

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Talk:
        """The conversations of a batch, with the tool calls in them."""
        extras = batch.column("message_extras") if "message_extras" in batch.schema.names else None
        return cls(batch.column("messages"), extras)

    @functools.cached_property
    def said(self) -> pa.LargeStringArray:
        """What each message says, tool calls included, shape (messages,); none is null."""
        if self.calls is None and not self.contents.null_count:
            return self.contents
        contents = self.contents.fill_null("")
        return (
            contents
            if self.calls is None
            else pc.binary_join_element_wise(contents, self.calls.fill_null(""), "")
        )

    @functools.cached_property
    def rows(self) -> Ints:
        """The row of each message."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @functools.cached_property
    def reasons(self) -> npt.NDArray[np.bool_]:
        """Whether each message carries reasoning."""
        found: npt.NDArray[np.bool_] = self.reasoning.is_valid().to_numpy(zero_copy_only=False)
        return found

    def are(self, role: str) -> npt.NDArray[np.bool_]:
        """Whether each message has this role."""
        found: npt.NDArray[np.bool_] = pc.equal(self.roles, role).to_numpy(zero_copy_only=False)
        return found

    def take(self, slot: Slot, rows: Ints) -> pa.LargeStringArray:
        """One field of one message of the given rows."""
        at, name = slot
        column = self.contents if name == "content" else self.reasoning
        return column.take(pa.array(self.starts[rows] + at))

    def of_rows(self, rows: Ints) -> Talk:
        """The given conversations alone."""
        structs = pa.StructArray.from_arrays(
            [self.roles, self.contents, self.reasoning], fields=list(MESSAGE)
        )
        return Talk(lists_of(self.starts, structs).take(pa.array(rows)))

    def with_texts(self, contents: pa.LargeStringArray, reasoning: pa.LargeStringArray) -> pa.ListArray:
        """The conversations with other contents and reasoning."""
        structs = pa.StructArray.from_arrays([self.roles, contents, reasoning], fields=list(MESSAGE))
        return lists_of(self.starts, structs)
