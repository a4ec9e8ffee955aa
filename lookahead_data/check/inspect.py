"""Rows as people can see them: context, what is learned, and the preview, told apart."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookahead_data.batches import Reject
from lookahead_data.columns import IGNORED
from lookahead_data.config import Settings
from lookahead_data.curation.mixing import check_sources, is_safety_set
from lookahead_data.errors import OutputError
from lookahead_data.listener import Listener
from lookahead_data.model.load import Model, load_model
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.pipeline import Converted, build_stages, run_stages
from lookahead_data.plan import InputFile
from lookahead_data.sink.formats import open_shard
from lookahead_data.sink.manifest import MANIFEST, PLAN, Manifest
from lookahead_data.sink.profiles import documents_of
from lookahead_data.source import readers
from lookahead_data.source.conversations import Shape, converse
from lookahead_data.source.memory import Data, as_files, as_paths
from lookahead_data.source.recognize import recognize
from lookahead_data.source.records import Record
from lookahead_data.source.unit import wanted_columns
from lookahead_data.stages.select import Choice


@dataclass(frozen=True)
class Run:
    """A run of neighbouring tokens of one kind.

    Attributes:
        kind: `context`, `preview` (context that shows the answer) or `supervised`.
        text: the tokens' text, special tokens included.
        ids: the tokens' ids.
    """

    kind: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class SeenRow:
    """A row as it is, or would be, written.

    Attributes:
        name: where it comes from.
        input_ids, labels: as written, shape (tokens,).
        runs: its tokens in runs; together they are the row.
    """

    name: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    runs: tuple[Run, ...]


def inspect(
    source: Data,
    settings: Settings | None = None,
    *,
    rows: int = 3,
    start: int = 0,
    listener: Listener | None = None,
    **changes: Any,
) -> tuple[list[SeenRow], list[Reject]]:
    """Rows of a finished folder, or of raw input as they would be written.

    Args:
        source: an output folder of `convert`, or any input that `convert` takes.
        settings: for raw input: what would be done to it; `changes` as for `convert`. A finished
            folder has its own, and of these only `tokenizer` matters (where it was moved since).
        rows, start: how many rows, from which on.
        listener: told which fields of raw input are read.

    Returns:
        The rows; and of raw input the rows among them that would be left out.

    Raises:
        LookaheadError: the source cannot be used.
    """
    paths = as_paths(source)
    if paths and len(paths) == 1 and (Path(paths[0]) / MANIFEST).is_file():
        given = changes.get("tokenizer") or (settings.tokenizer if settings else None)
        return list(_written(Path(paths[0]), rows, start, given)), []
    if paths and any((Path(path) / PLAN).is_file() for path in paths):
        raise OutputError(
            "is the folder of a job that is not finished",
            where=paths[0],
            remedy="Run the convert command again: it goes on where it stopped.",
        )
    chosen = (settings or Settings()).replace(**changes)
    with as_files(source, chosen) as files:
        check_sources(chosen.replace(mix={}), [file.name for file in files])
        recognition = recognize(files, chosen)
        shapes = recognition.shapes
        if listener is not None:
            listener.recognized([str(fields) for fields in recognition.fields])
        model = load_model(chosen, frozenset(shape.kind for shape in shapes))
        wanted = itertools.islice(_records(files, shapes, chosen), start, start + rows)
        converted_rows = itertools.chain.from_iterable(
            _converted((record for _, record in group), files[at], shapes[at], chosen, model)
            for at, group in itertools.groupby(wanted, key=operator.itemgetter(0))
        )
        seen: list[SeenRow] = []
        rejects: list[Reject] = []
        for converted in converted_rows:
            rejects += converted.rejects
            columns = converted.batch.select(["row", "input_ids", "labels", "previews"]).to_pylist()
            for row in columns:
                texts = [preview["text"] for preview in row["previews"]]
                seen.append(
                    _seen(f"row {row['row'] + 1}", row["input_ids"], row["labels"], texts, model.tokenizer)
                )
        return seen, rejects


def _records(
    files: Sequence[InputFile], shapes: Sequence[Shape], settings: Settings
) -> Iterator[tuple[int, Record]]:
    """The records of all files, each with the place of its file."""
    for at, (file, shape) in enumerate(zip(files, shapes, strict=True)):
        for record in readers.read_all(
            file, max_line_size=settings.max_line_size, names=wanted_columns(file, shape)
        ):
            yield at, record


def _converted(
    records: Iterator[Record], file: InputFile, shape: Shape, settings: Settings, model: Model
) -> Iterator[Converted]:
    choice = Choice(all_safe=is_safety_set(settings, file.name))
    return run_stages(converse(records, shape), build_stages(settings, model, choice))


def _written(folder: Path, rows: int, start: int, tokenizer: str | None) -> Iterator[SeenRow]:
    manifest = Manifest.load(folder)
    settings = manifest.settings
    loaded = load_tokenizer(tokenizer or str(settings.tokenizer))
    if loaded.sha256 != manifest.document["tokenizer"]["sha256"]:
        raise OutputError(
            f"the tokenizer {loaded.name} is not the one that these rows were made with",
            where=str(folder),
            remedy="Name the right one with --tokenizer.",
        )
    for shard in manifest.shards:
        with open_shard(shard) as reader:
            total = sum(reader.group_rows)
            if start >= total:
                start -= total
                continue
            groups = map(reader.group, range(len(reader.group_rows)))
            batches = itertools.chain.from_iterable(group.to_batches(256) for group in groups)
            entries = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
            wanted = itertools.islice(enumerate(entries), start, start + rows)
            for at, entry in wanted:
                name = f"{shard.relative_to(folder).as_posix()} row {at + 1}"
                documents = documents_of(entry)
                for number, (ids, labels) in enumerate(documents):
                    part = f"{name} document {number + 1}" if len(documents) > 1 else name
                    yield _seen(part, ids, labels, _preview_texts(ids, labels, settings, loaded), loaded)
                rows -= 1
            start = 0
        if rows <= 0:
            return


def _preview_texts(
    ids: Sequence[int], labels: Sequence[int], settings: Settings, tokenizer: LoadedTokenizer
) -> list[str]:
    """What a written row's previews most likely are: the connector and what follows it.

    The folder holds only tokens. In virtual mode the preview is known; in real mode it goes from the
    connector to the end of the message, which is the next special token.
    """
    context = tokenizer.decode([i for i, label in zip(ids, labels, strict=True) if label == IGNORED])
    if settings.mode == "virtual":
        return [settings.connector + settings.phrase]
    if settings.mode != "real" or not settings.connector.strip():
        return []
    pattern = tokenizer.special_pattern
    texts = []
    at = context.find(settings.connector)
    while at >= 0:
        end = pattern.search(context, at) if pattern else None
        stop = end.start() if end else len(context)
        # Where a message holds the connector itself, its last one begins the preview.
        texts.append(context[context.rfind(settings.connector, at, stop) : stop])
        at = context.find(settings.connector, stop)
    return texts


def _seen(
    name: str, ids: Sequence[int], labels: Sequence[int], previews: Iterable[str], tokenizer: LoadedTokenizer
) -> SeenRow:
    runs: list[Run] = []
    for supervised, group in itertools.groupby(
        zip(ids, labels, strict=True), key=lambda pair: pair[1] != IGNORED
    ):
        part = tuple(token for token, _ in group)
        text = tokenizer.decode(part)
        if supervised:
            runs.append(Run("supervised", text, part))
        else:
            runs += _mark_previews(text, part, previews)
    return SeenRow(name, tuple(ids), tuple(labels), tuple(runs))


def _mark_previews(text: str, ids: tuple[int, ...], previews: Iterable[str]) -> list[Run]:
    """A run of context, cut where a preview stands in it; the ids stay with the first part."""
    for preview in previews:
        # Templates may trim the end of a message, and the preview with it.
        for wanted in (preview, preview.rstrip()):
            at = text.rfind(wanted)
            if wanted and at >= 0:
                parts = [("context", text[:at]), ("preview", wanted), ("context", text[at + len(wanted) :])]
                return [
                    Run(kind, part, ids if n == 0 else ()) for n, (kind, part) in enumerate(parts) if part
                ]
    return [Run("context", text, ids)]
