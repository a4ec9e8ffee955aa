"""The last look at a row: not longer than allowed, and with something to learn in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import offsets_of
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import IGNORED, with_column
from lookahead_data.config import Settings
from lookahead_data.errors import RowError


class Fit:
    """Drops or cuts rows over `max_length`, and rejects rows in which no token is supervised."""

    name = "fit"

    def __init__(self, settings: Settings) -> None:
        weights = ("weights",) if settings.preview_weight is not None else ()
        self.needs = self.gives = ("input_ids", "labels", *weights)
        self._limit = settings.document_limit
        self._overlength = settings.overlength

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        lengths = batch.column("input_ids").value_lengths().to_numpy(zero_copy_only=False)
        over = lengths > self._limit if self._limit else np.zeros(len(lengths), bool)
        if self._overlength == "split" and over.any():
            sieve.notes["split"] = int(over.sum())
            over = np.zeros(len(lengths), bool)
        if self._overlength == "truncate" and over.any():
            for name in self.gives:
                cut = pc.list_slice(batch.column(name), 0, self._limit, return_fixed_size_list=False)
                batch = with_column(batch, name, cut)
            sieve = Sieve(batch)
            sieve.notes["truncated"] = int(over.sum())
            over = np.zeros(len(lengths), bool)
        for at in np.flatnonzero(over | ~is_supervised(batch)).tolist():
            if over[at]:
                error = RowError("overlength", f"{lengths[at]:,} tokens, and the maximum is {self._limit:,}")
                sieve.reject(at, error, outcome="filtered", tokens=int(lengths[at]))
            else:
                error = RowError("nothing_supervised", "no token of the row counts in the loss")
                sieve.reject(at, error, tokens=int(lengths[at]))
        return sieve.staged()


def is_supervised(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows have a token that counts in the loss, shape (rows,)."""
    column = batch.column("labels")
    counted = column.flatten().to_numpy() != IGNORED
    offsets = offsets_of(column)
    found = np.zeros(batch.num_rows, bool)
    # Of an empty row `reduceat` would give the next one's first value.
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        found[filled] = np.logical_or.reduceat(counted, offsets[filled])
    return found
