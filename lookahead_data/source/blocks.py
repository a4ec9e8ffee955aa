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
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags, Ints, large_strings, utf8_parts, whole_array
from lookahead_data.batches import Staged
from lookahead_data.columns import schema
from lookahead_data.source.alike import find_alike
from lookahead_data.source.assemble import from_fields, from_turns, in_order
from lookahead_data.source.brackets import hold_one_value
from lookahead_data.source.conversations import Pending, Shape
from lookahead_data.source.guards import guard_of
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Record

KEY = r'"((?:[^"\\]|\\.)*)"\s*:'
HALF = r"\\u[dD][89a-fA-F]"
"""Half of a UTF-16 pair; `PAIR` is a whole one."""
PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]"
EXPONENT = r"[0-9][eE]\+?[0-9]{3}"
"""Part of a number that may be beyond floats, if it is one."""
MOST_KEYS = 8
"""Keys of a line up to which each is counted by itself, which is quicker than to collect them all."""
SMALLEST = 32
"""Lines below which a block that does not decode is read line by line."""


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
    return shape.is_plain


def _read_block(block: Block, shape: Shape, max_line_size: int) -> Staged:
    bounds, lines = block.lines()

    def strictly(at: int) -> Record | None:
        line = block.data[bounds[at] : bounds[at + 1]]
        return jsonl.record_of(line, len(line), block.row + at, block.offset + int(bounds[at]), max_line_size)

    whole = np.full(len(lines), is_text(lines, block.data)) & (np.diff(bounds) <= max_line_size)
    return read_texts(lines, whole, block.row, block.offset + bounds[:-1], shape, strictly)


def read_texts(
    texts: pa.LargeStringArray,
    whole: Flags,
    row: int,
    offsets: Ints | None,
    shape: Shape,
    strictly: Callable[[int], Record | None],
) -> Staged:
    """The conversations of texts that are to hold one JSON object each.

    Args:
        whole: which of them may be read at once; if any may, all are UTF-8.
        row: the place in the file of the first.
        offsets: the byte of the file at which each starts, if that is to be told.
        strictly: reads the one at a place by itself, if it is doubtful; None is no row.
    """
    wanted = schema(("row", "offset", "messages"))
    quick: list[pa.RecordBatch] = []

    def add(places: Ints, messages: pa.ListArray) -> None:
        starts = pa.nulls(len(places), pa.int64()) if offsets is None else pa.array(offsets[places])
        quick.append(pa.RecordBatch.from_arrays([pa.array(row + places), starts, messages], schema=wanted))

    left = np.ones(len(texts), bool)
    if whole.any():
        for alike in find_alike(texts, whole, shape):
            add(alike.places, alike.messages())
            left[alike.places] = False
        places = np.flatnonzero(whole & left)
        if len(places):
            series = pl.Series(texts.take(pa.array(places)))
            fast, messages = _decode(series, _plain_lines(series, shape), shape)
            add(places[fast], messages)
            left[places[fast]] = False
    slow = Pending()
    for at in np.flatnonzero(left).tolist():
        record = strictly(at)
        if record is not None:
            slow.add(record, shape)
    return in_order(quick, slow.staged())


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
    frame = pl.DataFrame({"line": lines})
    sound = _sound(frame)
    known = _known_keys(lines, shape)
    plain = np.zeros(len(lines), bool)
    # What is quickest to see is looked at first; few lines are left for the next look.
    looks = [_familiar(known, shape), _familiar(known, shape, quoting=True)] * (len(known) <= MOST_KEYS)
    for look in [*looks, _unambiguous(shape)]:
        left = np.flatnonzero(sound & ~plain)
        if len(left):
            plain[left] = _flags(frame if len(left) == len(frame) else frame[left], look)
    return plain


def _sound(frame: pl.DataFrame) -> Flags:
    """Which lines hold nothing that Polars decodes otherwise than it is meant."""
    line = pl.col("line").str
    array = whole_array(frame["line"].to_arrow()).cast(pa.large_string())
    bounds, raw = utf8_parts(array)
    sound = hold_one_value(raw[bounds[0] : bounds[-1]], bounds - bounds[0])
    suspects = {
        r"\u": [
            ~line.contains(r"\\\\u[dD]"),  # the backslash may be one that another one escapes
            ~line.contains(r"\u0000", literal=True),
            ~line.contains(
                r'\\u00[4-7][0-9a-fA-F][^"]*"\s*:'
            ),  # a key may be written so, and not be known by sight
            line.count_matches(HALF) == 2 * line.count_matches(PAIR),
        ],
        EXPONENT: [~line.contains(rf"[:,\[]\s*-?[0-9.]*{EXPONENT}")],
    }
    for sign, tests in suspects.items():
        found = np.flatnonzero(_flags(frame, [line.contains(sign, literal=sign == r"\u")]))
        if len(found):
            sound[found] &= _flags(frame[found], tests)
    return sound


def _flags(frame: pl.DataFrame, tests: list[pl.Expr]) -> Flags:
    found: Flags = frame.select(pl.all_horizontal(tests)).to_series().to_numpy().copy()
    return found


def _known_keys(lines: pl.Series, shape: Shape) -> list[str]:
    """The keys of one of the first lines, and those that the shape has."""
    found: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> None:
        found.extend(name for name, _ in pairs)

    first = min((line for line in lines.head(SMALLEST) if line.strip()), key=len, default="{}")
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(first, object_pairs_hook=collect)
    repeated = _turn_keys(shape) or ()
    return list(dict.fromkeys([*_texts(shape), *(name for name in found if name not in repeated)]))


def _familiar(known: list[str], shape: Shape, *, quoting: bool = False) -> list[pl.Expr]:
    """Tests for lines that hold known keys alone, which then nothing can double.

    Args:
        quoting: for lines with a text in which something looks like a key.
    """
    line = pl.col("line").str
    repeated = _turn_keys(shape)
    every = line.count_matches(r'"\s*:')
    counts: list[pl.Expr] = []
    tests: list[pl.Expr] = []
    if quoting:
        # Inside of a text the quote before a colon has a backslash before it, and a key's has none,
        # unless that backslash has one before it.
        every -= line.count_matches(r'\\"\s*:')
        tests.append(~line.contains(r'\\\\"\s*:'))
    for name in known:
        count = line.count_matches(rf'"{re.escape(name)}"\s*:{_value(name, shape)}')
        tests.append(count == 1 if name in shape.fields else count <= 1)
        counts.append(count)
    if repeated:
        role, said = (line.count_matches(rf'"{name}"\s*:\s*"') for name in repeated)
        tests += [role == said, *(pl.lit(value=False) for name in known if name in _unlike(repeated))]
        counts += [role, said]
    guard = guard_of(shape)
    if any(guard.holds(name) for name in known):
        tests += guard.tests()
    return [*tests, every == pl.sum_horizontal(counts)]


def _texts(shape: Shape) -> tuple[str, ...]:
    """The fields that are read here. A system prompt beside messages is not: it may stand in these too."""
    return shape.fields if _turn_keys(shape) else shape.texts


def _value(name: str, shape: Shape) -> str:
    """What must stand behind a key whose value is read: text, or null where it may be missing."""
    if name not in shape.texts or _turn_keys(shape):
        return ""
    return r'\s*"' if name in shape.fields else r'\s*(?:"|null)'


def _unlike(repeated: tuple[str, str]) -> tuple[str, ...]:
    """Keys that a message must not have to be read here."""
    return ("role", "content") if repeated[0] == "from" else ("from", "value")


def _unambiguous(shape: Shape) -> list[pl.Expr]:
    """Tests for lines with any keys, none of them twice."""
    line = pl.col("line").str
    keys = line.extract_all(KEY)
    repeated = _turn_keys(shape)
    distinct = keys.list.n_unique().cast(pl.Int64)
    fits: list[pl.Expr] = []
    if not repeated:
        fits.append(keys.list.len() == distinct)
    for name in _texts(shape):
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
    return [*fits, *guard_of(shape).tests()]


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
        else pl.Struct(dict.fromkeys(shape.texts, pl.String()))
    )
    fast = fast.copy()
    decoded = _decode_range(lines, np.flatnonzero(fast), kind, fast)
    if turns:
        right, messages = from_turns(decoded.struct.field(shape.input_field), turns)
    else:
        right, messages = from_fields(decoded, shape)
    fast[np.flatnonzero(fast)[~right]] = False
    return fast, messages.filter(pa.array(right))


def fields_of_lines(lines: pl.Series, shape: Shape, max_line_size: int) -> tuple[Flags, pl.DataFrame]:
    """Which lines of prompts and completions are plain, and the fields of those that are."""
    plain = _plain_lines(lines, shape) & (lines.str.len_bytes() <= max_line_size).to_numpy()
    kind = pl.Struct(dict.fromkeys(shape.texts, pl.String()))
    return plain, _decode_range(lines, np.flatnonzero(plain), kind, plain).struct.unnest()


def _decode_range(lines: pl.Series, places: Ints, kind: pl.DataType, fast: Flags) -> pl.Series:
    """Decode lines; where that fails, halve them until the bad ones are among few."""
    with contextlib.suppress(pl.exceptions.PolarsError):
        decoded = lines.gather(places).str.json_decode(kind)
        # Polars decodes lines as one array, where `{},{}` on a line are two, and halves of one may join.
        if len(decoded) == len(places):
            return decoded
    if len(places) <= SMALLEST:
        fast[places] = False
        return pl.Series([], dtype=kind)
    middle = len(places) // 2
    first = _decode_range(lines, places[:middle], kind, fast)
    return first.append(_decode_range(lines, places[middle:], kind, fast))
