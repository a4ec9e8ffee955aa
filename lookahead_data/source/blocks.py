"""JSON Lines to conversations, a block of lines at a time, without a Python object a row.

Polars decodes JSON fast and loosely: it takes numbers for text, the first of two equal keys, and
half a UTF-16 pair, and one bad line fails all. So a line is decoded here only where a look at it
shows that it has each needed key once, with text behind it, and nothing doubtful. All other lines
go to the strict reader one by one, which is also the oracle of this module.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, interleaved, large_strings, lists_of, whole_array
from lookahead_data.batches import Staged
from lookahead_data.columns import MESSAGE, schema
from lookahead_data.source.conversations import REASONING, ROLES, UNSUPPORTED, Pending, Shape
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import MAX_NESTING
from lookahead_data.texts import says_something

KEY = r'"((?:[^"\\]|\\.)*)"\s*:'
DOUBTFUL = r"(?i)\\\\ud[89a-f]|\\u0000|[:,\[]\s*-?[0-9.]+e\+?[0-9]{3}"
"""An escaped backslash before what looks like half of a UTF-16 pair, a NUL, a number that may be
beyond floats."""
HALF = r"(?i)\\ud[89a-f]"
PAIR = r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f]"
MOST_KEYS = 8
"""Keys of a line up to which each is counted by itself, which is quicker than to collect them all."""
SMALLEST = 32
"""Lines below which a block that does not decode is read line by line."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """Some lines of a file.

    Attributes:
        data: their bytes.
        offset, row: where the first stands in the file.
    """

    data: bytes
    offset: int
    row: int

    def lines(self) -> tuple[Ints, pa.LargeStringArray]:
        """Where each line begins, and the last ends, in bytes; and the lines, which may be no UTF-8."""
        raw = np.frombuffer(self.data, np.uint8)
        ends = np.flatnonzero(raw == ord("\n")) + 1
        if not len(ends) or ends[-1] != len(raw):
            ends = np.append(ends, len(raw))
        bounds = np.concatenate([[0], ends]).astype(np.int64)
        return bounds, large_strings(bounds, raw)


def conversations(blocks: Iterator[Block], shape: Shape, max_line_size: int) -> Iterator[tuple[Staged, int]]:
    """Batches of conversations, each with the bytes of input that it took."""
    for block in blocks:
        yield _read_block(block, shape, max_line_size), len(block.data)


def handles(shape: Shape) -> bool:
    """Whether rows of this shape can be read by the block."""
    return shape.kind in ("prompt-completion", "alpaca", "text") or not shape.system_field


def _read_block(block: Block, shape: Shape, max_line_size: int) -> Staged:
    bounds, lines = block.lines()
    fast = np.zeros(len(lines), bool)
    messages = pa.array([], pa.list_(MESSAGE))
    if is_text(lines, block.data):
        series = pl.Series(lines)
        fast = _plain_lines(series, shape) & (np.diff(bounds) <= max_line_size)
        fast, messages = _decode(series, fast, shape)
    places = np.flatnonzero(fast)
    columns = [pa.array(block.row + places), pa.array(block.offset + bounds[places]), messages]
    wanted = schema(("row", "offset", "messages"))
    quick = pa.RecordBatch.from_arrays(
        [c.cast(f.type) for c, f in zip(columns, wanted, strict=True)], schema=wanted
    )
    if len(places) == len(fast):
        return Staged(quick)
    slow = Pending()
    for at in np.flatnonzero(~fast).tolist():
        line = block.data[bounds[at] : bounds[at + 1]]
        offset = block.offset + int(bounds[at])
        record = jsonl.record_of(line, len(line), block.row + at, offset, max_line_size)
        if record is not None:
            slow.add(record, shape)
    rest = slow.staged()
    both = pa.Table.from_batches([quick, rest.batch]).combine_chunks()
    order = np.argsort(both.column("row").to_numpy(), kind="stable")
    arrays = [whole_array(column) for column in both.take(pa.array(order)).columns]
    return Staged(pa.RecordBatch.from_arrays(arrays, schema=wanted), rest.rejects, rest.notes)


def is_text(lines: pa.LargeStringArray, data: bytes) -> bool:
    """Whether lines, of these bytes, are UTF-8 without a NUL."""
    if b"\0" in data:
        return False
    try:
        lines.validate(full=True)  # that all is UTF-8
    except pa.ArrowInvalid:
        return False
    return True


def _plain_lines(lines: pl.Series, shape: Shape) -> Flags:
    """Which lines have the needed keys once each, with text behind them, and nothing doubtful."""
    line = pl.col("line").str
    frame = pl.DataFrame({"line": lines})
    common = [~line.contains(DOUBTFUL), line.count_matches(r"[\[{]") <= MAX_NESTING]
    if _any(frame, line.contains(HALF)):
        common.append(line.count_matches(HALF) == 2 * line.count_matches(PAIR))
    sound = _flags(frame, common)
    known = _known_keys(lines, shape)
    plain = np.zeros(len(lines), bool)
    if len(known) <= MOST_KEYS:
        plain = sound & _flags(frame, _familiar(known, shape))
    others = np.flatnonzero(sound & ~plain)
    if len(others):
        plain[others] = _flags(frame[others], _unambiguous(shape))
    return plain


def _flags(frame: pl.DataFrame, tests: list[pl.Expr]) -> Flags:
    found: Flags = frame.select(pl.all_horizontal(tests)).to_series().to_numpy().copy()
    return found


def _any(frame: pl.DataFrame, test: pl.Expr) -> bool:
    return bool(frame.select(test.any()).item())


def _known_keys(lines: pl.Series, shape: Shape) -> list[str]:
    """The keys of one of the first lines, and those that the shape has."""
    found: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> None:
        found.extend(name for name, _ in pairs)

    first = min((line for line in lines.head(SMALLEST) if line.strip()), key=len, default="{}")
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(first, object_pairs_hook=collect)
    repeated = _turn_keys(shape) or ()
    return list(dict.fromkeys([*shape.all_fields, *(name for name in found if name not in repeated)]))


def _familiar(known: list[str], shape: Shape) -> list[pl.Expr]:
    """Tests for lines that hold known keys alone, which then nothing can double."""
    line = pl.col("line").str
    repeated = _turn_keys(shape)
    # Inside of a text the quote before a colon has a backslash before it, and a key's has none.
    every = line.count_matches(r'"\s*:') - line.count_matches(r'\\"\s*:')
    counts: list[pl.Expr] = []
    tests: list[pl.Expr] = [~line.contains(r'\\\\"\s*:')]  # a backslash of its own before the quote
    for name in known:
        count = line.count_matches(rf'"{re.escape(name)}"\s*:{_value(name, shape)}')
        tests.append(count == 1 if name in shape.fields else count <= 1)
        counts.append(count)
    if repeated:
        role, said = (line.count_matches(rf'"{name}"\s*:\s*"') for name in repeated)
        tests += [role == said, *(pl.lit(value=False) for name in known if name in _unlike(repeated))]
        counts += [role, said]
    return [*tests, every == pl.sum_horizontal(counts)]


def _value(name: str, shape: Shape) -> str:
    """What must stand behind a key whose value is read: text, or null where it may be missing."""
    if name not in shape.all_fields or _turn_keys(shape):
        return ""
    return r'\s*"' if name in shape.fields else r'\s*(?:"|null)'


def _unlike(repeated: tuple[str, str]) -> tuple[str, ...]:
    """Keys that a message must not have to be read here."""
    return (*REASONING, *UNSUPPORTED, *(("role", "content") if repeated[0] == "from" else ("from", "value")))


def _unambiguous(shape: Shape) -> list[pl.Expr]:
    """Tests for lines with any keys, none of them twice."""
    line = pl.col("line").str
    keys = line.extract_all(KEY)
    repeated = _turn_keys(shape)
    distinct = keys.list.n_unique().cast(pl.Int64)
    fits: list[pl.Expr] = []
    if not repeated:
        fits.append(keys.list.len() == distinct)
    for name in shape.all_fields:
        count = line.count_matches(rf'"{re.escape(name)}"\s*:')
        if repeated:
            fits.append(count == 1)
            continue
        text = line.count_matches(rf'"{re.escape(name)}"\s*:{_value(name, shape)}')
        fits.append((count == text) & (count == 1 if name in shape.fields else count <= 1))
    if repeated:
        role, said = (line.count_matches(rf'"{name}"\s*:\s*"') for name in repeated)
        every = pl.sum_horizontal([line.count_matches(rf'"{name}"\s*:') for name in repeated])
        # Role and content stand in pairs, all of them text; every other key stands there once.
        fits += [role == said, every == role + said, keys.list.len() - role - said == distinct - 2]
        fits.append(~line.contains(rf'"(?:{"|".join(_unlike(repeated))})"\s*:'))
    return fits


def _turn_keys(shape: Shape) -> tuple[str, str] | None:
    if shape.kind == "messages":
        return "role", "content"
    return ("from", "value") if shape.kind == "sharegpt" else None


def _decode(lines: pl.Series, fast: Flags, shape: Shape) -> tuple[Flags, pa.ListArray]:
    """Decode the plain lines; those that do not decode, or need the strict reader's word, are not fast."""
    turns = _turn_keys(shape)
    kind: pl.DataType = (
        pl.Struct({shape.input_field: pl.List(pl.Struct(dict.fromkeys(turns, pl.String())))})
        if turns
        else pl.Struct(dict.fromkeys(shape.all_fields, pl.String()))
    )
    fast = fast.copy()
    decoded = _decode_range(lines, np.flatnonzero(fast), kind, fast)
    if turns:
        right, messages = _from_turns(decoded.struct.field(shape.input_field), turns)
    else:
        right, messages = _from_fields(decoded, shape)
    fast[np.flatnonzero(fast)[~right]] = False
    return fast, messages.filter(pa.array(right))


def fields_of_lines(lines: pl.Series, shape: Shape, max_line_size: int) -> tuple[Flags, pl.DataFrame]:
    """Which lines of prompts and completions are plain, and the fields of those that are."""
    plain = _plain_lines(lines, shape) & (lines.str.len_bytes() <= max_line_size).to_numpy()
    kind = pl.Struct(dict.fromkeys(shape.all_fields, pl.String()))
    return plain, _decode_range(lines, np.flatnonzero(plain), kind, plain).struct.unnest()


def _decode_range(lines: pl.Series, places: Ints, kind: pl.DataType, fast: Flags) -> pl.Series:
    """Decode lines; where that fails, halve them until the bad ones are among few."""
    chosen = lines.gather(places)
    try:
        return chosen.str.json_decode(kind)
    except pl.exceptions.PolarsError:
        if len(places) <= SMALLEST:
            fast[places] = False
            return pl.Series([], dtype=kind)
    middle = len(places) // 2
    first = _decode_range(lines, places[:middle], kind, fast)
    return first.append(_decode_range(lines, places[middle:], kind, fast))


def _from_fields(decoded: pl.Series, shape: Shape) -> tuple[Flags, pa.ListArray]:
    """Which rows of prompts and completions are right, and the messages of all."""
    frame = decoded.struct.unnest()
    answer = frame[str(shape.output_field or shape.input_field)]
    right = says_something(answer)
    if shape.output_field is None:
        return right, _messages([("assistant", _text(answer))], len(frame))
    prompt = frame[shape.input_field]
    right &= prompt.is_not_null().to_numpy()
    if shape.extra_field:
        extra = frame[shape.extra_field].fill_null("")
        joined = (
            prompt
            + pl.select(
                pl.when(extra.str.len_bytes() > 0).then("\n" + extra).otherwise(pl.lit(""))
            ).to_series()
        )
        prompt = joined
    turns = [("user", _text(prompt)), ("assistant", _text(answer))]
    if shape.system_field:
        system = frame[shape.system_field].fill_null("")
        some = (system.str.len_bytes() > 0).to_numpy()
        if some.any():
            whole = _messages([("system", _text(system)), *turns], len(frame))
            bare = _messages(turns, len(frame))
            order = np.arange(len(frame)) + np.where(some, 0, len(frame))
            return right, pa.concat_arrays([whole, bare]).take(pa.array(order))
    return right, _messages(turns, len(frame))


def _from_turns(turns: pl.Series, keys: tuple[str, str]) -> tuple[Flags, pa.ListArray]:
    """Which rows of messages are right, and the messages of all."""
    counts = turns.list.len().fill_null(0).to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    flat = turns.list.explode(empty_as_null=False, keep_nulls=False).struct.unnest()
    roles = flat[keys[0]].str.to_lowercase().replace_strict(ROLES, default=None, return_dtype=pl.String)
    said = flat[keys[1]]
    rows = np.repeat(np.arange(len(counts)), counts)
    answers = (roles == "assistant").fill_null(False).to_numpy()
    wrong = (roles.is_null() | said.is_null()).to_numpy() | (answers & ~says_something(said))
    right = np.bincount(rows[answers], minlength=len(counts)) > 0
    right &= np.bincount(rows[wrong], minlength=len(counts)) == 0
    structs = pa.StructArray.from_arrays(
        [_text(roles), _text(said), pa.nulls(len(flat), pa.large_string())], fields=list(MESSAGE)
    )
    return right, lists_of(starts, structs)


def _text(series: pl.Series) -> pa.LargeStringArray:
    return whole_array(series.fill_null("").to_arrow()).cast(pa.large_string())


def _messages(turns: list[tuple[str, pa.LargeStringArray]], rows: int) -> pa.ListArray:
    roles = pa.array([role for role, _ in turns], pa.large_string()).take(
        pa.array(np.tile(np.arange(len(turns)), rows))
    )
    contents = interleaved([text for _, text in turns])
    structs = pa.StructArray.from_arrays(
        [roles, contents, pa.nulls(len(contents), pa.large_string())], fields=list(MESSAGE)
    )
    return lists_of(np.arange(rows + 1) * len(turns), structs)
