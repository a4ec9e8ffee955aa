"""Previews put into lines of JSON, a block at a time, without a Python object a row.

The preview goes into the line's own bytes, before the quote that ends the prompt; all other bytes
stay as they are. Lines that are not plain (see `source.blocks`) are rewritten one by one, by the
same `Rewriter` that is the oracle of this module.
"""

from __future__ import annotations

import json
import re

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, joined, large_strings, put, utf8_parts
from lookahead_data.config import Settings
from lookahead_data.curation.classes import refuses
from lookahead_data.curation.mixing import is_safety_set
from lookahead_data.model.heads import HeadFinder, Heads
from lookahead_data.plan import InputFile
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.rewrite.rows import Rewriter
from lookahead_data.source import blocks
from lookahead_data.source.alike import Alike, find_alike
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import Shape
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Record
from lookahead_data.stages.preview import preview_turns
from lookahead_data.texts import says_something, to_arrow

ESCAPES = {chr(code): json.dumps(chr(code))[1:-1] for code in (*range(32), ord('"'), ord("\\"))}
"""What must be escaped inside a JSON text, and how it is written."""


def handles(file: InputFile, shape: Shape, settings: Settings) -> bool:
    """Whether lines of this file can be rewritten by the block."""
    if not settings.previews_safety and (not settings.tells_refusals or is_safety_set(settings, file.name)):
        return False
    return file.format == "jsonl" and shape.kind != "text" and blocks.handles(shape)


class LineRewriter:
    """Puts previews into lines."""

    def __init__(self, settings: Settings, shape: Shape, heads: HeadFinder) -> None:
        self._settings = settings
        self._shape = shape
        self._heads = heads
        self._singly = Rewriter(settings, shape, heads)

    def rewrite(self, block: Block, file: InputFile) -> tuple[bytes, PreviewReport]:
        """The lines of a block with their previews, and what became of them."""
        report = PreviewReport()
        bounds, lines = block.lines()
        left = np.ones(len(lines), bool)
        done: list[tuple[Ints, pa.LargeStringArray]] = []
        if blocks.is_text(lines, block.data):
            whole = np.diff(bounds) <= self._settings.max_line_size
            for alike in find_alike(lines, whole, self._shape):
                done.append(self._rewrite_alike(alike, lines, block.row, report))
                left[done[-1][0]] = False
            if self._shape.output_field is not None and left.any():
                done.append(self._rewrite_plain(lines, np.flatnonzero(whole & left), block.row, report))
                left[done[-1][0]] = False
        if left.any():
            done.append(self._rewrite_singly(block, bounds, np.flatnonzero(left), file, report))
        return _bytes(_in_order(done)), report

    def _rewrite_alike(
        self, alike: Alike, lines: pa.LargeStringArray, row: int, report: PreviewReport
    ) -> tuple[Ints, pa.LargeStringArray]:
        """Lines of one pattern that get their previews, by their places; the others are left."""
        settings = self._settings
        said = alike.pattern.messages
        words = [{"role": message.role, "content": "".join(map(str, message.content))} for message in said]
        turns = preview_turns(words, settings.previewed_turns)
        # The preview goes behind the question: before the quote that ends its last string.
        behind = [piece for turn in turns for piece in said[turn - 1].content[-1:]]
        ahead = [piece for turn in turns for piece in said[turn].content[:1] if settings.mode == "virtual"]
        fits = len(turns) == len(behind) == 1 and all(isinstance(piece, int) for piece in (*behind, *ahead))
        if not fits:
            return np.zeros(0, np.int64), pa.array([], pa.large_string())
        answers = alike.contents(turns[0])
        kept = np.ones(len(answers), bool)
        if not settings.previews_safety:
            # A conversation is of the class safety by its last answer, whichever is previewed.
            last = max(at for at, message in enumerate(said) if message.role == "assistant")
            for texts in (answers, *([alike.contents(last)] if last != turns[0] else [])):
                kept &= ~refuses(texts, settings.refusals)
        heads = self._heads.find(answers, row + alike.places, report.notes)
        if settings.short_answer != "keep":
            kept &= ~heads.whole
        if not kept.all():
            chosen = np.flatnonzero(kept)
            alike, heads = alike.take(chosen), heads.take(chosen)
        shown = _escaped(joined(settings.connector, heads.texts))
        cuts = [(alike.ends[:, int(behind[0])], shown)]
        if ahead:
            cuts.append(
                (alike.starts[:, int(ahead[0])], json.dumps(settings.phrase, ensure_ascii=False)[1:-1])
            )
        self._count(heads, report)
        return alike.places, _with_insertions(alike, lines, cuts)

    def _rewrite_plain(
        self, lines: pa.LargeStringArray, places: Ints, row: int, report: PreviewReport
    ) -> tuple[Ints, pa.LargeStringArray]:
        """Those of the lines at `places` that hold nothing doubtful; the others are left."""
        some = pl.Series(lines.take(pa.array(places)))
        plain, fields = blocks.fields_of_lines(some, self._shape, self._settings.max_line_size)
        answers = to_arrow(fields[str(self._shape.output_field)])
        right = says_something(answers) & fields[self._shape.input_field].is_not_null().to_numpy()
        if not self._settings.previews_safety:
            right &= ~refuses(answers, self._settings.refusals)
        chosen = np.flatnonzero(plain)
        heads = self._heads.find(answers, row + places[chosen], report.notes)
        if self._settings.short_answer != "keep":
            right &= ~heads.whole
        heads = heads.take(np.flatnonzero(right))
        self._count(heads, report)
        out = self._with_previews(some.gather(chosen[right]), fields.filter(pl.Series(right)), heads)
        return places[chosen[right]], to_arrow(out)

    def _count(self, heads: Heads, report: PreviewReport) -> None:
        count = len(heads.tokens)
        report.read += count
        report.written += count
        report.previews += count
        report.previewed_tokens += int(heads.tokens.sum())
        report.whole_answers += int(heads.whole.sum())

    def _with_previews(self, lines: pl.Series, fields: pl.DataFrame, heads: Heads) -> pl.Series:
        """Plain lines with the preview behind their prompts, and the phrase before their answers."""
        shape = self._shape
        lines = lines.str.strip_chars_end("\r\n \t")
        ends = _value_ends(lines, shape.input_field)
        for name in shape.context_fields:
            asks = np.flatnonzero((fields[name].fill_null("").str.len_bytes() > 0).to_numpy())
            ends[asks] = _value_ends(lines.gather(asks), name)
        connector = pl.lit(self._settings.connector)
        frame = pl.DataFrame({"line": lines.cast(pl.Binary), "end": ends, "head": pl.Series(heads.texts)})
        frame = frame.with_columns(shown=pl.concat_str(connector, "head").str.replace_many(ESCAPES))
        raw = pl.col("line").bin
        if self._settings.mode == "real":
            parts = [raw.slice(0, pl.col("end")), pl.col("shown"), raw.slice(pl.col("end"))]
        else:
            phrase = pl.lit(self._settings.phrase).str.replace_many(ESCAPES)
            frame = frame.with_columns(start=_value_starts(lines, str(shape.output_field)))
            low, high = pl.min_horizontal("end", "start"), pl.max_horizontal("end", "start")
            first = pl.when(pl.col("end") < pl.col("start"))
            parts = [
                raw.slice(0, low),
                first.then(pl.col("shown")).otherwise(phrase),
                raw.slice(low, high - low),
                first.then(phrase).otherwise(pl.col("shown")),
                raw.slice(high),
            ]
        whole = pl.concat_str([part.cast(pl.String) for part in parts] + [pl.lit("\n")])
        return frame.select(whole).to_series()

    def _rewrite_singly(
        self, block: Block, bounds: Ints, places: Ints, file: InputFile, report: PreviewReport
    ) -> tuple[Ints, pa.LargeStringArray]:
        """The lines at `places` rewritten one by one, less those at fault."""
        records: list[Record] = []
        for at in places.tolist():
            line = block.data[bounds[at] : bounds[at + 1]]
            limit = self._settings.max_line_size
            record = jsonl.record_of(line, len(line), block.row + at, block.offset + int(bounds[at]), limit)
            if record is not None:
                records.append(record)
        rows = self._singly.rewrite(records, file, report)
        texts = [json.dumps(value, ensure_ascii=False) + "\n" for _, value in rows]
        return np.array([row - block.row for row, _ in rows], np.int64), pa.array(texts, pa.large_string())


def _in_order(parts: list[tuple[Ints, pa.LargeStringArray]]) -> pa.LargeStringArray:
    """Lines in the order of their places."""
    parts = [(places, lines) for places, lines in parts if len(places)]
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *(places for places, _ in parts)]))
    lines = pa.concat_arrays([pa.array([], pa.large_string()), *(lines for _, lines in parts)])
    return lines.take(pa.array(order))


def _with_insertions(
    alike: Alike, lines: pa.LargeStringArray, cuts: list[tuple[Ints, pa.LargeStringArray | str]]
) -> pa.LargeStringArray:
    """Lines with texts put in at places among the bytes of all lines, and without white space at their ends."""
    if not len(alike.places):
        return pa.array([], pa.large_string())
    cuts = sorted(cuts, key=lambda cut: int(cut[0][0]))
    bounds = np.column_stack([alike.bounds[:, 0], *(places for places, _ in cuts), alike.bounds[:, 1]])
    every = large_strings(bounds.ravel(), utf8_parts(lines)[1])
    pieces = [
        every.take(pa.array(np.arange(len(bounds)) * bounds.shape[1] + at)) for at in range(len(cuts) + 1)
    ]
    return joined(
        pieces[0],
        *(part for (_, text), piece in zip(cuts, pieces[1:], strict=True) for part in (text, piece)),
        "\n",
    )


def _escaped(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Texts as they are written inside of a JSON string."""
    bounds, raw = utf8_parts(texts)
    odd = np.flatnonzero((raw < ord(" ")) | (raw == ord('"')) | (raw == ord("\\")))
    places = np.flatnonzero(np.diff(np.searchsorted(odd, bounds)))
    if not len(places):
        return texts
    return put(texts, places, to_arrow(pl.Series(texts.take(pa.array(places))).str.replace_many(ESCAPES)))


def _value_starts(lines: pl.Series, name: str) -> Ints:
    """The byte of each line at which the text of the field `name` starts."""
    before = rf'"{re.escape(name)}"\s*:\s*"'
    return _numbers(lines.str.find(before)) + _numbers(lines.str.extract(f"({before})").str.len_bytes())


def _value_ends(lines: pl.Series, name: str) -> Ints:
    """The byte of each line at which the text of the field `name` ends, before its closing quote."""
    starts = _value_starts(lines, name)
    rest = lines.cast(pl.Binary).bin.slice(pl.Series(starts))  # type: ignore[arg-type]
    sizes = _numbers(rest.cast(pl.String).str.find('"', literal=True))
    value = rest.bin.slice(0, pl.Series(sizes))  # type: ignore[arg-type]
    # A backslash before the quote: it is part of the text, or the backslash is. Only then it matters
    # to read the text from its start, which is slow.
    doubtful = np.flatnonzero(value.bin.ends_with(b"\\").to_numpy())
    if len(doubtful):
        whole = rest.gather(doubtful).cast(pl.String).str.extract(r'^((?:[^"\\]|\\.)*)"')
        sizes[doubtful] = _numbers(whole.str.len_bytes())
    return starts + sizes


def _numbers(series: pl.Series) -> Ints:
    return series.to_numpy().astype(np.int64)


def _bytes(lines: pa.LargeStringArray) -> bytes:
    bounds, raw = utf8_parts(lines)
    return raw[bounds[0] : bounds[-1]].tobytes()
