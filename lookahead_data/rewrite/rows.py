"""Previews put into rows one by one: any shape, any format."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lookahead_data.batches import Reject
from lookahead_data.config import Settings
from lookahead_data.curation.classes import Classes, is_refusal
from lookahead_data.errors import RowError
from lookahead_data.model.heads import Head, HeadFinder
from lookahead_data.plan import InputFile
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.source.conversations import Conversation, Shape, is_flagged, to_messages
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
        good: list[tuple[Record, Conversation, list[int]]] = []
        for record in records:
            report.read += 1
            try:
                if isinstance(record.value, RowError):
                    raise record.value
                messages = to_messages(record.value, self._shape)
                json.dumps(record.value, ensure_ascii=False, default=str).encode("utf-8")
            except UnicodeEncodeError:
                self._reject(
                    record, RowError("lone_surrogate", "a text is half of a UTF-16 pair"), file, report
                )
            except RowError as error:
                self._reject(record, error, file, report)
            else:
                good.append((record, messages, self._turns(record.value, messages, report)))
        answers = [messages[turn]["content"] for _, messages, turns in good for turn in turns]
        numbers = np.array([record.row for record, _, turns in good for _ in turns], np.int64)
        heads = iter(self._heads.find(pa.array(answers, pa.large_string()), numbers, report.notes).to_list())
        rows = []
        for record, messages, turns in good:
            mine = list(itertools.islice(heads, len(turns)))
            try:
                rows.append((record.row, self._rewrite_row(record, messages, turns, mine, report)))
            except RowError as error:
                self._reject(record, error, file, report)
        report.written += len(rows)
        return rows

    def _turns(self, row: Row, messages: Conversation, report: PreviewReport) -> list[int]:
        """The answers that get a preview."""
        settings = self._settings
        turns = preview_turns(messages, settings.preview_turns)
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
        messages: Conversation,
        turns: Sequence[int],
        heads: Sequence[Head],
        report: PreviewReport,
    ) -> Row:
        assert isinstance(record.value, dict)
        row = copy.deepcopy(record.value)
        if not turns and not preview_turns(messages, self._settings.preview_turns):
            report.notes["preview_without_user_message"] += 1
        for turn, head in zip(turns, heads, strict=True):
            preview = insert(messages, turn, head, self._settings, report.notes)
            if preview is None:
                continue
            self._put(row, turn, messages, preview["text"])
            report.previews += 1
            report.previewed_tokens += preview["tokens"]
            report.whole_answers += preview["whole"]
        return row

    def _put(self, row: Row, turn: int, messages: Conversation, text: str) -> None:
        """Append `text` to the prompt of the answer at `turn`, and put the phrase before the answer."""
        phrase = self._settings.phrase if self._settings.mode == "virtual" else ""
        shape = self._shape
        turns = _message_list(row, shape)
        if turns is None:
            prompt = shape.input_field
            if shape.extra_field and row.get(shape.extra_field):
                prompt = shape.extra_field
            row[prompt] += text
            row[str(shape.output_field)] = phrase + row[str(shape.output_field)]
            return
        shift = len(messages) - len(turns)  # a system prompt from a field of its own
        _extend(turns[turn - 1 - shift], after=text)
        _extend(turns[turn - shift], before=phrase)

    def _reject(self, record: Record, error: RowError, file: InputFile, report: PreviewReport) -> None:
        excerpt = record.excerpt or excerpt_of(json.dumps(record.value, default=str))
        reject = Reject(record.row, record.offset, error.reason, error.message, excerpt)
        report.quarantined[error.reason] += 1
        report.rejects.append((file.name, reject))


def _message_list(row: Row, shape: Shape) -> list[Any] | None:
    value = row[shape.input_field]
    if not isinstance(value, list):
        return None
    return value + row[shape.output_field] if shape.output_field else value


def _extend(message: Row, *, before: str = "", after: str = "") -> None:
    said = "value" if "from" in message and "role" not in message else "content"
    content = message[said]
    if isinstance(content, str):
        message[said] = before + content + after
        return
    # The first and the last part that say something, so that a part without text stays without.
    filled = [at for at, part in enumerate(content) if (part if isinstance(part, str) else part["text"])]
    first, last = (filled[0], filled[-1]) if filled else (0, -1)
    for at, text, front in ((first, before, True), (last, after, False)):
        piece = content[at]
        if isinstance(piece, str):
            content[at] = text + piece if front else piece + text
        else:
            piece["text"] = text + piece["text"] if front else piece["text"] + text
