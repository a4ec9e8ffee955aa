"""Previews put into rows one by one: any shape, any format."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from lookahead_data.batches import Reject
from lookahead_data.config import Settings
from lookahead_data.curation.classes import Classes, is_refusal
from lookahead_data.errors import RowError
from lookahead_data.model.heads import Head, HeadFinder
from lookahead_data.plan import InputFile
from lookahead_data.rewrite.places import as_objects, edited
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.source.conversations import Conversation, Shape, is_flagged, to_row
from lookahead_data.source.conversations import Row as Read
from lookahead_data.source.records import Record, excerpt_of
from lookahead_data.stages.preview import insert, preview_turns

Row = dict[str, Any]


class Rewriter:
    """Puts previews into rows, all other fields as they were and in order."""

    def __init__(
        self, settings: Settings, shape: Shape, heads: HeadFinder, *, all_safe: bool = False
    ) -> None:
        """
        Args:
            all_safe: all rows are of the class safety.
        """
        self._settings = settings
        self._classes = Classes(settings)
        self._all_safe = all_safe
        self._shape = shape
        self._heads = heads

    def rewrite(
        self, records: Sequence[Record], file: InputFile, report: PreviewReport
    ) -> list[tuple[int, Row]]:
        """The rows of `records` with their places and previews; those at fault go to the report."""
        good: list[tuple[Record, Read, list[int]]] = []
        for record in records:
            report.read += 1
            try:
                if isinstance(record.value, RowError):
                    raise record.value
                record = replace(record, value=as_objects(record.value))
                assert isinstance(record.value, dict)
                read = to_row(record.value, self._shape)
                json.dumps(record.value, ensure_ascii=False, default=str).encode("utf-8")
            except UnicodeEncodeError:
                self._reject(
                    record, RowError("lone_surrogate", "a text is half of a UTF-16 pair"), file, report
                )
            except RowError as error:
                self._reject(record, error, file, report)
            else:
                good.append((record, read, self._turns(record.value, spoken(read), report)))
        answers = [read.messages[turn]["content"] for _, read, turns in good for turn in turns]
        numbers = np.array([record.row for record, _, turns in good for _ in turns], np.int64)
        heads = iter(self._heads.find(pa.array(answers, pa.large_string()), numbers, report.notes).to_list())
        rows = []
        for record, read, turns in good:
            mine = list(itertools.islice(heads, len(turns)))
            try:
                rows.append((record.row, self._rewrite_row(record, read, turns, mine, report)))
            except RowError as error:
                self._reject(record, error, file, report)
        report.written += len(rows)
        return rows

    def _turns(self, row: Row, messages: Conversation, report: PreviewReport) -> list[int]:
        """The answers that get a preview."""
        settings = self._settings
        turns = preview_turns(messages, settings.previewed_turns)
        if settings.previews_safety:
            return turns
        flagged = is_flagged(row, self._shape)
        if self._classes.is_safety(messages, flagged=flagged, all_safe=self._all_safe):
            kept = []
        elif settings.tells_refusals:
            kept = [turn for turn in turns if not is_refusal(messages[turn]["content"], settings.refusals)]
        else:
            kept = turns
        if len(kept) < len(turns):
            report.notes["safety_without_preview"] += len(turns) - len(kept)
        return kept

    def _rewrite_row(
        self,
        record: Record,
        read: Read,
        turns: Sequence[int],
        heads: Sequence[Head],
        report: PreviewReport,
    ) -> Row:
        assert isinstance(record.value, dict)
        row, messages = record.value, spoken(read)
        if not turns and not preview_turns(messages, self._settings.previewed_turns):
            report.notes["preview_without_user_message"] += 1
        for turn, head in zip(turns, heads, strict=True):
            preview = insert(messages, turn, head, self._settings, report.notes)
            if preview is None:
                continue
            row = self._put(row, read, turn, preview["text"])
            report.previews += 1
            report.previewed_tokens += preview["tokens"]
            report.whole_answers += preview["whole"]
        return row

    def _put(self, row: Row, read: Read, turn: int, text: str) -> Row:
        """The row with `text` behind the prompt of the answer at `turn`, and the phrase before the answer."""
        prompt, answer = read.places[turn - 1], read.places[turn]
        if prompt is None or answer is None:
            raise RowError(
                "unsupported_content",
                "the text of a prompt or its answer does not stand in one place of the row",
            )
        row = edited(row, prompt[1], lambda old: old + text)
        if self._settings.mode == "virtual":
            row = edited(row, answer[0], lambda old: self._settings.phrase + old)
        return row

    def _reject(self, record: Record, error: RowError, file: InputFile, report: PreviewReport) -> None:
        excerpt = record.excerpt or excerpt_of(json.dumps(record.value, default=str))
        reject = Reject(record.row, record.offset, error.reason, error.message, excerpt)
        report.quarantined[error.reason] += 1
        report.rejects.append((file.name, reject))


def spoken(read: Read) -> Conversation:
    """The messages of a row, each with a text; one that only calls tools says nothing."""
    return [{**message, "content": message["content"] or ""} for message in read.messages]
