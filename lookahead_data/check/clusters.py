"""What curation found, with the texts: near duplicates beside the row that stays, duplicates beside the first,
contaminated rows beside the evaluation item."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.check.account import BROKEN, words
from lookahead_data.config import MEMORY, Settings
from lookahead_data.curating import evaluation_shape
from lookahead_data.curation.fields import field_texts
from lookahead_data.errors import InputError, LookaheadError, OutputError, SettingsError
from lookahead_data.plan import InputFile, Plan
from lookahead_data.planning import divide
from lookahead_data.sink.manifest import PLAN
from lookahead_data.sink.publish import load_json, sha256_of
from lookahead_data.sink.verdicts import REPORTS, SUMMARY
from lookahead_data.source.conversations import Shape
from lookahead_data.source.discover import describe
from lookahead_data.source.unit import conversations_of
from lookahead_data.talk import Talk

Report = Literal["near_duplicates", "duplicates", "contamination"]

_KEYS: dict[str, tuple[str, str]] = {
    "near_duplicates": ("survivor_file", "survivor_row"),
    "duplicates": ("first_file", "first_row"),
    "contamination": ("evaluation", "evaluation_row"),
}
"""Where each report names the row that the others of a cluster are held against."""

_REMEDIES: dict[str, str] = {
    "near_duplicates": "--near-dedup 0.8",
    "duplicates": "--dedup prompt",
    "contamination": "--decontaminate FILE",
}

_PART = 1 << 20
"""Bytes of input that are read again for a row, where the format allows it."""


@dataclass(frozen=True)
class Member:
    """A row of a cluster.

    Attributes:
        file, row: where it stands.
        text: what was compared of it; None if its file is not at hand any more.
        similarity: of near duplicates, that to the cluster's first row.
        words, whole, overlap: of contaminated rows, how many words in a row they share with the item, whether
            that is all of it, and these words, as they were compared.
    """

    file: str
    row: int
    text: str | None = None
    similarity: float | None = None
    words: int | None = None
    whole: bool | None = None
    overlap: str | None = None


@dataclass(frozen=True)
class Cluster:
    """Rows that belong together.

    Attributes:
        first: the row that stays, or the evaluation item.
        members: the others, by file and row.
        more: how many further members are not among these.
    """

    first: Member
    members: tuple[Member, ...]
    more: int


@dataclass(frozen=True)
class Clusters:
    """Some of the clusters of a report.

    Attributes:
        report: `near_duplicates`, `duplicates` or `contamination`.
        clusters: those that were asked for.
        total: how many the report has.
        problems: why texts are missing, a line for each file.
    """

    report: Report
    clusters: tuple[Cluster, ...]
    total: int
    problems: tuple[str, ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The clusters as plain values for JSON; what does not apply is left out."""
        return [
            {
                "first": _plain(cluster.first),
                "members": [_plain(member) for member in cluster.members],
                "more": cluster.more,
            }
            for cluster in self.clusters
        ]


def _plain(member: Member) -> dict[str, Any]:
    return {name: value for name, value in asdict(member).items() if value is not None or name == "text"}


def inspect_clusters(
    folder: str | os.PathLike[str],
    report: Report = "near_duplicates",
    *,
    clusters: int = 3,
    start: int = 0,
    members: int = 10,
) -> Clusters:
    """What curation found, cluster by cluster, with the texts that were compared.

    The texts are read again from the inputs, where these are what they were.

    Args:
        folder: an output folder of `convert`, or a folder with a report of `curate`.
        report: `near_duplicates`, `duplicates` (of which the first row stays), or `contamination` (evaluation
            items, and the rows that share words with them).
        clusters, start: how many clusters, from which on.
        members: the most rows of a cluster, beside its first.

    Raises:
        OutputError: the folder holds no such report, or one that cannot be read.
    """
    if report not in _KEYS:
        raise SettingsError(f"{report!r} is no report", remedy=f"Choose one of: {', '.join(_KEYS)}.")
    found = _Curated.of(Path(folder), report)
    keys = _KEYS[report]
    frame = found.table
    if report == "near_duplicates":  # where the row that stays is told too
        frame = frame.filter((pl.col(keys[0]) != pl.col("file")) | (pl.col(keys[1]) != pl.col("row")))
    firsts = frame.select(keys).unique(maintain_order=True)
    chosen = firsts.slice(start, clusters)
    seen: list[Cluster] = []
    for file, row in chosen.rows():
        group = frame.filter((pl.col(keys[0]) == file) & (pl.col(keys[1]) == row))
        told = group.head(members).drop(*keys, "cluster", strict=False).to_dicts()
        more = max(0, len(group) - members)
        seen.append(Cluster(Member(file, row), tuple(Member(**values) for values in told), more))
    texts = _Texts(found, report)
    return Clusters(report, tuple(texts.added(seen)), len(firsts), tuple(texts.problems))


@dataclass(frozen=True)
class _Curated:
    """A report, and what it was made of.

    Attributes:
        shapes: of the inputs, by the name that the report has for them.
        inputs, evaluation: the SHA-256 of each file, by the name that the report has for it.
    """

    table: pl.DataFrame
    settings: Settings
    shapes: Mapping[str, Shape]
    inputs: Mapping[str, str]
    evaluation: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, report: Report) -> _Curated:
        """What a folder holds.

        Raises:
            OutputError: it holds no such report, or one that cannot be read.
        """
        of_convert = (folder / PLAN).is_file()
        document = folder / (PLAN if of_convert else SUMMARY)
        path = folder / (REPORTS if of_convert else "") / f"{report}.parquet"
        if not document.is_file() or not path.is_file():
            raise OutputError(
                f"there is no report on {report.replace('_', ' ')}",
                where=str(folder),
                remedy=f"Name the folder of a convert or curate command with {_REMEDIES[report]}.",
            )
        where = path
        try:
            table = pl.DataFrame(pq.read_table(path, page_checksum_verification=True))
            for name in ("file", "row", *_KEYS[report]):
                if name not in table.columns:
                    raise KeyError(name)
            where = document
            made_of = load_json(document)
            # Reports of earlier versions name no files.
            named = None if of_convert else made_of.get("files")
            if named is not None and named.get(path.name) != sha256_of(path):
                raise OutputError(
                    f"is not the table that {SUMMARY} names: writing the report was interrupted, or a file was changed",
                    where=str(path),
                    remedy="Run the curate command again with --overwrite.",
                )
            return cls(
                table,
                Settings.from_dict(made_of["settings"]),
                {entry["path"]: Shape(**entry["shape"]) for entry in made_of["inputs"]},
                {entry["path"]: entry["sha256"] for entry in made_of["inputs"]},
                {entry["path"]: entry["sha256"] for entry in made_of["evaluation"]},
            )
        except OutputError:
            raise
        except (OSError, pa.ArrowException, *BROKEN) as error:
            raise OutputError(words(error), where=str(where), remedy="Make the report again.") from None


class _Texts:
    """Adds their texts to rows.

    Attributes:
        problems: why texts are missing, a line for each file.
    """

    def __init__(self, curated: _Curated, report: Report) -> None:
        self._curated = curated
        settings = curated.settings
        self._field = {
            "near_duplicates": settings.near_dedup_on,
            "duplicates": settings.dedup,
            "contamination": "conversation",
        }[report]
        self._of_items = report == "contamination"
        self.problems: list[str] = []

    def added(self, clusters: Sequence[Cluster]) -> Iterator[Cluster]:
        """The clusters with the texts that can be had. Each file is read once."""
        firsts = {(cluster.first.file, cluster.first.row) for cluster in clusters}
        members = {(member.file, member.row) for cluster in clusters for member in cluster.members}
        curated = self._curated
        if self._of_items:
            texts = self._read(members, curated.inputs, self._of_input)
            of_firsts = self._read(firsts, curated.evaluation, self._of_evaluation)
        else:
            texts = of_firsts = self._read(firsts | members, curated.inputs, self._of_input)
        for cluster in clusters:
            first = replace(cluster.first, text=of_firsts.get((cluster.first.file, cluster.first.row)))
            others = (
                replace(member, text=texts.get((member.file, member.row))) for member in cluster.members
            )
            yield replace(cluster, first=first, members=tuple(others))

    def _of_input(self, file: InputFile) -> tuple[Shape, str]:
        return self._curated.shapes[file.name], self._field

    def _of_evaluation(self, file: InputFile) -> tuple[Shape, str]:
        return evaluation_shape(file, self._curated.settings)

    def _read(
        self,
        places: Iterable[tuple[str, int]],
        digests: Mapping[str, str],
        how: Callable[[InputFile], tuple[Shape, str]],
    ) -> dict[tuple[str, int], str]:
        """The texts of rows, by file and row.

        Args:
            digests: the SHA-256 that each file had.
            how: the shape of a file, and which field of its rows is the text.
        """
        rows: dict[str, list[int]] = defaultdict(list)
        for name, row in places:
            rows[name].append(row)
        found: dict[tuple[str, int], str] = {}
        for name, wanted in sorted(rows.items()):
            try:
                file = _unchanged(name, digests.get(name))
                for row, text in _texts(file, wanted, *how(file), self._curated.settings):
                    found[name, row] = text
            except LookaheadError as error:
                self.problems.append(f"{name}: {error.problem}; its rows are shown without their texts")
        return found


def _unchanged(name: str, digest: str | None) -> InputFile:
    """A file that is what it was.

    Raises:
        InputError: it is not, or not there.
    """
    if name == MEMORY:
        raise InputError("its rows were handed over in memory", where=name)
    file = describe(name)
    try:
        same = sha256_of(file.path) == digest
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=name) from None
    if not same:
        raise InputError("was changed since", where=name)
    return file


def _texts(
    file: InputFile, rows: Sequence[int], shape: Shape, field: str, settings: Settings
) -> Iterator[tuple[int, str]]:
    """Some rows of a file, and the text of each."""
    units = divide([file], settings.replace(unit_size=_PART))
    plan = Plan(settings, (file,), units, (asdict(shape),), tokenizer={}, template=None)
    starts = np.array([unit.first_row for unit in units])
    holders = np.searchsorted(starts, np.array(rows), "right") - 1
    for at in np.unique(holders).tolist():
        for staged, _ in conversations_of(units[at], plan):
            there = staged.batch.column("row").to_numpy()
            places = np.flatnonzero(np.isin(there, rows))
            texts = field_texts(Talk(staged.batch.column("messages")).of_rows(places), field)
            yield from zip(there[places].tolist(), texts.to_pylist(), strict=True)
