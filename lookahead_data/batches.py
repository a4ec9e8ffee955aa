"""What a stage returns: the batch as it made it, the rows that it rejected, and what it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.columns import with_column
from lookahead_data.errors import RowError

Outcome = Literal["quarantined", "filtered"]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not written, and why.

    Attributes:
        row, offset: where it stands in its file (see `columns.COLUMNS`).
        reason: a code from `errors.REASONS`.
        message: what is wrong, for people.
        excerpt: the start of the row's text.
        outcome: `quarantined`: the row is at fault; `filtered`: a setting leaves it out.
        tokens: of the row, where it was encoded before it went.
    """

    row: int
    offset: int | None
    reason: str
    message: str
    excerpt: str = ""
    outcome: Outcome = "quarantined"
    tokens: int | None = None


@dataclass(frozen=True)
class Staged:
    """A stage's result; every row that it was given is in `batch` or in `rejects`."""

    batch: pa.RecordBatch
    rejects: Sequence[Reject] = ()
    notes: Counter[str] = field(default_factory=Counter)


@dataclass
class Packing:
    """What became of the documents that were packed.

    Attributes:
        capacity: tokens of a row.
        documents: how many went in.
        rows, tokens, supervised_tokens: of the rows that came out; padding is not counted.
        pad_tokens: with which these were filled up.
        rows_not_learned: of these rows, those of which no token counts in the loss, since each is the first
            of a piece.
        dropped_rows, dropped_tokens: that were left out for not being full.
        left_out: documents of which every token was left out so, with their tokens.
        balance: the sum of all ids that went in, less those that came out or were left out. It is 0
            unless a token was lost, or doubled.
    """

    capacity: int
    documents: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    pad_tokens: int = 0
    rows_not_learned: int = 0
    dropped_rows: int = 0
    dropped_tokens: int = 0
    left_out: dict[Reject, int] = field(default_factory=dict)
    balance: int = 0

    @classmethod
    def total(cls, parts: Iterable[Packing | None]) -> Packing | None:
        """The sum of parts that were packed by themselves; None if there are none."""
        total: Packing | None = None
        for part in parts:
            if part is None:
                continue
            total = total or cls(part.capacity)
            for name, value in vars(part).items():
                if name != "capacity":
                    mine = getattr(total, name)
                    setattr(total, name, mine | value if isinstance(mine, dict) else mine + value)
        return total


class Sieve:
    """Collects which rows of a batch stay and why the others do not."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._dropped = np.zeros(batch.num_rows, bool)
        self._rows: npt.NDArray[np.int64] = batch.column("row").to_numpy()
        self._offsets: npt.NDArray[np.int64] = batch.column("offset").fill_null(_NOWHERE).to_numpy()
        self.rejects: list[Reject] = []
        self.notes: Counter[str] = Counter()

    def reject(
        self,
        at: int,
        error: RowError,
        excerpt: str = "",
        outcome: Outcome = "quarantined",
        tokens: int | None = None,
    ) -> None:
        """Take the row at `at` out, for the reason that `error` gives; the first reason stays."""
        if not self._dropped[at]:
            self._dropped[at] = True
            self.rejects.append(
                Reject(
                    int(self._rows[at]),
                    self._offset(at),
                    error.reason,
                    error.message,
                    excerpt,
                    outcome,
                    tokens,
                )
            )

    def reject_all(
        self, flags: npt.NDArray[np.bool_], error: RowError, outcome: Outcome = "quarantined"
    ) -> None:
        """Take many rows out for one and the same reason, without excerpts; the first reason of each stays.

        Args:
            flags: which rows, shape (rows,).
        """
        new = np.flatnonzero(flags & ~self._dropped)
        self._dropped[new] = True
        offsets = [None if at == _NOWHERE else at for at in self._offsets[new].tolist()]
        self.rejects += [
            Reject(row, offset, error.reason, error.message, "", outcome)
            for row, offset in zip(self._rows[new].tolist(), offsets, strict=True)
        ]

    def staged(self, **columns: Any) -> Staged:
        """The batch with `columns` set (one value a row, rejected rows included), less the rejects.

        The values of a column are an Arrow array or a list.
        """
        batch = self._batch
        for name, values in columns.items():
            batch = with_column(batch, name, values)
        if self._dropped.any():
            batch = batch.take(pa.array(np.flatnonzero(~self._dropped)))
        return Staged(batch, self.rejects, self.notes)

    def _offset(self, at: int) -> int | None:
        offset = int(self._offsets[at])
        return None if offset == _NOWHERE else offset


_NOWHERE = -1
"""The offset of a row that has none."""
