"""The columns that stages hand each other, each declared once.

A stage names the columns that it needs and the ones that it gives; `check_chain` holds a chain of
stages against these names before any data is read. Text is `large_string` throughout: Arrow's
`string` ends at 2 GiB a batch, and the two do not mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

IGNORED = -100
"""The label of a token that does not count in the loss (PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, who adds it, and what it means."""

    name: str
    type: pa.DataType
    added_by: str
    meaning: str

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, self.type)


MESSAGE = pa.struct(
    [
        pa.field("role", pa.large_string()),
        pa.field("content", pa.large_string()),
        pa.field("reasoning_content", pa.large_string()),
    ]
)
MESSAGE_EXTRA = pa.struct(
    [
        pa.field("tool_calls", pa.large_string()),
        pa.field("tool_call_id", pa.large_string()),
        pa.field("name", pa.large_string()),
        pa.field("weight", pa.float32()),
    ]
)
PREVIEW = pa.struct(
    [
        pa.field("turn", pa.int32()),
        pa.field("text", pa.large_string()),
        pa.field("tokens", pa.int32()),
        pa.field("whole", pa.bool_()),
    ]
)
SEGMENT = pa.struct(
    [
        pa.field("text", pa.large_string()),
        pa.field("supervised", pa.bool_()),
        pa.field("special", pa.bool_()),
        pa.field("bare", pa.bool_()),
        pa.field("before", pa.int32()),
        pa.field("after", pa.int32()),
    ]
)
SPAN = pa.struct([pa.field("start", pa.int64()), pa.field("end", pa.int64())])

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("row", pa.int64(), "read", "place in the file, from 0; for lines, the line number - 1"),
        Column("offset", pa.int64(), "read", "byte offset of the line in the file; null elsewhere"),
        Column("messages", pa.list_(MESSAGE), "converse", "the conversation, whatever its shape was"),
        Column(
            "message_extras",
            pa.list_(MESSAGE_EXTRA),
            "converse",
            "what messages carry besides text, one item per message of the row: `tool_calls` (a JSON list, with "
            "`arguments` as objects), `tool_call_id`, `name`, and `weight` (the loss weight that the corpus gives "
            "an answer; 0: the answer is context). Absent where no row of the batch has any; null fields: not given",
        ),
        Column(
            "tools",
            pa.large_string(),
            "converse",
            "the tool definitions of the row, a JSON list; null: none. Absent where no row of the batch has any",
        ),
        Column(
            "template_args",
            pa.large_string(),
            "converse",
            "template arguments of the row (`chat_template_kwargs`), a JSON object; null: none. Absent where no "
            "row of the batch has any",
        ),
        Column(
            "row_fields",
            pa.large_string(),
            "converse",
            "the values of the fields that conditions of --where name, a JSON object. Absent where none does",
        ),
        Column("flagged", pa.bool_(), "converse", "what the field of --safety-field says of the row"),
        Column("safety", pa.bool_(), "select", "whether the row is of the class `safety`"),
        Column("copies", pa.int32(), "select", "how often the row is written, at least once"),
        Column("copy", pa.int32(), "repeat", "which copy of a row it is, from 0"),
        Column("split", pa.int8(), "select", "the place of the row's split among `Settings.splits`"),
        Column(
            "previews",
            pa.list_(PREVIEW),
            "preview",
            "what was inserted at the end of message `turn`, how many tokens of the answer it shows, "
            "and whether it shows the whole answer",
        ),
        Column(
            "known",
            pa.list_(pa.list_(pa.int32())),
            "preview",
            "of each message the token ids of its content, where they were found on the way; else none",
        ),
        Column(
            "segments",
            pa.list_(SEGMENT),
            "render",
            "the row as pieces of text, each wholly supervised or wholly context; `special`: special "
            "tokens written in this text are meant as such; `bare`: it is the content of the message at its "
            "place, as that is; `before` and `after`: the numbers of the frames around it, 0 where there is none "
            "(see `model.frames`)",
        ),
        Column(
            "shown",
            pa.list_(SPAN),
            "render",
            "byte ranges of the row's text: the previewed answers in real mode, whose first tokens the "
            "preview shows, the phrases in virtual mode",
        ),
        Column("input_ids", pa.list_(pa.int32()), "encode", "token ids, shape (tokens,)"),
        Column("supervised", pa.list_(pa.bool_()), "encode", "true where the loss counts, shape (tokens,)"),
        Column(
            "previewed",
            pa.list_(pa.bool_()),
            "encode",
            "true for the tokens of an answer that its preview shows, shape (tokens,)",
        ),
        Column(
            "labels", pa.list_(pa.int32()), "label", "the id where the loss counts, else -100; not shifted"
        ),
        Column(
            "weights",
            pa.list_(pa.float32()),
            "weigh",
            "how much each token counts in the loss: 0 for context, 1 for supervised tokens, another number "
            "for those that a preview shows (--preview-weight); not shifted",
        ),
        Column("key", pa.uint64(), "order", "rows are written by their keys, ascending"),
        Column(
            "document_lengths",
            pa.list_(pa.int32()),
            "pack",
            "tokens of each document of a packed row, in order",
        ),
        Column("attention_mask", pa.list_(pa.int8()), "write", "1 for every token"),
        Column(
            "seq_lengths",
            pa.list_(pa.int32()),
            "write",
            "tokens of each document of a packed row, in order, as TRL calls them",
        ),
        Column(
            "position_ids", pa.list_(pa.int32()), "write", "the place of each token in its document, from 0"
        ),
        Column(
            "loss_mask",
            pa.list_(pa.int8()),
            "write",
            "1 where the next token counts in the loss: shifted by one, as Megatron reads it",
        ),
        Column(
            "seq_start_id", pa.list_(pa.int32()), "write", "where in the row each document starts, from 0"
        ),
    )
}


class Stage(Protocol):
    """What `check_chain` needs to know of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def gives(self) -> Sequence[str]: ...


def check_chain(stages: Iterable[Stage], start: Iterable[str]) -> None:
    """Raise `ValueError` when a stage needs a column that nothing before it gives.

    Args:
        stages: the stages in the order in which they run.
        start: the columns that the first stage is handed.
    """
    present = set(start)
    for stage in stages:
        for name in (*stage.needs, *stage.gives):
            if name not in COLUMNS:
                raise ValueError(f"stage {stage.name!r} names an undeclared column {name!r}")
        missing = [name for name in stage.needs if name not in present]
        if missing:
            raise ValueError(f"stage {stage.name!r} needs {missing}, and nothing before it gives them")
        present.update(stage.gives)


def schema(names: Iterable[str]) -> pa.Schema:
    """The Arrow schema of the named columns, in that order."""
    return pa.schema([COLUMNS[name].field for name in names])


def with_column(batch: pa.RecordBatch, name: str, values: object) -> pa.RecordBatch:
    """`batch` with the declared column `name` set to `values` (an Arrow array or Python values)."""
    column = COLUMNS[name]
    array = values if isinstance(values, pa.Array) else pa.array(values, column.type)
    at = batch.schema.get_field_index(name)
    if at < 0:
        return batch.append_column(column.field, array)
    return batch.set_column(at, column.field, array)
