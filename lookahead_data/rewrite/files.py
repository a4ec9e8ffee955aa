"""The preview alone: the same rows with the previews put in, for trainers that tokenize themselves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lookahead_data.config import Settings
from lookahead_data.cores import cores
from lookahead_data.errors import SettingsError
from lookahead_data.listener import Listener
from lookahead_data.model.engines import Engines
from lookahead_data.model.heads import HeadFinder
from lookahead_data.model.load import SMALL, require_tokenizer
from lookahead_data.plan import InputFile
from lookahead_data.planning import recognize
from lookahead_data.rewrite import lines
from lookahead_data.rewrite.lines import LineRewriter
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.rewrite.rows import Rewriter, Row
from lookahead_data.source import readers
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import BATCH_BYTES, Shape
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Split

BATCH = 1000
MOST_THREADS = 8
"""Blocks that are rewritten at a time, at most. Nearly all of it is native code, which lets go of
Python's lock, but not all."""

Given = TypeVar("Given")
Made = TypeVar("Made")


def rewrite_files(
    files: Sequence[InputFile],
    settings: Settings,
    report: PreviewReport,
    listener: Listener,
    *,
    as_lines: bool = False,
) -> Iterator[list[Row] | bytes]:
    """The rows of all files with their previews, in batches.

    Args:
        report: is told what became of the rows.
        as_lines: give JSON Lines where they can be made without the rows.

    Raises:
        LookaheadError: an input, a setting or the tokenizer cannot be used.
    """
    if settings.mode == "none":
        raise SettingsError("mode none has no preview to write", remedy="Use --mode real or virtual.")
    shape, warnings = recognize(files, settings)
    size = sum(file.size for file in files)
    tokenizer = require_tokenizer(settings) if settings.mode == "real" or settings.tokenizer else None
    for warning in (*warnings, *(tokenizer.warnings if tokenizer else ())):
        listener.warned(warning)
    report.shape = str(shape)
    listener.planned(size=size, units=len(files), shape=str(shape))
    small = settings.engine == "auto" and size < SMALL
    engine = Engines(tokenizer).get("tokenizers" if small else settings.engine) if tokenizer else None
    heads = HeadFinder(settings, tokenizer, engine)
    for file in files:
        if as_lines and lines.handles(file, shape):
            yield from _lines(file, settings, shape, heads, report, listener)
        else:
            yield from _rows(file, settings, shape, heads, report, listener)
        file.check_unchanged()
    listener.finished()


def _rows(
    file: InputFile,
    settings: Settings,
    shape: Shape,
    heads: HeadFinder,
    report: PreviewReport,
    listener: Listener,
) -> Iterator[list[Row]]:
    rewriter = Rewriter(settings, shape, heads)
    records = readers.read_all(file, max_line_size=settings.max_line_size)
    while batch := list(itertools.islice(records, BATCH)):
        part = PreviewReport()
        yield [row for _, row in rewriter.rewrite(batch, file, part)]
        report.add(part)
        listener.advanced(len(batch), part.previewed_tokens, sum(record.size for record in batch))


def _lines(
    file: InputFile,
    settings: Settings,
    shape: Shape,
    heads: HeadFinder,
    report: PreviewReport,
    listener: Listener,
) -> Iterator[bytes]:
    rewriter = LineRewriter(settings, shape, heads)
    whole = Split(0, file.size, 0, file.size)
    found = jsonl.blocks(file, whole, BATCH_BYTES, settings.max_line_size)
    blocks = (Block(*block) for block in found)

    def rewrite(block: Block) -> tuple[bytes, PreviewReport, int]:
        return *rewriter.rewrite(block, file), len(block.data)

    for data, part, size in _in_order(rewrite, blocks):
        yield data
        report.add(part)
        listener.advanced(part.read, part.previewed_tokens, size)


def _in_order(work: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """The results of some threads, in the order of the items; few of them wait at a time."""
    threads = min(cores(), MOST_THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
