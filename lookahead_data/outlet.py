"""Where the rows of one split go: packed, if that is asked for, and into shards."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lookahead_data.batches import Packing
from lookahead_data.config import Settings
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.shards import Shard, ShardWriter
from lookahead_data.stages.pack import packer_for


class Outlet:
    """Writes the rows of one split and unit, or range of an order. Use it as a context manager: when the block
    raises, what is unfinished is removed."""

    def __init__(self, folder: Path, split: str, number: int, settings: Settings, pad_id: int | None) -> None:
        """
        Args:
            folder: the output folder.
            number: of the unit, or of the range in its split.
            pad_id: of the model; None fills nothing up.
        """
        self._packer = packer_for(settings, pad_id)
        self._writer = ShardWriter(
            folder,
            split,
            number,
            PROFILES[settings.chosen_profile],
            shard_size=settings.shard_size,
            weights=settings.preview_weight is not None,
        )

    def __enter__(self) -> Outlet:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._packer is not None:
                for batch in self._packer.flush():
                    self._writer.write(batch)
        except BaseException as failure:
            self._writer.__exit__(type(failure), failure, None)
            raise
        self._writer.__exit__(kind, error, trace)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take converted rows."""
        for rows in self._packer.add(batch) if self._packer else [batch]:
            self._writer.write(rows)

    @property
    def shards(self) -> list[Shard]:
        """What was published; all of it once the block has ended."""
        return self._writer.shards

    @property
    def packing(self) -> Packing | None:
        """What became of documents that were packed, once the block has ended; None packs nothing."""
        return self._packer.account if self._packer else None
