"""Rows that are written more than once, each copy next to the others until the rows are put in another order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lookahead_data.batches import Staged
from lookahead_data.columns import with_column

_SPENT = ("messages", "known", "segments", "shown", "supervised", "previewed")


class Repeat:
    """Repeats each row as often as its `copies` say, at no cost but that of writing it."""

    name = "repeat"
    needs = ("copies",)
    gives = ("copy",)

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        copies = batch.column("copies").to_numpy()
        starts = np.cumsum(copies) - copies
        # What rows were made of is not read any more, and would be repeated too.
        batch = batch.drop_columns([name for name in _SPENT if name in batch.schema.names])
        repeated = batch.take(pa.array(np.repeat(np.arange(batch.num_rows), copies)))
        which = np.arange(copies.sum()) - np.repeat(starts, copies)
        return Staged(with_column(repeated, "copy", pa.array(which, pa.int32())))
