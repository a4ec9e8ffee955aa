"""Whether the rows of a row group are fit to train on. Nothing here loops over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, offsets_of, whole_array
from lookahead_data.columns import IGNORED
from lookahead_data.config import Settings
from lookahead_data.sink.profiles import PROFILES, Profile

Tokens = npt.NDArray[np.signedinteger]
Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What must hold for every row of a folder, beside what holds for all folders.

    Attributes:
        profile: what columns there are, and what they mean.
        vocabulary: all ids are less than this; None is not known.
        max_length: the most tokens of a row; None is no limit.
        filled: every row has as many, since those that are not full are filled up or left out.
        cut: rows may hold pieces of documents, which have other lengths than their documents.
    """

    profile: Profile
    vocabulary: int | None
    max_length: int | None
    filled: bool = False
    cut: bool = False


def rules_for(settings: Settings, vocabulary: int | None) -> Rules:
    """What must hold for every row that a job with these settings wrote."""
    return Rules(
        PROFILES[settings.chosen_profile],
        vocabulary,
        settings.pack or settings.max_length,
        filled=settings.tail != "keep",
        cut=settings.packing == "concat" or settings.overlength == "split",
    )


@dataclass
class Tally:
    """What was read.

    Attributes:
        rows, tokens, supervised_tokens: padding is counted among the tokens.
        lengths: how many documents have how many tokens.
        idle: those of these documents that have no supervised token, as padding has none.
        idle_rows: packed rows that have no supervised token.
    """

    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    idle: Counter[int] = field(default_factory=Counter)
    idle_rows: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        self.rows += other.rows
        self.tokens += other.tokens
        self.supervised_tokens += other.supervised_tokens
        self.lengths.update(other.lengths)
        self.idle.update(other.idle)
        self.idle_rows += other.idle_rows
        return self


@dataclass
class Flaws:
    """The first row that has each kind of flaw, with what is wrong there, and how many rows have it."""

    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)

    def mark(self, kind: str, flawed: Marks, start: int, tell: Callable[[int], str]) -> None:
        """Note a kind of flaw.

        Args:
            flawed: which rows have it, shape (rows,).
            start: the place in the shard of the first of these rows.
            tell: what is wrong with one of these rows.
        """
        places = np.flatnonzero(flawed)
        if len(places):
            at = int(places[0])
            self.first.setdefault(kind, (start + at, tell(at)))
            self.rows[kind] += len(places)

    def told(self) -> Iterator[tuple[int, str]]:
        """For each kind of flaw its first row, and what is wrong there."""
        for kind, (row, what) in self.first.items():
            more = self.rows[kind] - 1
            yield row, what + (f" (so in {more:,} more rows of this shard)" if more else "")


@dataclass(frozen=True)
class _Lists:
    """A column of lists: its values, and where each row's begin, shape (rows + 1,)."""

    values: Tokens
    offsets: Ints

    @classmethod
    def of(cls, column: pa.ListArray) -> _Lists:
        return cls(column.flatten().to_numpy(), offsets_of(column))

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    def rows_with(self, marks: Marks) -> Marks:
        """The rows in which a value is marked; `marks` has the shape of the values."""
        return self.count(marks) > 0

    def count(self, marks: Marks) -> Ints:
        """How many values of each row are marked, shape (rows,)."""
        # Sums up to each value, rather than `reduceat`, which gives an empty row the next one's value.
        sums = np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])
        counts: Ints = sums[self.offsets[1:]] - sums[self.offsets[:-1]]
        return counts

    def place(self, row: int, marks: Marks) -> int:
        """The first token of a row that is marked."""
        return int(np.argmax(marks[self.offsets[row] : self.offsets[row + 1]]))

    def value(self, row: int, place: int) -> int:
        return int(self.values[self.offsets[row] + place])


def check_rows(group: pa.Table, rules: Rules, start: int, flaws: Flaws) -> Tally:
    """Check all rows of a row group.

    Args:
        group: with the columns of the profile.
        start: the place in the shard of its first row.
        flaws: gets what is wrong.
    """
    columns: dict[str, pa.ListArray] = {
        name: whole_array(group.column(name)) for name in rules.profile.columns
    }
    if any(_mark_nulls(name, column, start, flaws) for name, column in columns.items()):
        return Tally(rows=group.num_rows)
    lists = {name: _Lists.of(column) for name, column in columns.items()}
    ids = lists["input_ids"]
    _mark_ids(ids, rules, start, flaws)
    for name in _ALIGNED & set(lists):
        other = lists[name]
        flaws.mark(
            name,
            other.lengths != ids.lengths,
            start,
            lambda row, name=name, other=other: (  # type: ignore[misc]
                f"holds {ids.lengths[row]:,} input_ids and {other.lengths[row]:,} {name}"
            ),
        )
    if "attention_mask" in lists:
        mask = lists["attention_mask"]
        _mark_tokens("mask", mask, mask.values != 1, start, flaws, "has the attention mask {}, not 1")
    tally = Tally(rows=group.num_rows, tokens=len(ids.values))
    if not all(np.array_equal(lists[name].offsets, ids.offsets) for name in _ALIGNED & set(lists)):
        return tally
    starts = _document_starts(lists, start, flaws)
    if "labels" in lists:
        supervised = lists["labels"].values != IGNORED
        _mark_labels(ids, lists["labels"], supervised, starts, start, flaws)
    else:
        supervised = lists["loss_mask"].values != 0
        _mark_loss_mask(lists["loss_mask"], starts, start, flaws)
    idle = (ids.lengths > 0) & (ids.count(supervised) == 0)
    if rules.profile.packed:
        tally.idle_rows = int(np.count_nonzero(idle))
    else:
        flaws.mark(
            "unsupervised",
            idle,
            start,
            lambda row: f"none of its {ids.lengths[row]:,} tokens is supervised",
        )
    tally.supervised_tokens = int(np.count_nonzero(supervised))
    documents = _Lists(ids.values, np.append(starts, len(ids.values)))
    tally.lengths = _histogram(documents.lengths)
    tally.idle = _histogram(documents.lengths[documents.count(supervised) == 0])
    return tally


def _histogram(lengths: Ints) -> Counter[int]:
    values, counts = np.unique(lengths, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


_ALIGNED = {"attention_mask", "labels", "position_ids", "loss_mask"}
"""Columns with one value a token."""


def _mark_ids(ids: _Lists, rules: Rules, start: int, flaws: Flaws) -> None:
    flaws.mark("empty", ids.lengths == 0, start, lambda row: "holds no token")
    if rules.max_length is not None:
        flaws.mark(
            "long",
            ids.lengths > rules.max_length,
            start,
            lambda row: f"holds {ids.lengths[row]:,} tokens, and the maximum is {rules.max_length:,}",
        )
        if rules.filled:
            flaws.mark(
                "short",
                ids.lengths < rules.max_length,
                start,
                lambda row: (
                    f"holds {ids.lengths[row]:,} tokens, and every row is to hold {rules.max_length:,}"
                ),
            )
    unknown = ids.values < 0
    if rules.vocabulary is not None:
        unknown |= ids.values >= rules.vocabulary
    beyond = "less than 0" if rules.vocabulary is None else f"not in the vocabulary of {rules.vocabulary:,}"
    _mark_tokens("vocabulary", ids, unknown, start, flaws, "has the id {}, which is " + beyond)


def _document_starts(lists: dict[str, _Lists], start: int, flaws: Flaws) -> Ints:
    """Where among all tokens each document starts; of rows that do not tell, each is taken for one."""
    ids = lists["input_ids"]
    first = ids.offsets[:-1][ids.lengths > 0]
    if "seq_lengths" in lists:
        told = lists["seq_lengths"]
        sums = np.concatenate([[0], np.cumsum(told.values, dtype=np.int64)])
        wrong = sums[told.offsets[1:]] - sums[told.offsets[:-1]] != ids.lengths
        wrong |= told.rows_with(told.values < 1)
        starts = sums[:-1]
    elif "position_ids" in lists:
        told = lists["position_ids"]
        expected = np.concatenate([[0], told.values[:-1] + 1])[: len(told.values)]
        odd = (told.values != 0) & (told.values != expected)
        odd[first] |= told.values[first] != 0
        wrong = told.rows_with(odd)
        starts = np.flatnonzero(told.values == 0)
    elif "seq_start_id" in lists:
        told = lists["seq_start_id"]
        rows = np.repeat(np.arange(len(told.lengths)), told.lengths)
        steps = np.diff(told.values, prepend=-1)
        heads = told.offsets[:-1][told.lengths > 0]
        odd = (steps < 1) | (told.values >= ids.lengths[rows])
        odd[heads] = told.values[heads] != 0
        wrong = told.rows_with(odd) | (told.lengths == 0)
        starts = told.values + ids.offsets[:-1][rows]
    else:
        return first
    flaws.mark("documents", wrong, start, lambda row: "does not tell where its documents begin")
    return first if wrong.any() else starts.astype(np.int64)


def _mark_labels(
    ids: _Lists, labels: _Lists, supervised: Marks, starts: Ints, start: int, flaws: Flaws
) -> None:
    wrong = supervised & (labels.values != ids.values)

    def tell(row: int) -> str:
        place = labels.place(row, wrong)
        return (
            f"token {place} has the label {labels.value(row, place)}, "
            f"which is neither its id {ids.value(row, place)} nor {IGNORED}"
        )

    flaws.mark("label", labels.rows_with(wrong), start, tell)
    first = np.zeros(len(supervised), bool)
    first[starts] = supervised[starts]
    flaws.mark(
        "first",
        labels.rows_with(first),
        start,
        lambda row: (
            f"token {labels.place(row, first)} is supervised, which nothing predicts; its label must be -100"
        ),
    )


def _mark_loss_mask(mask: _Lists, starts: Ints, start: int, flaws: Flaws) -> None:
    odd = (mask.values != 0) & (mask.values != 1)
    _mark_tokens("loss mask", mask, odd, start, flaws, "has the loss mask {}, neither 0 nor 1")
    last = np.zeros(len(mask.values), bool)
    ends = np.append(starts[1:], len(mask.values))[: len(starts)] - 1
    last[ends] = mask.values[ends] != 0
    _mark_tokens(
        "last", mask, last, start, flaws, "ends its document and has the loss mask {}; it predicts nothing"
    )


def _mark_tokens(kind: str, lists: _Lists, marks: Marks, start: int, flaws: Flaws, words: str) -> None:
    def tell(row: int) -> str:
        place = lists.place(row, marks)
        return f"token {place} " + words.format(lists.value(row, place))

    flaws.mark(kind, lists.rows_with(marks), start, tell)


def _mark_nulls(name: str, column: pa.ListArray, start: int, flaws: Flaws) -> bool:
    """Note rows that are null or hold a null; gives whether there are any."""
    if column.null_count:
        flaws.mark(f"{name} null", column.is_null().to_numpy(False), start, lambda row: f"{name} is null")
        return True
    values = column.flatten()
    if values.null_count:
        marks = values.is_null().to_numpy(False)
        lists = _Lists(marks, offsets_of(column))
        flaws.mark(
            f"null in {name}",
            lists.rows_with(marks),
            start,
            lambda row: f"token {lists.place(row, marks)} has null in {name}",
        )
        return True
    return False
