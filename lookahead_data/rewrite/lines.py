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

from lookahead_data.arrays import Ints, whole_array
from lookahead_data.config import Settings
from lookahead_data.curation.classes import refuses
from lookahead_data.curation.mixing import is_safety_set
from lookahead_data.model.heads import HeadFinder, Heads
from lookahead_data.plan import InputFile
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.rewrite.rows import Rewriter
from lookahead_data.source import blocks
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import Shape
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Record
from lookahead_data.texts import says_something

ESCAPES = {chr(code): json.dumps(chr(code))[1:-1] for code in (*range(32), ord('"'), ord("\\"))}
"""What must be escaped inside a JSON text, and how it is written."""


def handles(file: InputFile, shape: Shape, settings: Settings) -> bool:
    """Whether lines of this file can be rewritten by the block."""
    if not settings.previews_safety and (not settings.tells_refusals or is_safety_set(settings, file.name)):
        return False
    return file.format == "jsonl" and shape.kind in ("prompt-completion", "alpaca")


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
        plain = np.zeros(len(lines), bool)
        if blocks.is_text(lines, block.data):
            plain, fields = blocks.fields_of_lines(
                pl.Series(lines), self._shape, self._settings.max_line_size
            )
            answers = fields[str(self._shape.output_field)]
            right = (
                says_something(whole_array(answers.fill_null("").to_arrow()).cast(pa.large_string()))
                & fields[self._shape.input_field].is_not_null().to_numpy()
            )
            if not self._settings.previews_safety:
                right &= ~refuses(answers.fill_null("").to_arrow(), self._settings.refusals)
            plain[np.flatnonzero(plain)[~right]] = False
            fields = fields.filter(pl.Series(right))
        places = np.flatnonzero(plain)
        out = pl.Series([], dtype=pl.String)
        if len(places):
            texts = whole_array(fields[str(self._shape.output_field)].to_arrow()).cast(pa.large_string())
            heads = self._heads.find(texts, block.row + places, report.notes)
            if self._settings.short_answer != "keep":
                long = ~heads.whole
                plain[places[~long]] = False
                places, heads = places[long], heads.take(np.flatnonzero(long))
                fields = fields.filter(pl.Series(long))
            out = self._with_previews(pl.Series(lines).gather(places), fields, heads)
            report.read = report.written = report.previews = len(places)
            report.previewed_tokens = int(heads.tokens.sum())
            report.whole_answers = int(heads.whole.sum())
        if len(places) < len(lines):
            out = self._merged(out, places, self._others(block, bounds, np.flatnonzero(~plain), file, report))
        return _bytes(out), report

    def _with_previews(self, lines: pl.Series, fields: pl.DataFrame, heads: Heads) -> pl.Series:
        """Plain lines with the preview behind their prompts, and the phrase before their answers."""
        shape = self._shape
        lines = lines.str.strip_chars_end("\r\n \t")
        ends = _value_ends(lines, shape.input_field)
        if shape.extra_field:
            asks = np.flatnonzero((fields[shape.extra_field].fill_null("").str.len_bytes() > 0).to_numpy())
            ends[asks] = _value_ends(lines.gather(asks), shape.extra_field)
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

    def _others(
        self, block: Block, bounds: Ints, places: Ints, file: InputFile, report: PreviewReport
    ) -> list[tuple[int, str]]:
        """The lines at `places` rewritten one by one, less those at fault."""
        records: list[Record] = []
        for at in places.tolist():
            line = block.data[bounds[at] : bounds[at + 1]]
            limit = self._settings.max_line_size
            record = jsonl.record_of(line, len(line), block.row + at, block.offset + int(bounds[at]), limit)
            if record is not None:
                records.append(record)
        return [
            (row - block.row, json.dumps(value, ensure_ascii=False) + "\n")
            for row, value in self._singly.rewrite(records, file, report)
        ]

    def _merged(self, out: pl.Series, places: Ints, others: list[tuple[int, str]]) -> pl.Series:
        both = out.append(pl.Series([line for _, line in others], dtype=pl.String))
        order = np.argsort(np.concatenate([places, np.array([at for at, _ in others], np.int64)]))
        return both.gather(order)


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


def _bytes(lines: pl.Series) -> bytes:
    array = whole_array(lines.to_arrow()).cast(pa.large_string())
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return bytes(memoryview(data)[bounds[0] : bounds[-1]])
