"""What a stage returns: the batch as it made it, the rows that it rejected, and what it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lookahead_data.columns import with_column
from lookahead_data.errors import RowError

Outcome = Literal["quarantined", "filtered"]


@dataclass(frozen=True)
class Reject:
    """A row that is not written, and why.

    Attributes:
        row, offset: where it stands in its file (see `columns.COLUMNS`).
        reason: a code from `errors.REASONS`.
        message: what is wrong, for people.
        excerpt: the start of the row's text.
        outcome: `quarantined`: the row is at fault; `filtered`: a setting leaves it out.
    """

    row: int
    offset: int | None
    reason: str
    message: str
    excerpt: str = ""
    outcome: Outcome = "quarantined"


@dataclass(frozen=True)
class Staged:
    """A stage's result; every row that it was given is in `batch` or in `rejects`."""

    batch: pa.RecordBatch
    rejects: Sequence[Reject] = ()
    notes: Counter[str] = field(default_factory=Counter)


class Sieve:
    """Collects, row by row, which rows of a batch stay and why the others do not."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._dropped: set[int] = set()
        self.rejects: list[Reject] = []
        self.notes: Counter[str] = Counter()

    def reject(self, at: int, error: RowError, excerpt: str = "", outcome: Outcome = "quarantined") -> None:
        """Take the row at `at` out, for the reason that `error` gives; the first reason stays."""
        if at in self._dropped:
            return
        self._dropped.add(at)
        self.rejects.append(
            Reject(
                self._batch.column("row")[at].as_py(),
                self._batch.column("offset")[at].as_py(),
                error.reason,
                error.message,
                excerpt,
                outcome,
            )
        )

    def staged(self, **columns: Any) -> Staged:
        """The batch with `columns` set (one value a row, rejected rows included), less the rejects.

        The values of a column are an Arrow array or a list.
        """
        batch = self._batch
        for name, values in columns.items():
            batch = with_column(batch, name, values)
        if self._dropped:
            kept = np.setdiff1d(np.arange(batch.num_rows), list(self._dropped))
            batch = batch.take(pa.array(kept))
        return Staged(batch, self.rejects, self.notes)
