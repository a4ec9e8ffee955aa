"""The preview alone: the same rows with the previews put in, for trainers that tokenize themselves."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.batches import Reject
from lookahead_data.config import Settings
from lookahead_data.errors import OutputError, RowError, SettingsError
from lookahead_data.listener import Listener
from lookahead_data.model.engines import Engine, TokenizersEngine
from lookahead_data.model.load import require_tokenizer
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.plan import InputFile
from lookahead_data.planning import recognize
from lookahead_data.sink.publish import publishing
from lookahead_data.sink.quarantine import rejected_lines
from lookahead_data.source import readers
from lookahead_data.source.conversations import Conversation, Shape, to_messages
from lookahead_data.source.records import Record, excerpt_of
from lookahead_data.stages.preview import Head, answer_heads, heads_of, insert, preview_turns

OUTPUT_FORMATS = ("jsonl", "json", "parquet")
BATCH = 1000

Row = dict[str, Any]


@dataclass
class PreviewReport:
    """What became of the rows.

    Attributes:
        read, written: rows; the difference was quarantined.
        previews, previewed_tokens, whole_answers: previews put in, the answer tokens they show, and
            how many show the whole answer.
        quarantined: rows left out, by reason.
        notes: rows that are worth knowing of (see `sink.manifest.NOTES`).
        rejects: the rows left out, with the name of their file.
        shape: the corpus's shape.
    """

    shape: str = ""
    read: int = 0
    written: int = 0
    previews: int = 0
    previewed_tokens: int = 0
    whole_answers: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[str, Reject]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the rejected rows themselves."""
        plain = {name: value for name, value in vars(self).items() if name != "rejects"}
        return plain | {"quarantined": dict(self.quarantined), "notes": dict(self.notes)}


class Rewriter:
    """Puts previews into rows, all other fields as they were and in order."""

    def __init__(
        self, settings: Settings, shape: Shape, tokenizer: LoadedTokenizer | None, engine: Engine | None
    ) -> None:
        """
        Args:
            tokenizer, engine: of the model; None only where a mode needs neither.
        """
        self._settings = settings
        self._shape = shape
        self._tokenizer = tokenizer
        self._engine = engine
        count = len(tokenizer.encode_ids([settings.phrase])[0]) if tokenizer else 0
        self._phrase = Head(settings.phrase, count, False)

    def rewrite(self, records: Sequence[Record], file: InputFile, report: PreviewReport) -> list[Row]:
        """The rows of `records` with their previews; those at fault go to the report."""
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
                good.append((record, messages, preview_turns(messages, self._settings.preview_turns)))
        heads = iter(
            self._heads([messages[turn]["content"] for _, messages, turns in good for turn in turns])
        )
        rows = []
        for record, messages, turns in good:
            mine = list(itertools.islice(heads, len(turns)))
            try:
                rows.append(self._rewrite_row(record, messages, turns, mine, report))
            except RowError as error:
                self._reject(record, error, file, report)
        report.written += len(rows)
        return rows

    def _heads(self, answers: list[str]) -> list[Head]:
        if self._tokenizer is None or self._engine is None or self._settings.mode != "real":
            return [self._phrase] * len(answers)
        count = self._settings.preview_tokens
        if self._settings.cut == "reference":
            return answer_heads(answers, self._tokenizer, count, cut="reference")
        texts = pa.array(answers, pa.large_string())
        return heads_of(texts, self._tokenizer, self._engine, count).to_list()

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
        if not turns and self._settings.mode != "none":
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
    for part, text, front in ((0, before, True), (-1, after, False)):
        piece = content[part]
        if isinstance(piece, str):
            content[part] = text + piece if front else piece + text
        else:
            piece["text"] = text + piece["text"] if front else piece["text"] + text


def rewrite_files(
    files: Sequence[InputFile], settings: Settings, report: PreviewReport, listener: Listener
) -> Iterator[list[Row]]:
    """The rows of all files with their previews, in batches.

    Raises:
        LookaheadError: an input, a setting or the tokenizer cannot be used.
    """
    if settings.mode == "none":
        raise SettingsError("mode none has no preview to write", remedy="Use --mode real or virtual.")
    shape, warnings = recognize(files, settings)
    tokenizer = require_tokenizer(settings) if settings.mode == "real" or settings.tokenizer else None
    for warning in (*warnings, *(tokenizer.warnings if tokenizer else ())):
        listener.warned(warning)
    report.shape = str(shape)
    listener.planned(size=sum(file.size for file in files), units=len(files), shape=str(shape))
    # Only the heads of answers are encoded, too little for loading a faster engine to pay.
    engine = TokenizersEngine(tokenizer) if tokenizer else None
    rewriter = Rewriter(settings, shape, tokenizer, engine)
    for file in files:
        records = readers.read_all(file, max_line_size=settings.max_line_size)
        while batch := list(itertools.islice(records, BATCH)):
            shown = report.previewed_tokens
            yield rewriter.rewrite(batch, file, report)
            size = sum(record.size for record in batch)
            listener.advanced(len(batch), report.previewed_tokens - shown, size)
        file.check_unchanged()
    listener.finished()


def write_rows(batches: Iterable[list[Row]], path: Path, kind: str, schema: pa.Schema | None = None) -> None:
    """Write rows to one file, which appears whole or not at all.

    Args:
        kind: one of `OUTPUT_FORMATS`.
        schema: of a Parquet file; None finds it from all the rows.
    """
    with publishing(path) as temporary, contextlib.closing(_WRITERS[kind](temporary, schema)) as writer:
        for rows in batches:
            writer.write(rows)
        writer.end()


def table_of(rows: list[Row], schema: pa.Schema | None) -> pa.Table:
    """Rows as a table; without a schema that of the rows, their fields in the order of appearance."""
    if schema is None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    arrays = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            arrays.append(pa.array(values, column.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            arrays.append(pa.array(values).cast(column.type))  # read as text, see `readers.columnar`
    return pa.Table.from_arrays(arrays, schema=schema)


class _Writer(Protocol):
    def __init__(self, path: Path, schema: pa.Schema | None) -> None: ...
    def write(self, rows: list[Row]) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class _JsonLines:
    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._file: IO[str] = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115

    def write(self, rows: list[Row]) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)

    def end(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _JsonArray(_JsonLines):
    _separator = "[\n"

    def write(self, rows: list[Row]) -> None:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False, default=str, indent=4)
            self._file.write(self._separator + "    " + text.replace("\n", "\n    "))
            self._separator = ",\n"

    def end(self) -> None:
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")
        super().end()


class _Parquet:
    """Rows of JSON have no schema before the last one is read: they wait in an Arrow file."""

    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._path = path
        self._schema = schema
        self._waiting = path.with_name(path.name + ".rows")
        self._file = open(self._waiting, "w+b")  # noqa: SIM115
        self._schemas: list[pa.Schema] = []

    def write(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            table = table_of(rows, self._schema)
        except pa.ArrowException as error:
            raise self._mixed(error) from None
        self._schemas.append(table.schema)
        with pa.BufferOutputStream() as buffer:
            with pa.ipc.new_stream(buffer, table.schema) as stream:
                stream.write_table(table)
            data = buffer.getvalue()
        self._file.write(len(data).to_bytes(8, "little"))
        self._file.write(data)

    def end(self) -> None:
        try:
            schema = self._schema or pa.unify_schemas(self._schemas, promote_options="permissive")
            with pq.ParquetWriter(self._path, schema, compression="zstd") as writer:
                for table in self._tables():
                    missing = [name for name in schema.names if name not in table.schema.names]
                    for name in missing:
                        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
                    writer.write_table(table.select(schema.names).cast(schema))
        except pa.ArrowException as error:
            raise self._mixed(error) from None

    def _tables(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        while head := self._file.read(8):
            data = self._file.read(int.from_bytes(head, "little"))
            yield pa.ipc.open_stream(data).read_all()

    def _mixed(self, error: Exception) -> OutputError:
        return OutputError(
            f"the rows do not fit one Parquet schema: {error}",
            where=str(self._path),
            remedy="Write JSON Lines instead: --format jsonl.",
        )

    def close(self) -> None:
        self._file.close()
        self._waiting.unlink(missing_ok=True)


_WRITERS: Mapping[str, type[_Writer]] = {"jsonl": _JsonLines, "json": _JsonArray, "parquet": _Parquet}


def quarantine_lines(report: PreviewReport, files: Sequence[InputFile]) -> str:
    """The rows left out, as JSON Lines."""
    by_name = {file.name: file for file in files}
    return "".join(rejected_lines([reject], by_name[name]) for name, reject in report.rejects)
