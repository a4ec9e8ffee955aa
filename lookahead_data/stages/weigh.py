"""Weights in the loss: previewed tokens may count less, or more, than the rest of an answer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import flags_of, lists_of, offsets_of
from lookahead_data.batches import Staged
from lookahead_data.columns import IGNORED, with_column


class Weigh:
    """Adds `weights`, aligned with `input_ids` and not shifted: 0 exactly where the label is −100."""

    name = "weigh"
    needs = ("labels", "previewed", "safety")
    gives = ("weights",)

    def __init__(self, weight: float) -> None:
        """
        Args:
            weight: of the tokens that a preview shows; every other supervised token has 1, and so have those of
                rows of the class safety.
        """
        self._weight = weight

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        column = batch.column("labels")
        previewed = flags_of(batch.column("previewed").flatten())
        safe = flags_of(batch.column("safety"))
        previewed = previewed & ~np.repeat(safe, np.diff(offsets_of(column)))
        weights = np.where(previewed, self._weight, 1).astype(np.float32)
        weights[column.flatten().to_numpy() == IGNORED] = 0
        return Staged(with_column(batch, "weights", lists_of(offsets_of(column), pa.array(weights))))
