"""Passes over the whole corpus before it is converted: duplicates, near duplicates, contamination, shares.

Each looks at the rows that the ones before it left: conditions first, then contamination, exact and near
duplicates, so that no row goes as the copy of one that goes too. Sampling is last: its shares are of what is left.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags, Ints
from lookahead_data.batches import Reject
from lookahead_data.config import Settings
from lookahead_data.curation.classes import CLASSES
from lookahead_data.curation.contamination import Contamination
from lookahead_data.curation.exact import Keys, exact_duplicates, message_keys, with_given
from lookahead_data.curation.fields import field_lists, field_roles, field_texts
from lookahead_data.curation.mixing import (
    Amounts,
    Quota,
    Quotas,
    amounts_of,
    is_safety_set,
    source_of,
    written_of,
)
from lookahead_data.curation.normalize import Form, Normalization
from lookahead_data.curation.ranks import RankFile
from lookahead_data.curation.shingles import Shingling
from lookahead_data.curation.where import CountTokens
from lookahead_data.errors import InputError, RowError
from lookahead_data.listener import Listener
from lookahead_data.plan import InputFile, Plan
from lookahead_data.rowhash import FILE_BITS, numbers_of
from lookahead_data.sink.publish import writing
from lookahead_data.sink.verdicts import SCHEMA, load_curation, save_verdicts
from lookahead_data.source import readers
from lookahead_data.source.conversations import Shape, converse
from lookahead_data.source.recognize import recognize
from lookahead_data.source.unit import conversations_of
from lookahead_data.stages.select import Selection, sampled
from lookahead_data.talk import Talk
from lookahead_data.texts import says_something


def curate_corpus(
    plan: Plan, folder: Path, listener: Listener, count_tokens: CountTokens | None = None
) -> Mapping[str, Any] | None:
    """Find the rows that are not to be converted, and publish the verdicts on them; gives what the manifest
    says of it, None if nothing asks for it. What an earlier run of the job found stays.

    Args:
        folder: the output folder, which is held.
        count_tokens: of texts, for conditions on tokens.

    Raises:
        LookaheadError: an input cannot be read, or the output cannot be written.
    """
    settings = plan.settings
    if not settings.looks_at_all:
        return None
    if earlier := load_curation(folder, plan.fingerprint):
        return earlier
    work = _Work(plan, listener, count_tokens)
    work.look(folder / "_job")
    return save_verdicts(folder, plan, work.verdicts(), work.reports, work.counts)


@dataclass(frozen=True)
class CurationReport:
    """What curation would leave out of a corpus.

    Attributes:
        verdicts: a row that goes: `file`, `row`, `reason` (see `errors.REASONS`), `message`; by file and row.
        reports: `duplicates`, `near_duplicates` (clusters) and `contamination`, as far as they were asked for.
        counts: of each report, in words and numbers.
        made_of: what was looked at, and by which settings, as `Plan.document` has it.
        unread: how many of the verdicts are on rows that cannot be read, by reason; `convert` puts these into
            quarantine.
    """

    verdicts: pa.Table
    reports: Mapping[str, pa.Table]
    counts: Mapping[str, Any]
    made_of: Mapping[str, Any]
    unread: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the tables."""
        reasons = Counter(self.verdicts.column("reason").to_pylist())
        left_out = reasons - Counter(self.unread)
        return {
            "left_out": dict(sorted(left_out.items())),
            "quarantined": dict(sorted(self.unread.items())),
            **self.counts,
        }


def report_on(
    plan: Plan, work_folder: Path, listener: Listener, count_tokens: CountTokens | None = None
) -> CurationReport:
    """Look at a whole corpus without converting it.

    Args:
        work_folder: where to spill what does not fit in memory.
        count_tokens: of texts, for conditions on tokens.
    """
    work = _Work(plan, listener, count_tokens, keep_unread=True)
    if plan.settings.where:
        work.judge_conditions()
    work.look(work_folder)
    if plan.settings.keep or plan.settings.mix or plan.settings.has_shares:
        work.sample()
    verdicts = _frame(work.verdicts())
    names = pl.Series([file.name for file in plan.inputs], dtype=pl.String)
    shown = verdicts.with_columns(names.gather(verdicts["file"]).alias("file"))
    document = plan.document()
    made_of = {name: document[name] for name in ("settings", "inputs", "evaluation", "versions")}
    return CurationReport(shown.to_arrow(), work.reports, work.counts, made_of, work.unread)


@dataclass(frozen=True)
class _Rows:
    """Rows of one file that can be read.

    Attributes:
        numbers: in the corpus, shape (rows,).
        batch, talk: their conversations.
        safe: which are of the class safety, shape (rows,).
        file: the name of their file.
    """

    numbers: Ints
    batch: pa.RecordBatch
    talk: Talk
    safe: Flags
    file: str

    def where(self, kept: Flags) -> _Rows:
        """Only the rows that are kept."""
        if kept.all():
            return self
        places = np.flatnonzero(kept)
        batch = self.batch.take(pa.array(places))
        return _Rows(self.numbers[places], batch, Talk.of(batch), self.safe[places], self.file)


class _Work:
    """The passes and what they found so far.

    Attributes:
        reports, counts: see `save_verdicts`.
        quotas: how many rows are written, once they were counted.
        unread: rows that cannot be read, by reason, once they were passed over.
    """

    def __init__(
        self,
        plan: Plan,
        listener: Listener,
        count_tokens: CountTokens | None = None,
        *,
        keep_unread: bool = False,
    ) -> None:
        """
        Args:
            listener: told of the progress of each pass.
            count_tokens: of texts, for conditions on tokens.
            keep_unread: have verdicts on rows that cannot be read, too.
        """
        self.plan, self.listener = plan, listener
        self.unread: Counter[str] = Counter()
        self._keep_unread = keep_unread
        self.reports: dict[str, pa.Table] = {}
        self.counts: dict[str, Any] = {}
        self.quotas: Quotas | None = None
        self._selection = Selection(plan.settings, count_tokens)
        # Numbers, reasons and messages of the rows that go, and the numbers again, ascending.
        self._found: list[pa.Table] = []
        self._gone: Ints = np.zeros(0, np.int64)

    def look(self, folder: Path) -> None:
        """Make the passes that the settings ask for.

        Args:
            folder: where to spill what does not fit in memory.
        """
        settings = self.plan.settings
        with writing(folder), tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as name:
            if settings.decontaminate:
                self.decontaminate()
            if settings.dedup != "none":
                self.deduplicate(Path(name))
            if settings.near_dedup is not None:
                self.deduplicate_nearly(Path(name))
            if settings.has_shares:
                self.count(Path(name))

    def judge_conditions(self) -> None:
        """Judge the rows that conditions leave out."""
        for rows in self._all_rows("choosing rows"):
            left = np.ones(len(rows.numbers), bool)
            for goes, why in self._selection.conditions(rows.batch, rows.talk, rows.safe):
                self._judge_all(rows.numbers[left & goes], why)
                left &= ~goes

    def count(self, folder: Path) -> None:
        """Count the rows that are left, by source and class, and find how many and which are to be written."""
        settings = self.plan.settings
        shape = (len(settings.mix) + 1, len(CLASSES))
        with RankFile(folder / "ranks", shape[0] * shape[1]) as ranks:
            for rows in self._rows("counting rows"):
                source = source_of(rows.file, list(settings.mix))
                groups = source * shape[1] + np.where(rows.safe, 0, 1)
                ranks.add(groups, self._selection.hashes(rows.talk), rows.numbers)
            counted = ranks.counts.reshape(shape)
            amounts = amounts_of(settings, counted)
            written = written_of(settings, counted, amounts)
            bare = [
                Quota(*pair) for pair in zip(counted.ravel().tolist(), written.ravel().tolist(), strict=True)
            ]
            lasts = ranks.lasts(np.array([quota.more for quota in bare]))
        met = [Quota(q.rows, q.written, last) for q, last in zip(bare, lasts, strict=True)]
        self.quotas = [
            dict(zip(CLASSES, met[at : at + shape[1]], strict=True)) for at in range(0, len(met), shape[1])
        ]
        names = [*settings.mix, "other inputs"]
        self.counts["mixing"] = {
            "rows": {
                name: dict(zip(CLASSES, row, strict=True))
                for name, row in zip(names, counted.tolist(), strict=True)
            },
            "amounts": amounts.to_dict(),
            "quotas": [
                {name: quota.to_dict() for name, quota in of_source.items()} for of_source in self.quotas
            ],
        }

    def sample(self) -> None:
        """Judge the rows that sampling leaves out."""
        settings = self.plan.settings
        amounts = Amounts.named(settings) if self.quotas is None else None
        left_out = repeated = 0
        for rows in self._rows("sampling rows"):
            if amounts:
                rates = amounts.rates(settings, rows.file)
                copies = self._selection.copies(rows.talk, rows.safe, rates)
            else:
                assert self.quotas is not None
                quotas = self.quotas[source_of(rows.file, list(settings.mix))]
                rates = {name: quota.rate for name, quota in quotas.items()}
                copies = self._selection.copies_due(rows.talk, rows.safe, rows.numbers, quotas)
            left_out += int(np.count_nonzero(copies == 0))
            repeated += int(np.maximum(copies - 1, 0).sum())
            for name, mine in zip(CLASSES, (rows.safe, ~rows.safe), strict=True):
                self._judge_all(rows.numbers[mine & (copies == 0)], sampled(name, rates[name]))
        self.counts["sampling"] = {"rows": left_out, "repeated": repeated}

    def decontaminate(self) -> None:
        settings = self.plan.settings
        items, sources, unread = _evaluation_items(self.plan)
        for file, row, reason in unread:
            self.listener.warned(f"row {row + 1} of {file} cannot be looked for: {reason}")
        search = Contamination(items, settings.contamination_ngram, settings.evaluation_min_words)
        if short := len(search.short):
            self.listener.warned(
                f"{short:,} of {len(items):,} items are not looked for, since they have fewer than "
                f"{settings.evaluation_min_words} words (--evaluation-min-words)"
            )
        rows_left = self._rows("looking for evaluation items")
        texts = ((rows.numbers, field_texts(rows.talk, "conversation")) for rows in rows_left)
        frame = _frame(search.find_all(texts))
        frame = self._placed(frame, "row", "").with_columns(
            pl.Series("evaluation", [sources[item][0] for item in frame["item"]], dtype=pl.String),
            pl.Series("evaluation_row", [sources[item][1] for item in frame["item"]], dtype=pl.Int64),
        )
        shown = frame.select("file", "row", "evaluation", "evaluation_row", "words", "whole", "overlap")
        self.reports["contamination"] = shown.to_arrow()
        self.counts["contamination"] = {
            "items": len(items),
            "items_not_read": len(unread),
            "items_too_short": short,
            "items_found": frame["item"].n_unique(),
            "rows": frame["number"].n_unique(),
            "left_out": settings.contamination == "filter",
        }
        if settings.contamination == "filter":
            first = frame.sort("words", descending=True, maintain_order=True).unique(
                "number", keep="first", maintain_order=True
            )
            message = pl.format(
                "shares {} words with row {} of {}: {}",
                "words", pl.col("evaluation_row") + 1, "evaluation", pl.col("overlap").str.slice(0, 200),
            )  # fmt: skip
            self._judge(
                first.select("number", pl.lit("contaminated").alias("reason"), message.alias("message"))
            )

    def deduplicate(self, folder: Path) -> None:
        settings = self.plan.settings
        same = _normalization(settings)

        def keyed() -> Iterator[tuple[Ints, Keys]]:
            for rows in self._rows("looking for duplicates"):
                # What says nothing is nobody's duplicate: plain text has no prompt, say.
                said = says_something(field_texts(rows.talk, settings.dedup))
                rows = rows.where(said)
                talk = rows.talk
                contents = _normalized(field_lists(talk, settings.dedup), same)
                keys = message_keys(field_roles(talk, settings.dedup), contents)
                if settings.dedup != "completion":
                    keys = with_given(keys, rows.batch)
                yield rows.numbers, keys

        frame = _frame(exact_duplicates(keyed(), folder))
        frame = self._placed(self._placed(frame, "first", "first_"), "row", "")
        self.reports["duplicates"] = frame.select("file", "row", "first_file", "first_row").to_arrow()
        self.counts["duplicates"] = {"rows": len(frame), "by": settings.dedup}
        message = pl.format("repeats row {} of {}", pl.col("first_row") + 1, "first_file")
        self._judge(frame.select("number", pl.lit("duplicate").alias("reason"), message.alias("message")))

    def deduplicate_nearly(self, folder: Path) -> None:
        # Loaded only here: SciPy and datasketch take as long as all else, and few jobs need them.
        from lookahead_data.curation.near import NearSettings, near_duplicates

        settings = self.plan.settings
        assert settings.near_dedup is not None
        near = NearSettings(
            threshold=settings.near_dedup,
            num_perm=settings.near_dedup_permutations,
            shingling=Shingling(size=settings.near_dedup_ngram),
            verify=settings.near_dedup_verify,
            keep=settings.near_dedup_keep,
        )
        rows_left = self._rows("looking for near duplicates")
        texts = ((rows.numbers, field_texts(rows.talk, settings.near_dedup_on)) for rows in rows_left)
        result = near_duplicates(texts, folder, near, self.listener)
        frame = _frame(result.clusters).with_columns(stays=pl.col("row") == pl.col("survivor"))
        frame = self._placed(self._placed(frame, "survivor", "survivor_"), "row", "")
        shown = frame.select("cluster", "file", "row", "survivor_file", "survivor_row", "similarity")
        self.reports["near_duplicates"] = shown.to_arrow()
        self.counts["near_duplicates"] = {
            "clusters": frame["cluster"].n_unique(),
            "rows": int((~frame["stays"]).sum()),
            "by": settings.near_dedup_on,
            "threshold": settings.near_dedup,
            "bands": result.bands.b,
            "values_a_band": result.bands.r,
            "pairs_not_compared": result.left_out,
        }
        message = pl.format(
            "is nearly row {} of {} (similarity {})",
            pl.col("survivor_row") + 1, "survivor_file", pl.col("similarity").round(3),
        )  # fmt: skip
        goes = frame.filter(~pl.col("stays"))
        self._judge(goes.select("number", pl.lit("near_duplicate").alias("reason"), message.alias("message")))

    def verdicts(self) -> pa.Table:
        """All verdicts, by file and row."""
        empty = pl.DataFrame(schema={"number": pl.Int64, "reason": pl.String, "message": pl.String})
        frame = (
            pl.concat([empty, *map(_frame, self._found)])
            .sort("number")
            .with_columns(file=pl.col("number") // (1 << FILE_BITS), row=pl.col("number") % (1 << FILE_BITS))
        )
        return frame.select("file", *SCHEMA.names).to_arrow().cast(pa.schema([("file", pa.int64()), *SCHEMA]))

    def _rows(self, what: str) -> Iterator[_Rows]:
        """The rows that are left, in order.

        Args:
            what: the pass that reads them, for people.
        """
        for rows in self._all_rows(what):
            kept = ~np.isin(rows.numbers, self._gone)
            for goes, _ in self._selection.conditions(rows.batch, rows.talk, rows.safe):
                kept &= ~goes
            yield rows.where(kept)

    def _all_rows(self, what: str) -> Iterator[_Rows]:
        """The rows that can be read, in order."""
        plan = self.plan
        self.listener.looking(what, sum(unit.size for unit in plan.units))
        for unit in plan.units:
            name = plan.inputs[unit.file].name
            all_safe = is_safety_set(plan.settings, name)
            for staged, size in conversations_of(unit, plan):
                batch = staged.batch
                talk = Talk.of(batch)
                safe = self._selection.are_safety(batch, talk, all_safe=all_safe)
                numbers = numbers_of(batch.column("row").to_numpy(), unit.file).astype(np.int64)
                yield _Rows(numbers, batch, talk, safe, name)
                self.listener.looked(batch.num_rows + len(staged.rejects), size)
                if self._keep_unread:
                    self._take_unread(staged.rejects, unit.file)
        self._keep_unread = False  # the first pass has seen them all

    def _take_unread(self, rejects: Sequence[Reject], file: int) -> None:
        if rejects:
            numbers = numbers_of([reject.row for reject in rejects], file).astype(np.int64)
            reasons, messages = ([getattr(r, name) for r in rejects] for name in ("reason", "message"))
            self.unread.update(reasons)
            columns = {"number": numbers, "reason": reasons, "message": messages}
            self._found.append(pl.DataFrame(columns).to_arrow())

    def _judge_all(self, numbers: Ints, why: RowError) -> None:
        """Judge rows that go for one reason."""
        if len(numbers):
            frame = pl.DataFrame({"number": numbers})
            self._judge(frame.with_columns(reason=pl.lit(why.reason), message=pl.lit(why.message)))

    def _judge(self, frame: pl.DataFrame) -> None:
        self._found.append(frame.to_arrow())
        self._gone = np.union1d(self._gone, frame["number"].to_numpy())

    def _placed(self, frame: pl.DataFrame, column: str, prefix: str) -> pl.DataFrame:
        """With the file and row in place of the number in `column`; that of the row itself stays as `number`."""
        names = pl.Series([file.name for file in self.plan.inputs], dtype=pl.String)
        numbers = frame[column]
        added = [
            names.gather(numbers // (1 << FILE_BITS)).alias(f"{prefix}file"),
            (numbers % (1 << FILE_BITS)).alias(f"{prefix}row"),
        ]
        return frame.with_columns(*([] if prefix else [numbers.alias("number")])).with_columns(added)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _normalization(settings: Settings) -> Normalization:
    ignored = settings.dedup_ignores
    form: Form | None = "NFKC" if "compat" in ignored else "NFC" if "form" in ignored else None
    return Normalization(form, "case" in ignored, "space" in ignored)


def _normalized(lists: pa.ListArray, same: Normalization) -> pa.ListArray:
    return pa.ListArray.from_arrays(lists.offsets, same(lists.flatten()))


def _evaluation_items(
    plan: Plan,
) -> tuple[pa.LargeStringArray, Sequence[tuple[str, int]], Sequence[tuple[str, int, str]]]:
    """The texts of all evaluation items, and of each its file and row; and the file and row of those that
    cannot be read, and why."""
    texts: list[pa.Array] = [pa.array([], pa.large_string())]
    sources: list[tuple[str, int]] = []
    unread: list[tuple[str, int, str]] = []
    for file in plan.evaluation:
        shape, field_ = evaluation_shape(file, plan.settings)
        records = readers.read_all(file, max_line_size=plan.settings.max_line_size)
        for staged, _ in converse(records, shape):
            talk = Talk.of(staged.batch)
            texts.append(field_texts(talk, field_))
            sources += [(file.name, row) for row in staged.batch.column("row").to_pylist()]
            unread += [(file.name, reject.row, reject.message) for reject in staged.rejects]
    return pa.concat_arrays(texts), sources, unread


def evaluation_shape(file: InputFile, settings: Settings) -> tuple[Shape, str]:
    """The shape of a file of evaluation items, and which field of a row (see `curation.fields`) is its item.

    Raises:
        InputError: the file cannot be read, or nothing tells where its items are.
    """
    name = settings.evaluation_field
    try:
        settings = Settings(mode="none", shape="text" if name else "auto", input_field=name)
        (shape,) = recognize([file], settings).shapes
    except InputError as error:
        remedy = "Name the field of the items' text with --evaluation-field."
        raise InputError(error.problem, where=error.where, remedy=remedy) from None
    return shape, "conversation" if shape.kind == "text" else "prompt"
