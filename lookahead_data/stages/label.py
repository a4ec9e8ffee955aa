"""From supervision to labels: the id where the loss counts, −100 elsewhere."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import flags_of
from lookahead_data.batches import Staged
from lookahead_data.columns import IGNORED, with_column
from lookahead_data.config import Settings


class Label:
    """Adds `labels`, aligned with `input_ids` and not shifted. A row's first token is context."""

    name = "label"
    gives = ("labels",)

    def __init__(self, settings: Settings) -> None:
        self._masks = settings.mask_preview
        self.needs = ("input_ids", "supervised", *(("previewed",) * settings.tells_previewed))

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        column = batch.column("input_ids")
        ids = column.flatten().to_numpy()
        supervised = flags_of(batch.column("supervised").flatten())
        if self._masks:
            supervised &= ~flags_of(batch.column("previewed").flatten())
        labels = np.where(supervised, ids, np.int32(IGNORED))
        offsets = column.offsets.to_numpy()
        starts = (offsets - offsets[0])[:-1]
        # Nothing predicts the first token of a row, so no trainer's loss counts it.
        labels[starts[np.diff(offsets) > 0]] = IGNORED
        return Staged(
            with_column(
                batch, "labels", pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), pa.array(labels))
            )
        )
