"""The order of rows: each gets a key, and rows are written by their keys.

A key is told by what is known of the row alone, so that units can be converted in any order, by any number of
workers. In a shuffle it is a hash of the row's place in the corpus. In an order by length its upper 24 bits are
the row's tokens, and the others such a hash.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.batches import Staged
from lookahead_data.columns import with_column
from lookahead_data.config import Settings
from lookahead_data.rowhash import mixed, numbers_of

Keys = npt.NDArray[np.uint64]

LENGTH_BITS = 24
HASH_BITS = 64 - LENGTH_BITS
MOST_TOKENS = (1 << LENGTH_BITS) - 1
"""Longer rows are in an order by chance."""


class Arrange:
    """Adds `key`."""

    name = "arrange"
    gives = ("key",)

    def __init__(self, settings: Settings, file: int) -> None:
        """
        Args:
            file: the place of the rows' file among the inputs.
        """
        self.needs = ("row", "input_ids")  # and `copy`, where rows are repeated
        self._by_length = settings.order == "length"
        self._seed = settings.seed if settings.shuffle is None else settings.shuffle
        self._file = file

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        copies = batch.column("copy").to_numpy() if "copy" in batch.schema.names else None
        keys = chance_keys(batch.column("row").to_numpy(), self._file, self._seed, copies)
        if self._by_length:
            lengths = batch.column("input_ids").value_lengths().to_numpy(zero_copy_only=False)
            keys = length_keys(lengths, keys)
        return Staged(with_column(batch, "key", pa.array(keys)))


def chance_keys(
    rows: npt.NDArray[np.int64], file: int, seed: int, copies: npt.NDArray[np.int32] | None = None
) -> Keys:
    """Keys of a shuffle, shape (rows,). But for copies they are a bijection of the rows' numbers, so that no two
    are equal.

    Args:
        rows: places in the file.
        file: its place among the inputs.
        copies: which copy of its row each is, from 0; None is no copies.
    """
    salts = mixed(np.array([seed & ((1 << 64) - 1)], np.uint64))
    if copies is not None:
        salts = salts ^ np.where(copies > 0, mixed(copies.astype(np.uint64)), np.uint64(0))
    return mixed(mixed(numbers_of(rows, file)) ^ salts)


def length_keys(lengths: npt.NDArray[np.int32], chances: Keys) -> Keys:
    """Keys of an order by length, shape (rows,).

    Args:
        lengths: tokens of each row.
        chances: the keys of a shuffle.
    """
    capped = np.minimum(lengths.astype(np.uint64), np.uint64(MOST_TOKENS))
    return (capped << np.uint64(HASH_BITS)) | (chances >> np.uint64(LENGTH_BITS))
