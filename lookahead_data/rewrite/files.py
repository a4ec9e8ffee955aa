"""The preview alone: the same rows with the previews put in, for trainers that tokenize themselves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lookahead_data.config import Settings
from lookahead_data.cores import cores
from lookahead_data.curation.mixing import check_sources, is_safety_set
from lookahead_data.errors import SettingsError
from lookahead_data.listener import Listener
from lookahead_data.model.engines import Engines
from lookahead_data.model.heads import HeadFinder
from lookahead_data.model.load import SMALL, require_tokenizer
from lookahead_data.plan import InputFile
from lookahead_data.rewrite import lines
from lookahead_data.rewrite.lines import LineRewriter
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.rewrite.rows import Rewriter, Row
from lookahead_data.sink.rows import json_lines
from lookahead_data.source import readers
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import BATCH_BYTES, Shape, in_words
from lookahead_data.source.readers import jsonl
from lookahead_data.source.recognize import recognize
from lookahead_data.source.records import Split

BATCH = 1000
MOST_THREADS = 8
"""Blocks that are rewritten at a time, at most. Two threads take about 0.7 of the time of one; the rest holds
Python's lock."""

Given = TypeVar("Given")
Made = TypeVar("Made")


class FileRewriter:
    """Puts previews into the rows of files. Its report tells what became of them.

    Attributes:
        report: of the rows that were given so far.
    """

    def __init__(self, files: Sequence[InputFile], settings: Settings, listener: Listener) -> None:
        """
        Raises:
            LookaheadError: an input, a setting or the tokenizer cannot be used.
        """
        if settings.mode == "none":
            raise SettingsError("mode none has no preview to write", remedy="Use --mode real or virtual.")
        self._settings = settings
        self._listener = listener
        check_sources(settings.replace(mix={}), [file.name for file in files])
        seen = recognize(files, settings.replace(chat_template="none"))
        listener.recognized([str(fields) for fields in seen.fields])
        self._files = list(zip(files, seen.shapes, strict=True))
        self.report = PreviewReport(shape=in_words(seen.shapes))
        size = sum(file.size for file in files)
        tokenizer = require_tokenizer(settings) if settings.mode == "real" or settings.tokenizer else None
        for warning in (*seen.warnings, *(tokenizer.warnings if tokenizer else ())):
            listener.warned(warning)
        small = settings.engine == "auto" and size < SMALL
        engine = Engines(tokenizer).get("tokenizers" if small else settings.engine) if tokenizer else None
        self._heads = HeadFinder(settings, tokenizer, engine)
        listener.planned(size=size, units=len(files), shape=self.report.shape)

    @property
    def mixed(self) -> bool:
        """Whether the files hold their conversations in different fields."""
        return len({shape.fields for _, shape in self._files}) > 1

    def rows(self) -> Iterator[list[Row]]:
        """The rows of all files, in batches."""
        for file, shape in self._files:
            yield from self._rows(file, shape)
        self._listener.finished()

    def lines(self) -> Iterator[bytes]:
        """The rows of all files as JSON Lines; where a file holds lines, their bytes but for the previews."""
        for file, shape in self._files:
            if lines.handles(file, shape, self._settings):
                yield from self._lines(file, shape)
            else:
                yield from map(json_lines, self._rows(file, shape))
        self._listener.finished()

    def _rows(self, file: InputFile, shape: Shape) -> Iterator[list[Row]]:
        rewriter = Rewriter(
            self._settings, shape, self._heads, all_safe=is_safety_set(self._settings, file.name)
        )
        records = readers.read_all(file, max_line_size=self._settings.max_line_size)
        while batch := list(itertools.islice(records, BATCH)):
            part = PreviewReport()
            yield [row for _, row in rewriter.rewrite(batch, file, part)]
            self._count(part, sum(record.size for record in batch))
        file.check_unchanged()

    def _lines(self, file: InputFile, shape: Shape) -> Iterator[bytes]:
        rewriter = LineRewriter(self._settings, shape, self._heads)
        whole = Split(0, file.size, 0, file.size)
        found = jsonl.blocks(file, whole, BATCH_BYTES, self._settings.max_line_size)
        blocks = (Block(*block) for block in found)

        def rewrite(block: Block) -> tuple[bytes, PreviewReport, int]:
            return *rewriter.rewrite(block, file), len(block.data)

        for data, part, size in _in_order(rewrite, blocks):
            yield data
            self._count(part, size)
        file.check_unchanged()

    def _count(self, part: PreviewReport, size: int) -> None:
        self.report.add(part)
        self._listener.advanced(part.read, part.previewed_tokens, size)


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
