"""The hashes by which rows are chosen. A rate of `--keep` compares each with a threshold of its own, so that the choice
on a row never changes when others come or go; quotas take the rows with the smallest hashes (see `ranks`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lookahead_data.curation.exact import list_keys
from lookahead_data.curation.fields import field_lists
from lookahead_data.curation.hashing import Hashes, hash_of, mix_one
from lookahead_data.rowhash import mixed
from lookahead_data.talk import Talk


def chances(talk: Talk, field: str, seed: int, purpose: str = "") -> npt.NDArray[np.float64]:
    """A number from 0 to below 1 for each conversation, by a field of it (see `fields`): equal fields have
    equal numbers, and different ones independent numbers.

    Args:
        seed: another one gives other numbers.
        purpose: so does another purpose: what is chosen for one says nothing of what is chosen for another.
    """
    return (row_hashes(talk, field, seed, purpose) >> np.uint64(11)).astype(np.float64) / (1 << 53)


def row_hashes(talk: Talk, field: str, seed: int, purpose: str = "") -> Hashes:
    """The hash of 64 bits of which `chances` are made, shape (rows,)."""
    keys = list_keys(field_lists(talk, field))[:, 0]
    salt = mix_one(seed) ^ hash_of(purpose.encode()) if purpose else mix_one(seed)
    return mixed(keys ^ np.uint64(salt))
