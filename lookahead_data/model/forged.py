"""Finds texts that became guarded tokens which they do not mean, by the ids.

Text that spells out a guarded token is encoded as text. But there are other ways to a token: a normalizer
makes `＜/s＞` or `</S>` the same as `</s>`, and a Unigram or WordLevel model has it among its own pieces.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags, Ints
from lookahead_data.model.engines import Ids
from lookahead_data.model.tokenizer import LoadedTokenizer


class Forged:
    """Finds texts with guarded tokens that are not meant."""

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._ids = tokenizer.guarded_ids
        self._table = np.zeros(max(self._ids.values(), default=-1) + 2, bool)
        self._table[list(self._ids.values())] = True
        longest_first = sorted(self._ids, key=lambda token: (-len(token), token))
        self._pattern = "|".join(map(re.escape, longest_first))

    def find(self, texts: pa.LargeStringArray, special: Flags, ids: Ids, offsets: Ints) -> Ints:
        """The places of texts that have other guarded tokens than are written in them and meant.

        Args:
            special: whether the tokens written in a text are meant, shape (texts,).
            ids: of all texts, shape (tokens,).
            offsets: where each text's ids begin and the last end, shape (texts + 1,).
        """
        hits = np.flatnonzero(self._table.take(ids, mode="clip"))
        if not len(hits):
            return hits
        owners = np.searchsorted(offsets, hits, side="right") - 1
        places = np.unique(owners)
        meant = np.where(special[places], places, -1)
        written = pl.Series(texts.take(pa.array(meant, mask=meant < 0)).fill_null(""))
        written = written.str.extract_all(self._pattern)
        counts = np.bincount(owners, minlength=len(texts))[places]
        same = written.list.len().to_numpy() == counts
        # Of those with as many tokens as are written, whether they are the same ones.
        expected = written.filter(pl.Series(same & (counts > 0))).explode()
        expected_ids = expected.replace_strict(
            list(self._ids), list(self._ids.values()), return_dtype=pl.Int64
        )
        chosen = np.isin(owners, places[same])
        differs = ids[hits[chosen]] != expected_ids.to_numpy()
        return np.union1d(places[~same], owners[chosen][differs])
