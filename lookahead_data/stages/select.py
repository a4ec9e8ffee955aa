"""Selection: the rows that conditions and the verdicts of curation leave in the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.curation.classes import CLASSES, Flags, are_safety
from lookahead_data.curation.fields import field_lists
from lookahead_data.curation.sampling import chances
from lookahead_data.curation.where import Condition
from lookahead_data.errors import RowError
from lookahead_data.talk import Talk


class Select:
    """Takes out rows that do not meet a condition, those that sampling leaves out, and those with a verdict
    against them. Conditions and sampling do not touch what keeps a model safe, unless it is told so."""

    name = "select"
    needs = ("row", "messages")

    def __init__(self, settings: Settings, verdicts: pa.Table | None = None) -> None:
        """
        Args:
            verdicts: on rows of the unit (see `sink.verdicts`), by row; None are none.
        """
        self._conditions = [Condition(text) for text in settings.where]
        self._settings = settings
        self.gives = ("split",) if settings.split else ()
        self._verdicts = verdicts
        self._judged = np.zeros(0, np.int64) if verdicts is None else verdicts.column("row").to_numpy()

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        talk = Talk(batch.column("messages"))
        for kept, why in selected(talk, self._settings, self._conditions):
            sieve.reject_all(~kept, why, outcome="filtered")
        if self._settings.keep:
            sieve.notes["safety"] = int(np.count_nonzero(are_safety(talk, self._settings.refusals)))
        if self._verdicts is not None and len(self._judged):
            rows = batch.column("row").to_numpy()
            found = np.searchsorted(self._judged, rows)
            found[found == len(self._judged)] = 0
            hits = np.flatnonzero(self._judged[found] == rows)
            against = self._verdicts.take(pa.array(found[hits]))
            said = zip(
                against.column("reason").to_pylist(), against.column("message").to_pylist(), strict=True
            )
            for at, (reason, message) in zip(hits.tolist(), said, strict=True):
                sieve.reject(at, RowError(reason, message), outcome="filtered")
        given = {"split": pa.array(splits_of(talk, self._settings))} if self._settings.split else {}
        return sieve.staged(**given)


def splits_of(talk: Talk, settings: Settings) -> npt.NDArray[np.int8]:
    """The place of each conversation's split among `settings.splits`, shape (rows,)."""
    found = chances(talk, "prompt", settings.seed, "split")
    bare = np.flatnonzero(field_lists(talk, "prompt").value_lengths().to_numpy(zero_copy_only=False) == 0)
    if len(bare):
        found[bare] = chances(talk.of_rows(bare), "conversation", settings.seed, "split")
    places = np.searchsorted(np.cumsum(list(settings.split.values())), found, side="right") + 1
    return np.where(places > len(settings.split), 0, places).astype(np.int8)


def selected(
    talk: Talk, settings: Settings, conditions: Sequence[Condition]
) -> Iterator[tuple[Flags, RowError]]:
    """Which rows each condition keeps, and sampling: flags of shape (rows,), and why the others go."""
    rows = len(talk.starts) - 1
    safe = np.zeros(rows, bool)
    if settings.keep or (conditions and settings.exempt_safety):
        safe = are_safety(talk, settings.refusals)
    exempt = safe if settings.exempt_safety else np.zeros(rows, bool)
    for condition in conditions:
        yield exempt | condition.holds(talk), RowError("where", f"it does not meet {condition.text}")
    if settings.keep:
        of_safety, of_others = (settings.keep.get(name, 1.0) for name in CLASSES)
        rates = np.where(safe, of_safety, of_others)
        sampled = chances(talk, "conversation", settings.seed) < rates
        yield (
            sampled,
            RowError("sampled", f"sampling keeps {of_safety:g} of safety and {of_others:g} of other rows"),
        )
