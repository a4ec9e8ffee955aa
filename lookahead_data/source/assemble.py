"""Columns of text to columns of messages, for the readers that work on many rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags, interleaved, lists_of, offsets_of, reordered
from lookahead_data.batches import Staged
from lookahead_data.columns import COLUMNS, MESSAGE, MESSAGE_EXTRA, schema
from lookahead_data.source.roles import ROLES
from lookahead_data.source.shapes import Shape
from lookahead_data.texts import says_something, to_arrow


def in_order(quick: Sequence[pa.RecordBatch], rest: Staged) -> Staged:
    """The rows that were read at once and those that were read one by one, in the file's order."""
    batches = [batch for batch in quick if batch.num_rows]
    if rest.batch.num_rows or not batches:
        batches.append(rest.batch)
    if len(batches) == 1:
        return Staged(batches[0], rest.rejects, rest.notes)
    order = np.argsort(np.concatenate([batch.column("row").to_numpy() for batch in batches]), kind="stable")
    wanted = schema(dict.fromkeys(name for batch in batches for name in batch.schema.names))
    arrays = [reordered([_column(batch, name) for batch in batches], order) for name in wanted.names]
    return Staged(pa.RecordBatch.from_arrays(arrays, schema=wanted), rest.rejects, rest.notes)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of a batch, which says nothing where the batch lacks it."""
    if name in batch.schema.names:
        return batch.column(name)
    if name == "message_extras":
        offsets = offsets_of(batch.column("messages"))
        nothing = [pa.nulls(int(offsets[-1]), field.type) for field in MESSAGE_EXTRA]
        return lists_of(offsets, pa.StructArray.from_arrays(nothing, fields=list(MESSAGE_EXTRA)))
    return pa.nulls(batch.num_rows, COLUMNS[name].type)


def from_fields(decoded: pl.Series, shape: Shape) -> tuple[Flags, pa.ListArray]:
    """Which rows of prompts and completions are right, and the messages of all."""
    frame = decoded.struct.unnest()
    answer = to_arrow(frame[str(shape.output_field or shape.input_field)])
    right = says_something(answer)
    if shape.output_field is None:
        return right, _messages([("assistant", answer)], len(frame))
    prompt = frame[shape.input_field]
    right &= prompt.is_not_null().to_numpy()
    for name in shape.context_fields:
        extra = frame[name].fill_null("")
        joined = (
            prompt
            + pl.select(
                pl.when(extra.str.len_bytes() > 0).then("\n" + extra).otherwise(pl.lit(""))
            ).to_series()
        )
        prompt = joined
    turns = [("user", to_arrow(prompt)), ("assistant", answer)]
    if shape.system_field:
        system = frame[shape.system_field].fill_null("")
        some = (system.str.len_bytes() > 0).to_numpy()
        if some.any():
            whole = _messages([("system", to_arrow(system)), *turns], len(frame))
            bare = _messages(turns, len(frame))
            order = np.arange(len(frame)) + np.where(some, 0, len(frame))
            return right, pa.concat_arrays([whole, bare]).take(pa.array(order))
    return right, _messages(turns, len(frame))


def from_turns(turns: pl.Series, keys: tuple[str, str]) -> tuple[Flags, pa.ListArray]:
    """Which rows of messages are right, and the messages of all."""
    counts = turns.list.len().fill_null(0).to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    flat = turns.list.explode(empty_as_null=False, keep_nulls=False).struct.unnest()
    roles = flat[keys[0]].str.to_lowercase().replace_strict(ROLES, default=None, return_dtype=pl.String)
    said, texts = flat[keys[1]], to_arrow(flat[keys[1]])
    rows = np.repeat(np.arange(len(counts)), counts)
    answers = (roles == "assistant").fill_null(False).to_numpy()
    wrong = (roles.is_null() | said.is_null()).to_numpy() | (answers & ~says_something(texts))
    right = np.bincount(rows[answers], minlength=len(counts)) > 0
    right &= np.bincount(rows[wrong], minlength=len(counts)) == 0
    structs = pa.StructArray.from_arrays(
        [to_arrow(roles), texts, pa.nulls(len(flat), pa.large_string())], fields=list(MESSAGE)
    )
    return right, lists_of(starts, structs)


def _messages(turns: list[tuple[str, pa.LargeStringArray]], rows: int) -> pa.ListArray:
    roles = pa.array([role for role, _ in turns], pa.large_string()).take(
        pa.array(np.tile(np.arange(len(turns)), rows))
    )
    contents = interleaved([text for _, text in turns])
    structs = pa.StructArray.from_arrays(
        [roles, contents, pa.nulls(len(contents), pa.large_string())], fields=list(MESSAGE)
    )
    return lists_of(np.arange(rows + 1) * len(turns), structs)
