"""Parquet and Arrow to conversations, many rows at a time, without a Python object a row.

Columns have types, so most of what can be wrong with a row cannot be wrong here. What is left is
looked for in whole columns: nulls, blank answers, unknown roles, a NUL, text that is not UTF-8, and
messages that carry more than text. Such rows, and only they, go the strict way of `readers.columnar`
and `conversations`, which is also the oracle of this module. Types that are not known here make the
whole file go that way (see `handles`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookahead_data.arrays import Flags, Ints, lists_of, offsets_of, whole_array
from lookahead_data.batches import Staged
from lookahead_data.columns import MESSAGE, schema
from lookahead_data.plan import InputFile
from lookahead_data.source.assemble import from_fields, from_turns, in_order
from lookahead_data.source.conversations import BATCH_BYTES, Pending, Shape
from lookahead_data.source.guards import KEPT, guard_of
from lookahead_data.source.names import TOOLS, VERDICT_WORDS, is_verdict, meaning_of
from lookahead_data.source.readers import columnar
from lookahead_data.source.readers.indexed import ipc_batches
from lookahead_data.source.records import Record, Split
from lookahead_data.source.turns import CAREFUL

ROWS = 1024
"""Rows that are decoded at once, before they are measured; what a file says of sizes is no bound,
since one long text may stand for a million rows."""

KEYS = ("role", "content")
PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_binary,
    pa.types.is_large_binary,
)
"""Types of other things that a message may carry."""
PLAIN_TURN = pa.struct([pa.field(name, pa.large_string()) for name in KEYS])


def handles(file_schema: pa.Schema, shape: Shape) -> bool:
    """Whether rows of this shape can be read by the column from a file of this schema."""
    columns = {name: file_schema.field(name).type for name in file_schema.names if name in shape.texts}
    if not set(shape.fields) <= set(columns) or not shape.is_plain:
        return False
    if _has_turns(shape):
        turns = columns.pop(shape.input_field)
        if not _are_turns(turns) or shape.system_field == shape.input_field:
            return False
    return all(_is_text(kind) for kind in columns.values())


def conversations(
    file: InputFile, part: Split, shape: Shape, size: int = BATCH_BYTES
) -> Iterator[tuple[Staged, int]]:
    """Batches of conversations, each with the bytes of input that it took.

    Args:
        file: one whose schema and shape `handles` accepts.
        size: the bytes of input that make a batch, more or less; a row is never cut.
    """
    row = part.first_row
    names = _needed(columnar.schema(file), shape)
    for pieces in _groups(_pieces(_batches(file, part, names, size), shape, size), size):
        yield _read_group(pieces, row, shape, file), sum(piece.size for piece in pieces)
        row += sum(piece.rows.num_rows for piece in pieces)


def _needed(file_schema: pa.Schema, shape: Shape) -> list[str]:
    """The columns that are read: those of the shape, and those that must hold nothing."""
    guard = guard_of(shape)
    return [name for name in file_schema.names if name in shape.texts or guard.holds(name)]


def _has_turns(shape: Shape) -> bool:
    return shape.kind in ("messages", "sharegpt")


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts and nulls alone."""
    if pa.types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return _is_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind)


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _are_turns(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of messages, with role and content as text."""
    if not _is_list(kind) or not pa.types.is_struct(kind.value_type) or not _is_harmless(kind):
        return False
    message = {field.name: field.type for field in kind.value_type}
    return all(name in message and _is_text(message[name]) for name in _keys(kind))


def _keys(turns: pa.DataType) -> tuple[str, str]:
    """The names of role and content; a message has all keys that its column's type has."""
    names = [field.name for field in turns.value_type]
    return ("from", "value") if "from" in names and "role" not in names else KEYS


def _is_harmless(kind: pa.DataType) -> bool:
    """Whether any value of this type becomes a Python one by itself; a time may need its neighbours."""
    if _is_list(kind):
        return _is_harmless(kind.value_type)
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return len(set(names)) == len(names) and all(_is_harmless(field.type) for field in kind)
    return _is_text(kind) or any(test(kind) for test in PLAIN)


def _batches(file: InputFile, part: Split, names: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """The named columns of a range, in batches as they come; nothing else is read."""
    with columnar.told(file):
        if file.format == "parquet":
            with pq.ParquetFile(file.path, memory_map=True, page_checksum_verification=True) as parquet:
                for batch in _parquet_batches(parquet, range(part.start, part.stop), names, size):
                    columnar.check_structure(batch)
                    yield batch
            return
        yield from ipc_batches(file, columnar.check_structure, names)


def _parquet_batches(
    parquet: pq.ParquetFile, groups: range, names: Sequence[str], size: int
) -> Iterator[pa.RecordBatch]:
    wanted = [name for name in parquet.schema_arrow.names if name in names]
    for at in groups:  # one by one: Arrow does not read nested dictionaries of several at once
        group = parquet.metadata.row_group(at)
        leaves = [group.column(leaf) for leaf in range(group.num_columns)]
        stored = sum(
            leaf.total_uncompressed_size
            for leaf in leaves
            if any(f"{leaf.path_in_schema}.".startswith(f"{name}.") for name in wanted)
        )
        rows = max(1, min(ROWS, size * group.num_rows // max(stored, 1)))
        for batch in parquet.iter_batches(rows, row_groups=[at], columns=wanted):
            yield batch.select(wanted)


@dataclass(frozen=True)
class _Piece:
    """Some rows of a file.

    Attributes:
        rows: their needed columns.
        texts: the same as `large_string` columns and, for messages, lists of `PLAIN_TURN`.
        odd: which rows carry something else, or cannot be read as texts.
    """

    rows: pa.RecordBatch
    texts: pa.RecordBatch
    odd: Flags

    @property
    def size(self) -> int:
        return int(self.rows.nbytes)

    def slice(self, start: int, stop: int) -> _Piece:
        length = stop - start
        return _Piece(self.rows.slice(start, length), self.texts.slice(start, length), self.odd[start:stop])


def _pieces(batches: Iterator[pa.RecordBatch], shape: Shape, size: int) -> Iterator[_Piece]:
    for batch in batches:
        # Checked as a whole, since Arrow looks through all messages of a batch to check a slice of it.
        sound = _is_sound(batch)
        for start in range(0, batch.num_rows, ROWS):
            rows = batch.slice(start, ROWS)
            yield from _halved(_piece(rows, shape, sound), size)


def _halved(piece: _Piece, size: int) -> Iterator[_Piece]:
    rows = piece.rows.num_rows
    if rows <= 1 or piece.size <= size:
        yield piece
        return
    yield from _halved(piece.slice(0, rows // 2), size)
    yield from _halved(piece.slice(rows // 2, rows), size)


def _groups(pieces: Iterator[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Pieces together, as long as they do not exceed the size."""
    group: list[_Piece] = []
    total = 0
    for piece in pieces:
        if group and total + piece.size > size:
            yield group
            group, total = [], 0
        group.append(piece)
        total += piece.size
    if group:
        yield group


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Whether all texts are UTF-8 and nothing points beyond its column."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _piece(rows: pa.RecordBatch, shape: Shape, sound: bool) -> _Piece:
    count = rows.num_rows
    if not sound:
        rows = _compact(rows)
        sound = _is_sound(rows)
    if sound:
        with contextlib.suppress(pa.ArrowInvalid):  # of 2 GiB and more, once a dictionary is resolved
            rows = columnar.resolved(rows)
            texts, odd = _texts(rows, shape)
            return _Piece(rows, texts, odd)
    nothing = [pa.nulls(count, field.type) for field in _schema(shape)]
    return _Piece(rows, pa.RecordBatch.from_arrays(nothing, schema=_schema(shape)), np.ones(count, bool))


def _compact(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without what stands before and behind them."""
    columns = [pa.concat_arrays([column]) for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _schema(shape: Shape) -> pa.Schema:
    """Of `_Piece.texts`: each field of the shape once."""
    kinds = dict.fromkeys(shape.texts, pa.large_string())
    if _has_turns(shape):
        kinds[shape.input_field] = pa.list_(PLAIN_TURN)
    return pa.schema(kinds)


def _texts(rows: pa.RecordBatch, shape: Shape) -> tuple[pa.RecordBatch, Flags]:
    odd = np.zeros(rows.num_rows, bool)
    columns: list[pa.Array] = []
    for field in _schema(shape):
        if field.name not in rows.schema.names:
            columns.append(pa.nulls(rows.num_rows, field.type))
        elif pa.types.is_list(field.type):
            turns, odd = _turns(rows.column(field.name))
            columns.append(turns)
        else:
            columns.append(rows.column(field.name).cast(pa.large_string()))
    guard = guard_of(shape)
    for name in rows.schema.names:
        if name not in shape.texts and guard.holds(name):
            odd = odd | _means_something(rows.column(name), name)
    return pa.RecordBatch.from_arrays(columns, schema=_schema(shape)), odd


def _means_something(values: pa.Array, name: str) -> Flags:
    """Which rows have something in a column with a meaning."""
    if not is_verdict(name):
        # Some templates treat an empty list of tools otherwise than none.
        counts_empty = meaning_of(name) == TOOLS and not _is_string(values.type)
        found: Flags = values.is_valid().to_numpy(zero_copy_only=False)
        return found if counts_empty else _says_more(values)
    if _is_string(values.type):
        words = pc.is_in(
            pc.utf8_lower(pc.utf8_trim_whitespace(values)), pa.array(sorted(VERDICT_WORDS), values.type)
        )
        return np.asarray(words.fill_null(False).to_numpy(zero_copy_only=False), bool)
    if pa.types.is_boolean(values.type):
        return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), bool)
    return np.zeros(len(values), bool)


def _turns(lists: pa.Array) -> tuple[pa.ListArray, Flags]:
    """Lists of messages with role and content alone, and which of them have messages with more."""
    counts = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    messages = lists.flatten()
    names = [field.name for field in messages.type]
    values = dict(zip(names, messages.flatten(), strict=True))
    plain = [values[name].cast(pa.large_string()) for name in _keys(lists.type)]
    more = np.zeros(len(messages), bool)
    for name in CAREFUL:
        if name in values:
            given = values[name].is_valid().to_numpy(zero_copy_only=False)
            more |= given if name == KEPT else _says_more(values[name])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    turns = lists_of(offsets, pa.StructArray.from_arrays(plain, fields=list(PLAIN_TURN)))
    return turns, _any_of(more, counts)


def _says_more(values: pa.Array) -> Flags:
    """Which values are neither null nor an empty text or list."""
    if _is_string(values.type):
        some = pc.greater(pc.binary_length(values), 0)
    elif _is_list(values.type):
        some = pc.greater(pc.list_value_length(values), 0)
    else:
        some = values.is_valid()
    found: Flags = some.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _any_of(flags: Flags, counts: Ints) -> Flags:
    """Which rows have a flag set, where each row has as many of them as is counted."""
    found: Flags = np.bincount(np.repeat(np.arange(len(counts)), counts)[flags], minlength=len(counts)) > 0
    return found


def _read_group(pieces: Sequence[_Piece], row: int, shape: Shape, file: InputFile) -> Staged:
    fast, messages = _assembled(pieces, shape)
    places = np.flatnonzero(fast)
    wanted = schema(("row", "offset", "messages"))
    columns = [pa.array(row + places, pa.int64()), pa.nulls(len(places), pa.int64()), messages]
    quick = pa.RecordBatch.from_arrays(columns, schema=wanted)
    if len(places) == len(fast):
        return Staged(quick)
    slow = Pending()
    start = 0
    for piece in pieces:
        count = piece.rows.num_rows
        places = np.flatnonzero(~fast[start : start + count])
        if len(places):
            rows = piece.rows if len(places) == count else piece.rows.take(pa.array(places))
            for at, value in zip(places.tolist(), columnar.values_of(rows), strict=True):
                slow.add(Record(row + start + at, None, 1, value), shape)
        start += count
    return in_order([quick], slow.staged())


def _assembled(pieces: Sequence[_Piece], shape: Shape) -> tuple[Flags, pa.ListArray]:
    """Which rows can be read here, and their messages."""
    table = pa.Table.from_batches([piece.texts for piece in pieces]).combine_chunks()
    columns = {name: whole_array(table.column(name)) for name in table.column_names}
    if _has_turns(shape):
        right, messages = from_turns(pl.Series(columns[shape.input_field]), KEYS)
        if shape.system_field:
            twice, messages = _with_system(messages, columns[shape.system_field])
            right &= ~twice
    else:
        right, messages = from_fields(pl.DataFrame(columns).to_struct(), shape)
    fast = right & ~np.concatenate([piece.odd for piece in pieces]) & ~_holds_nul(messages)
    return fast, messages if fast.all() else messages.filter(pa.array(fast))


def _with_system(messages: pa.ListArray, systems: pa.LargeStringArray) -> tuple[Flags, pa.ListArray]:
    """Which rows have a system message as well, and the messages with one at the head where a field has it."""
    some = _says_more(systems)
    said = systems.filter(pa.array(some))
    starts = offsets_of(messages)
    bodies = messages.flatten()
    heads = np.flatnonzero(some & (np.diff(starts) > 0))
    twice = np.zeros(len(messages), bool)
    first = bodies.field("role").take(pa.array(starts[heads]))
    twice[heads] = pc.equal(first, "system").fill_null(False).to_numpy(zero_copy_only=False)
    if not len(said):
        return twice, messages
    roles = pa.repeat(pa.scalar("system", pa.large_string()), len(said))
    added = pa.StructArray.from_arrays(
        [roles, said, pa.nulls(len(said), pa.large_string())], fields=list(MESSAGE)
    )
    order = np.insert(np.arange(len(bodies)), starts[:-1][some], len(bodies) + np.arange(len(said)))
    offsets = starts + np.concatenate([[0], np.cumsum(some)])
    return twice, lists_of(offsets, pa.concat_arrays([bodies, added]).take(pa.array(order)))


def _holds_nul(messages: pa.ListArray) -> Flags:
    """Which rows have a NUL in a text."""
    contents = pl.Series(messages.flatten().field("content"))
    found = contents.str.contains("\0", literal=True).to_numpy()
    return _any_of(found, np.diff(offsets_of(messages)))
