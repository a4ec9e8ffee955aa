"""Selection: which rows stay in the corpus, how often each is written, and which split it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Flags, Ints
from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.curation.classes import CLASSES, OTHER, SAFETY, Classes
from lookahead_data.curation.fields import field_lists
from lookahead_data.curation.hashing import Hashes
from lookahead_data.curation.mixing import Quota
from lookahead_data.curation.ranks import not_after
from lookahead_data.curation.sampling import chances, row_hashes
from lookahead_data.curation.where import Condition, CountTokens
from lookahead_data.errors import RowError
from lookahead_data.rowhash import numbers_of
from lookahead_data.talk import Talk


@dataclass(frozen=True)
class Choice:
    """What is known of the rows of one unit before they are read.

    Attributes:
        verdicts: on rows that curation leaves out (see `sink.verdicts`), by row; None are none.
        rates: how often rows are written, by class; None is once each, or by quotas.
        quotas: how many of them are written, by class, where rows were counted.
        file: the place of their file among the inputs.
        repeat: rows of this job may be written more than once.
        all_safe: all rows are of the class safety.
    """

    verdicts: pa.Table | None = None
    rates: Mapping[str, float] | None = None
    quotas: Mapping[str, Quota] | None = None
    file: int = 0
    repeat: bool = False
    all_safe: bool = False


class Selection:
    """What the settings say of rows by themselves: their class, the conditions they meet, how often they are
    written. Conditions and sampling do not touch the class safety, unless they are told so."""

    def __init__(self, settings: Settings, count_tokens: CountTokens | None = None) -> None:
        """
        Args:
            count_tokens: of texts, for conditions on tokens.

        Raises:
            SettingsError: a condition is none, or a function is not there.
        """
        self._settings = settings
        self._conditions = [Condition(text, count_tokens) for text in settings.where]
        self._classes = Classes(settings)

    def are_safety(self, batch: pa.RecordBatch, talk: Talk, *, all_safe: bool = False) -> Flags:
        """Which rows are of the class safety, shape (rows,); none where nothing depends on it."""
        if not self._settings.tells_safety:
            return np.zeros(batch.num_rows, bool)
        return self._classes(batch, talk, all_safe=all_safe)

    def conditions(self, batch: pa.RecordBatch, talk: Talk, safe: Flags) -> Iterator[tuple[Flags, RowError]]:
        """Which rows each condition leaves out, shape (rows,), and why."""
        fields = batch.column("row_fields") if "row_fields" in batch.schema.names else None
        exempt = safe if self._settings.exempt_safety else np.zeros(len(safe), bool)
        for condition in self._conditions:
            passes = np.zeros(len(safe), bool) if condition.judges else exempt
            goes = ~(passes | condition.holds(talk, fields))
            yield goes, RowError("where", f"it does not meet {condition.text}")

    def copies(self, talk: Talk, safe: Flags, rates: Mapping[str, float]) -> Ints:
        """How often each row is written, shape (rows,)."""
        rate = np.where(safe, rates[SAFETY], rates[OTHER])
        found: Ints = np.floor(rate).astype(np.int64)
        if np.any(found != rate):
            found += chances(talk, "conversation", self._settings.seed) < rate - found
        return found

    def copies_due(self, talk: Talk, safe: Flags, numbers: Ints, quotas: Mapping[str, Quota]) -> Ints:
        """How often each row is written so that quotas are met, shape (rows,).

        Args:
            numbers: of the rows in the corpus, shape (rows,).
        """
        found = np.where(safe, quotas[SAFETY].each, quotas[OTHER].each)
        if any(quota.last for quota in quotas.values()):
            hashes = self.hashes(talk)
            for name, mine in zip(CLASSES, (safe, ~safe), strict=True):
                found += mine & not_after(hashes, numbers, quotas[name].last)
        return found

    def hashes(self, talk: Talk) -> Hashes:
        """The hashes in whose order rows are taken, shape (rows,)."""
        return row_hashes(talk, "conversation", self._settings.seed)


class Select:
    """Takes out rows that do not meet a condition, those with a verdict against them, and those that sampling
    leaves out."""

    name = "select"

    def __init__(self, settings: Settings, choice: Choice, count_tokens: CountTokens | None = None) -> None:
        """
        Args:
            choice: on the unit that the rows are of.
            count_tokens: of texts, for conditions on tokens.
        """
        flagged = settings.safety_field is not None and not choice.all_safe
        self.needs = ("row", "messages", *(["flagged"] if flagged else []))
        self.gives = (
            *(["safety"] if settings.tells_safety else []),
            *(["copies"] if choice.repeat else []),
            *(["split"] if settings.split else []),
        )
        self._settings = settings
        self._choice = choice
        self._selection = Selection(settings, count_tokens)
        verdicts = choice.verdicts
        self._judged = np.zeros(0, np.int64) if verdicts is None else verdicts.column("row").to_numpy()

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        talk = Talk.of(batch)
        safe = self._selection.are_safety(batch, talk, all_safe=self._choice.all_safe)
        for goes, why in self._selection.conditions(batch, talk, safe):
            sieve.reject_all(goes, why, outcome="filtered")
        self._judge(batch, sieve)
        given: dict[str, pa.Array] = {}
        if self._settings.tells_safety:
            sieve.notes["safety"] = int(np.count_nonzero(safe))
            given["safety"] = pa.array(safe)
        rates, quotas = self._choice.rates, self._choice.quotas
        copies = np.ones(batch.num_rows, np.int64)
        if quotas is not None:
            numbers = numbers_of(batch.column("row").to_numpy(), self._choice.file).astype(np.int64)
            copies = self._selection.copies_due(talk, safe, numbers, quotas)
            rates = {name: quota.rate for name, quota in quotas.items()}
        elif rates is not None:
            copies = self._selection.copies(talk, safe, rates)
        if rates is not None:
            for name, mine in zip(CLASSES, (safe, ~safe), strict=True):
                sieve.reject_all(mine & (copies == 0), sampled(name, rates[name]), outcome="filtered")
        if self._choice.repeat:
            given["copies"] = pa.array(np.maximum(copies, 1), pa.int32())
        if self._settings.split:
            given["split"] = pa.array(splits_of(talk, self._settings))
        return sieve.staged(**given)

    def _judge(self, batch: pa.RecordBatch, sieve: Sieve) -> None:
        """Take out the rows that have a verdict against them."""
        verdicts = self._choice.verdicts
        if verdicts is None or not len(self._judged):
            return
        rows = batch.column("row").to_numpy()
        found = np.searchsorted(self._judged, rows)
        found[found == len(self._judged)] = 0
        hits = np.flatnonzero(self._judged[found] == rows)
        against = verdicts.take(pa.array(found[hits]))
        said = zip(against.column("reason").to_pylist(), against.column("message").to_pylist(), strict=True)
        for at, (reason, message) in zip(hits.tolist(), said, strict=True):
            sieve.reject(at, RowError(reason, message), outcome="filtered")


def sampled(name: str, rate: float) -> RowError:
    """Why sampling leaves out a row of a class."""
    return RowError("sampled", f"rows of its source and of the class {name} are kept at the rate {rate:.6g}")


def splits_of(talk: Talk, settings: Settings) -> npt.NDArray[np.int8]:
    """The place of each conversation's split among `settings.splits`, shape (rows,)."""
    found = chances(talk, "prompt", settings.seed, "split")
    bare = np.flatnonzero(field_lists(talk, "prompt").value_lengths().to_numpy(zero_copy_only=False) == 0)
    if len(bare):
        found[bare] = chances(talk.of_rows(bare), "conversation", settings.seed, "split")
    places = np.searchsorted(np.cumsum(list(settings.split.values())), found, side="right") + 1
    return np.where(places > len(settings.split), 0, places).astype(np.int8)
