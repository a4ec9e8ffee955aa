"""The public functions; the command line calls the same ones."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from lookahead_data.backends.local import Crew, Job
from lookahead_data.config import Settings
from lookahead_data.curating import CurationReport, curate_corpus, report_on
from lookahead_data.curation.where import Condition
from lookahead_data.errors import OutputError, QuarantineError, SettingsError
from lookahead_data.listener import Listener
from lookahead_data.model.load import Model, token_counter
from lookahead_data.numerals import quarantine_limit
from lookahead_data.ordering import ranges_of
from lookahead_data.plan import InputFile, KeyRange, Plan, Unit
from lookahead_data.planning import plan_corpus, plan_job
from lookahead_data.rewrite.files import FileRewriter
from lookahead_data.rewrite.report import PreviewReport, quarantine_lines
from lookahead_data.sink.card import write_card
from lookahead_data.sink.folder import claim_folder, dated_as_before, drop_runs, drop_unnamed, held, sweep
from lookahead_data.sink.inventory import inventory
from lookahead_data.sink.load_from_disk import write_dataset_files
from lookahead_data.sink.manifest import Manifest
from lookahead_data.sink.publish import discard, left_beside, sweep_beside, write_text, writing
from lookahead_data.sink.receipts import QUARANTINE, Receipt, load_receipt
from lookahead_data.sink.rows import OUTPUT_FORMATS, table_of, write_lines, write_rows
from lookahead_data.sink.verdicts import refuse_folder, write_report
from lookahead_data.source.conversations import Shape, in_words
from lookahead_data.source.memory import Data, as_files, as_paths
from lookahead_data.source.readers import columnar
from lookahead_data.source.recognize import recognize


def convert(
    inputs: Data,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    strict: bool = False,
    max_quarantine: int | str | None = None,
    listener: Listener | None = None,
    **changes: Any,
) -> Manifest:
    """Convert a corpus to a folder of training-ready shards.

    Args:
        inputs: paths (files, folders, glob patterns), a list of dicts, an Arrow table or a Polars
            frame.
        output: the folder to write; it must be new, empty, or hold this same job half-way.
        settings: what to do; `changes` are settings given by name, on top of it.
        overwrite: replace another job's output in the folder.
        workers: how many processes convert; None is one a core. The output does not depend on it.
        strict: stop at the first row at fault, instead of putting such rows into quarantine.
        max_quarantine: so many rows, or such a share of those read (`"2%"`), may be in quarantine.
        listener: told of the progress.

    Returns:
        The manifest of the finished job.

    Raises:
        QuarantineError: the job is done, and more rows than `max_quarantine` are in quarantine.
        LookaheadError: the job cannot start or go on. Nothing half-done is left under a final name.
    """
    if max_quarantine is not None:
        quarantine_limit(max_quarantine, 0)  # refuse what is no limit before the work, not after it
    chosen = (settings or Settings()).replace(**changes)
    listener = listener or Listener()
    folder = Path(output)
    started = time.monotonic()
    _refuse_nested(as_paths(inputs), folder)
    with as_files(inputs) as files, Crew(files, chosen, workers) as crew:
        plan, model = plan_job(files, dated_as_before(folder, chosen))
        for warning in plan.warnings:
            listener.warned(warning)
        with held(folder):
            if claim_folder(folder, plan, overwrite=overwrite):
                listener.warned(f"{folder} is complete already; nothing was done")
                manifest = Manifest.load(folder)
            else:
                manifest = _convert_units(crew, plan, model, folder, listener, started, strict=strict)
    if max_quarantine is not None:
        _refuse_quarantine(manifest, max_quarantine)
    return manifest


def _convert_units(
    crew: Crew,
    plan: Plan,
    model: Model,
    folder: Path,
    listener: Listener,
    started: float,
    *,
    strict: bool,
) -> Manifest:
    """Convert the units that have no receipt yet, and close the account."""
    curation = curate_corpus(plan, folder, listener, model.count_tokens)
    job = Job(plan, folder, strict)
    receipts, todo = _earlier(plan.units, job, listener)
    shape = in_words(Shape(**shape) for shape in plan.shapes)
    listener.planned(size=sum(unit.size for unit in todo), units=len(todo), shape=shape)
    for receipt in crew.run(todo, job, model, listener.advanced):
        receipts[receipt.index] = receipt
    of_units = [receipts[unit.index] for unit in plan.units]
    ranges = _put_in_order(crew, job, of_units, model, listener) if plan.settings.is_ordered else []
    sweep(folder)  # what a worker that died left behind
    writers = [receipt for _, receipt in ranges] or of_units
    drop_unnamed(folder, [path for receipt in writers for shard in receipt.shards for path in shard.files])
    if not any(receipt.counts.written for receipt in of_units):
        listener.warned("no row was written; the manifest's counts say why")
    else:
        _warn_of_empty_splits(writers, plan.settings, listener)
    seconds = time.monotonic() - started
    of_ranges = [receipt for _, receipt in ranges]
    manifest = Manifest.build(folder, plan, of_units, {"seconds": round(seconds, 3)}, curation, of_ranges)
    write_card(manifest)
    write_dataset_files(manifest)
    manifest = manifest.with_files(
        inventory(
            folder,
            [*zip(plan.units, of_units, strict=True), *ranges],
            profile=plan.settings.chosen_profile,
            curated=plan.settings.looks_at_all,
        )
    )
    manifest.save()
    drop_runs(folder)
    listener.finished()
    return manifest


def _warn_of_empty_splits(writers: Sequence[Receipt], settings: Settings, listener: Listener) -> None:
    rows = Counter(dict.fromkeys(settings.splits, 0))
    for receipt in writers:
        for shard in receipt.shards:
            rows[shard.split] += shard.rows
    for name, count in rows.items():
        if not count:
            listener.warned(
                f"the split {name} has no rows, so the dataset card leaves it out; raise its share"
            )


def _put_in_order(
    crew: Crew, job: Job, of_units: Sequence[Receipt], model: Model, listener: Listener
) -> list[tuple[KeyRange, Receipt]]:
    """Write the rows that all units converted in the order that is asked for; gives its ranges and their receipts."""
    runs = tuple(run for receipt in of_units for run in receipt.runs)
    tasks = ranges_of(job.plan.settings, of_units)
    receipts, todo = _earlier(tasks, job, listener)
    listener.looking("putting rows in order", sum(run.size for run in runs))
    for receipt in crew.run(
        todo, job._replace(runs=runs), model, lambda rows, tokens, size: listener.looked(rows, size)
    ):
        receipts[receipt.index] = receipt
    return [(task, receipts[task.index]) for task in tasks]


Task = TypeVar("Task", Unit, KeyRange)


def _earlier(tasks: Sequence[Task], job: Job, listener: Listener) -> tuple[dict[int, Receipt], list[Task]]:
    """The receipts of what was finished before, by index, and what is left to do."""
    found = ((task.index, load_receipt(job.folder, task, job.plan.fingerprint)) for task in tasks)
    receipts = {index: receipt for index, receipt in found if receipt is not None}
    todo = [task for task in tasks if task.index not in receipts]
    if receipts:
        kind = "units" if isinstance(tasks[0], Unit) else "ranges"
        listener.warned(f"going on with {len(todo)} of {len(tasks)} {kind}; the others are done")
    return receipts, todo


def _refuse_quarantine(manifest: Manifest, allowed: int | str) -> None:
    read, found = manifest.totals["read"], sum(manifest.totals["quarantined"].values())
    if found > quarantine_limit(allowed, read):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in manifest.totals["quarantined"].items())
        raise QuarantineError(
            f"{found:,} of {read:,} rows are in quarantine ({reasons}), and {allowed} may be",
            where=str(manifest.folder / QUARANTINE),
            remedy="The folder is complete without these rows: look at them, and decide.",
        )


def curate(
    inputs: Data,
    output: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **changes: Any,
) -> CurationReport:
    """Tell which rows of a corpus `convert` would leave out by the same settings, and why.

    Args:
        inputs: as for `convert`.
        output: the folder to write `verdicts.parquet`, the reports and `summary.json` to; None writes none.
        settings: what to look for; `changes` are settings given by name, on top of it. Only conditions on tokens
            need a tokenizer.
        overwrite: replace an earlier report in the folder.
        listener: told of the progress.

    Raises:
        LookaheadError: an input cannot be read, a setting is wrong, or the folder cannot be written.
    """
    chosen = (settings or Settings()).replace(**changes)
    listener = listener or Listener()
    if not chosen.chooses:
        raise SettingsError(
            "nothing is looked for",
            remedy="Use --dedup, --near-dedup, --decontaminate, --where, --keep, --mix or --safety-share.",
        )
    folder = None if output is None else Path(output)
    if folder is not None:
        refuse_folder(folder, overwrite=overwrite)
    with as_files(inputs) as files, tempfile.TemporaryDirectory(prefix="lookahead-data-") as work:
        shapes, warnings = recognize(files, chosen.replace(mode="none"))
        for warning in warnings:
            listener.warned(warning)
        plan = plan_corpus(files, chosen, shapes)
        counts = any(Condition(text).counts_tokens for text in chosen.where)
        report = report_on(plan, Path(work), listener, token_counter(chosen) if counts else None)
    if folder is not None:
        write_report(folder, report.verdicts, report.reports, {**report.to_dict(), **report.made_of})
    listener.finished()
    return report


@dataclass(frozen=True)
class Previewed:
    """Rows with previews, of the type in which they were given, and what became of all of them."""

    rows: Any
    report: PreviewReport


def preview(
    inputs: Data,
    output: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    *,
    format: str | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
    **changes: Any,
) -> Previewed:
    """Put the previews into a corpus and leave everything else as it is.

    Args:
        inputs: as for `convert`.
        output: the file to write; None gives the rows back instead: a list of dicts, or an Arrow
            table or Polars frame where one was given.
        settings: what to do; `changes` are settings given by name, on top of it. Only the source and
            preview settings and the tokenizer matter; virtual mode needs no tokenizer.
        format: `jsonl`, `json` or `parquet`; None goes by the ending of `output`.
        overwrite: replace the file if it is there.
        listener: told of the progress.

    Returns:
        The report, and the rows if `output` is None. Rows at fault are left out, and stand in
        `report.rejects` and beside the file in `OUTPUT.quarantine.jsonl`.

    Raises:
        LookaheadError: the job cannot start or go on. The file is written whole or not at all.
    """
    chosen = (settings or Settings()).replace(**changes)
    listener = listener or Listener()
    with as_files(inputs) as files:
        if output is None:
            rewriter = FileRewriter(files, chosen, listener)
            rows = list(itertools.chain.from_iterable(rewriter.rows()))
            return Previewed(_as_given(rows, inputs, files), rewriter.report)
        path = Path(output)
        kind = _output_format(path, format)
        rejects = path.with_name(path.name + ".quarantine.jsonl")
        _refuse_replacing(path, rejects, files, overwrite=overwrite)
        rewriter = FileRewriter(files, chosen, listener)
        if kind == "parquet" and rewriter.mixed:
            raise SettingsError(
                f"rows of different shapes do not go into one table ({rewriter.report.shape})",
                remedy="Write JSON Lines with --format jsonl, or a file for each shape.",
            )
        sweep_beside(path)
        report = rewriter.report
        earlier = rejects.exists()

        def publish_rejects() -> None:
            # Before the rows are there: whoever finds these finds the whole account. An earlier file is removed
            # only once its rows are replaced.
            if report.rejects:
                write_text(rejects, quarantine_lines(report, files))

        try:
            if kind == "jsonl":
                write_lines(rewriter.lines(), path, publish_rejects)
            else:
                write_rows(rewriter.rows(), path, kind, _common_schema(files), publish_rejects)
        except BaseException:
            if not (path.exists() or earlier):  # rejects without rows are no output
                discard(rejects)
            raise
        if not report.rejects:
            with writing(rejects):
                rejects.unlink(missing_ok=True)
    return Previewed(None, rewriter.report)


def _refuse_replacing(path: Path, rejects: Path, files: Sequence[InputFile], *, overwrite: bool) -> None:
    """Refuse to write over a file that is not to be replaced."""
    if path.exists() and not overwrite:
        raise OutputError(
            "the file is there already", where=str(path), remedy="Name another file, or use --overwrite."
        )
    sources = {Path(file.path).resolve() for file in files}
    if path.resolve() in sources:
        raise OutputError("is one of the inputs", where=str(path))
    # Rejects without rows, beside what a killed process left unfinished, are of that process.
    ours = not path.exists() and bool(left_beside(path))
    if rejects.exists() and (not (overwrite or ours) or rejects.resolve() in sources):
        raise OutputError(
            "the file for rows at fault is there already",
            where=str(rejects),
            remedy="Name another output, or move that file away.",
        )


def _refuse_nested(paths: Sequence[str] | None, folder: Path) -> None:
    """Refuse an output folder inside an input folder or the other way round."""
    target = folder.resolve()
    for path in map(Path, paths or ()):
        source = path.resolve()
        if source == target or (path.is_dir() and source in target.parents) or target in source.parents:
            raise OutputError(
                f"the output folder and the input {path} lie inside each other",
                where=str(folder),
                remedy="Name an output folder that lies elsewhere.",
            )


def _output_format(path: Path, format: str | None) -> str:
    kind = format or {".jsonl": "jsonl", ".json": "json", ".parquet": "parquet"}.get(path.suffix.lower())
    if kind not in OUTPUT_FORMATS:
        raise SettingsError(
            f"{format or path.name!r} tells no format to write",
            remedy=f"Use --format with one of: {', '.join(OUTPUT_FORMATS)}.",
        )
    return kind


def _common_schema(files: Sequence[InputFile]) -> pa.Schema | None:
    """The one schema of columnar inputs, which a Parquet output keeps."""
    if any(file.format not in ("parquet", "arrow") for file in files):
        return None
    schemas = [columnar.schema(file) for file in files]
    if not all(schema.equals(schemas[0]) for schema in schemas):
        return None
    return pa.schema([_open_ended(field) for field in schemas[0]])


def _open_ended(field: pa.Field) -> pa.Field:
    """A field for changed text: a dictionary, or the fixed one of a Polars Enum, would not hold it."""
    if pa.types.is_dictionary(field.type):
        return pa.field(field.name, field.type.value_type, field.nullable)
    return field


def _as_given(rows: list[dict[str, Any]], given: Data, files: Sequence[InputFile]) -> Any:
    if not isinstance(given, pa.Table | pa.RecordBatch | pl.DataFrame | pl.LazyFrame):
        return rows
    table = table_of(rows, _common_schema(files))
    return table if isinstance(given, pa.Table | pa.RecordBatch) else pl.from_arrow(table)
