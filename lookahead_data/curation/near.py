"""Near duplicates: texts whose sets of shingles are alike.

MinHash (Broder, 1997) with bands: texts → shingles → signatures → candidates that share a band → verified
pairs → clusters. Equal signatures are joined first, so that many copies of one text are one text to the
rest. A text without a shingle is nobody's duplicate.

Clusters depend on the texts and their order, not on batches or the memory that is allowed. Rows that are
added may join two clusters that were apart, and so change the verdict on a row before them.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Ints
from lookahead_data.config import Keep, Verify
from lookahead_data.cores import cores
from lookahead_data.curation.bands import Bands, candidates, left_out, whole_keys
from lookahead_data.curation.blocks import Texts, in_blocks, in_threads
from lookahead_data.curation.clusters import Components, clusters
from lookahead_data.curation.hashing import Hashes
from lookahead_data.curation.minhash import SEED, Signatures, signatures
from lookahead_data.curation.normalize import Normalization
from lookahead_data.curation.shingles import Shingles, Shingling
from lookahead_data.curation.similarity import Estimate, Exact, Similarity
from lookahead_data.curation.spill import KeyFile
from lookahead_data.errors import SettingsError
from lookahead_data.listener import Listener

_WHOLE = "whole"
"""The key of all bands together."""

_BYTE_BYTES = {"word": 32, "character": 64}
"""What a byte of text takes: a unit and its shingle take 60 bytes, and every other byte may be a word."""

_PAIR_BYTES = 64
"""What a pair takes before it is compared."""


@dataclass(frozen=True)
class NearSettings:
    """When two texts are near duplicates, and which of them stays.

    Attributes:
        threshold: the similarity from which they are, 0 to 1.
        num_perm: values of a signature.
        seed: which permutations.
        weights: how much false positives and false negatives count when bands are chosen.
        shingling, normalization: what texts are compared by.
        verify: how candidates are compared: by their signatures or by their sets of shingles.
        keep: which row of a cluster survives; of several longest, in characters, the first.
        memory: bytes that the work may take at a time, about. What is kept for each text comes on top: 60
            bytes, 70 with `exact`.
    """

    threshold: float = 0.8
    num_perm: int = 128
    seed: int = SEED
    weights: tuple[float, float] = (0.5, 0.5)
    shingling: Shingling = field(default_factory=Shingling)
    normalization: Normalization = field(default_factory=lambda: Normalization("NFC", True, True))
    verify: Verify = "estimate"
    keep: Keep = "first"
    memory: int = 1 << 28

    def __post_init__(self) -> None:
        for name, choice in (("verify", Verify), ("keep", Keep)):
            if getattr(self, name) not in get_args(choice):
                raise SettingsError(
                    f"{name} is {getattr(self, name)!r}",
                    where="near duplicates",
                    remedy=f"Give {' or '.join(get_args(choice))}.",
                )
        if self.memory < 1:
            raise SettingsError(
                f"memory is {self.memory}", where="near duplicates", remedy="Give bytes: 1 or more."
            )


@dataclass(frozen=True)
class NearDuplicates:
    """What was found.

    Attributes:
        clusters: see `clusters.SCHEMA`.
        bands: how signatures were cut.
        texts: how many were read.
        empty: how many of them have no shingle.
        left_out: pairs in very large buckets that were not compared, in each band: see `bands.candidates`.
    """

    clusters: pa.Table
    bands: Bands
    texts: int
    empty: int
    left_out: int


def near_duplicates(
    batches: Iterable[Texts],
    folder: Path,
    settings: NearSettings | None = None,
    listener: Listener | None = None,
) -> NearDuplicates:
    """Find the near duplicates among texts.

    Args:
        batches: ascending row numbers, and the rows' texts.
        folder: where to spill; 600 to 1,500 bytes a text are written there, and removed at the end.
        settings: None are the defaults.
        listener: told of the progress, band by band, from the last batch on.
    """
    settings = settings or NearSettings()
    bands = Bands.of(settings.threshold, settings.num_perm, settings.weights)
    with tempfile.TemporaryDirectory(prefix="near-", dir=folder) as name:
        return _Search(settings, bands, Path(name)).run(batches, listener or Listener())


@dataclass(frozen=True)
class _Signed:
    """A block of texts, of which those without a shingle are only counted."""

    texts: int
    rows: Ints
    lengths: Ints
    shingles: Shingles
    signatures: Signatures
    keys: Hashes


class _Search:
    """One search: texts with shingles are numbered from 0, and everything is about these numbers."""

    def __init__(self, settings: NearSettings, bands: Bands, folder: Path) -> None:
        self._settings, self._bands = settings, bands
        # Words are the same whatever white space is between them.
        spaces = settings.normalization.collapse_spaces and settings.shingling.unit != "word"
        self._normalization = replace(settings.normalization, collapse_spaces=spaces)
        self._similarity: Similarity = (
            Exact(folder, settings.memory)
            if settings.verify == "exact"
            else Estimate(folder, settings.num_perm, settings.memory)
        )
        self._keys = KeyFile(folder / "bands.parquet", [_WHOLE, *bands.names])
        self._rows: list[Ints] = [np.zeros(0, np.int64)]
        self._lengths: list[Ints] = [np.zeros(0, np.int64)]
        self._texts = self._full = 0

    def run(self, batches: Iterable[Texts], listener: Listener) -> NearDuplicates:
        settings = self._settings
        with self._keys, contextlib.closing(self._similarity):
            threads = cores()
            blocks = in_blocks(
                batches,
                settings.memory // (threads + 1),
                a_byte=_BYTE_BYTES[settings.shingling.unit],
                a_text=16 * settings.num_perm,
            )
            for signed in in_threads(self._sign, blocks, threads):
                self._add(signed)
        rows, lengths = np.concatenate(self._rows), np.concatenate(self._lengths)
        components, missed = self._components(len(rows), listener)
        longest = lengths if settings.keep == "longest" else None
        found = clusters(components, rows, self._similarity.of, longest)
        return NearDuplicates(found, self._bands, self._texts, self._texts - len(rows), missed)

    def _sign(self, rows: Ints, texts: pa.LargeStringArray) -> _Signed:
        settings = self._settings
        shingles = settings.shingling(self._normalization(texts))
        full = np.flatnonzero(np.diff(shingles.offsets))
        # Texts without a shingle have no part in the flat array: to leave out their offsets leaves them out.
        shingles = Shingles(shingles.hashes, np.append(shingles.offsets[full], shingles.offsets[-1]))
        if settings.verify == "exact":
            shingles = shingles.sets()
        signed = signatures(shingles.in_32_bits(), shingles.offsets, settings.num_perm, settings.seed)
        lengths = pc.utf8_length(texts).to_numpy()[full]
        return _Signed(len(rows), rows[full], lengths, shingles, signed, self._bands.keys(signed))

    def _add(self, signed: _Signed) -> None:
        numbers = np.arange(self._full, self._full + len(signed.rows))
        self._full += len(signed.rows)
        self._keys.add(numbers, np.concatenate([whole_keys(signed.keys), signed.keys], axis=1))
        self._similarity.add(signed.signatures, signed.shingles)
        self._rows.append(signed.rows)
        self._lengths.append(signed.lengths)
        self._texts += signed.texts

    def _components(self, texts: int, listener: Listener) -> tuple[Components, int]:
        listener.looking("comparing near duplicates", self._bands.b)
        settings, similarity = self._settings, self._similarity
        components = Components(texts)
        copies, firsts = self._keys.repeats([_WHOLE], settings.memory)
        # Keys may be equal where signatures are not, and these where sets are not: such a text goes on by itself.
        same = similarity.of(firsts, copies) == 1
        components.link(firsts[same], copies[same])
        single = np.ones(texts, np.bool_)
        single[copies[same]] = False
        missed = 0
        for name in self._bands.names:
            for groups in self._keys.groups([name], settings.memory):
                groups = groups.where(single)
                missed += left_out(groups)
                for pair in candidates(groups, max(1, settings.memory // _PAIR_BYTES)):
                    left, right = components.apart(*pair)
                    similar = similarity.of(left, right) >= settings.threshold
                    components.link(left[similar], right[similar])
            listener.looked(0, 1)
        return components, missed
