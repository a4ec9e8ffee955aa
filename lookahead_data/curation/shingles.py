"""Shingles: the sets of word or character n-grams that stand for texts when they are compared.

A text of fewer than n words gives one shingle, all of it; a text that is empty or all white space gives
none. Hashes are those of `hashing`: 64 bits, of which MinHash takes the upper 32. Two shingles of a million
fall together with a chance of 3e-8 in 64 bits; in 32 bits one shingle in 4,300 of them has a double.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, utf8_parts
from lookahead_data.curation.hashing import Hashes, hash_of, mix_one, span_hashes
from lookahead_data.curation.words import find_words
from lookahead_data.errors import SettingsError
from lookahead_data.rowhash import mixed
from lookahead_data.texts import says_something


@dataclass(frozen=True)
class Shingles:
    """The hashed shingles of several texts, in the order of the text, those that come again included.

    Attributes:
        hashes: shape (shingles,).
        offsets: the first shingle of each text, and the end: shape (texts + 1,).
    """

    hashes: Hashes
    offsets: Ints

    def in_32_bits(self) -> npt.NDArray[np.uint32]:
        """What MinHash is fed: the upper half of each hash, shape (shingles,)."""
        return (self.hashes >> np.uint64(32)).astype(np.uint32)

    def sets(self) -> Shingles:
        """Each text's shingles in ascending order, each once."""
        owners = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        order = np.lexsort((self.hashes, owners))
        hashes = self.hashes[order]
        again = np.zeros(len(hashes), np.bool_)
        again[1:] = (hashes[1:] == hashes[:-1]) & (owners[1:] == owners[:-1])
        kept = np.concatenate([[0], np.cumsum(~again)])
        return Shingles(hashes[~again], kept[self.offsets])


@dataclass(frozen=True)
class Shingling:
    """How texts are made into shingles.

    Attributes:
        unit: what an n-gram is made of.
        size: how many of them are a shingle.
    """

    unit: Literal["word", "character"] = "word"
    size: int = 5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SettingsError(
                f"a shingle of {self.size} {self.unit}s says nothing",
                where="shingle size",
                remedy="Give 1 or more; 5 words or 8 characters are common.",
            )

    def __call__(self, texts: pa.LargeStringArray) -> Shingles:
        """The shingles of each text; nulls must not be among them."""
        if self.unit == "word":
            words = find_words(texts)
            found = windows(words.hashes(), words.offsets, self.size)
            return Shingles(found.hashes, found.offsets)
        bounds, data = utf8_parts(texts)
        codes = np.frombuffer(
            data[bounds[0] : bounds[-1]].tobytes().decode("utf-8").encode("utf-32-le"), np.uint32
        )
        sizes = pl.Series(texts).str.len_chars().to_numpy()
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        found = windows(mixed(codes), offsets, self.size, says_something(texts))
        return Shingles(found.hashes, found.offsets)

    def hashfunc(self, shingle: bytes) -> int:
        """The 32-bit hash of one shingle, given as UTF-8; words may have any white space between them.

        `datasketch.MinHash(hashfunc=shingling.hashfunc)` fed a text's shingles gives the signature that
        `minhash.signatures` gives.
        """
        text = shingle.decode("utf-8")
        if self.unit == "word":
            units = [hash_of(map(mix_one, word.encode())) for word in text.split()]
        else:
            units = [mix_one(ord(character)) for character in text]
        return hash_of(units) >> 32


@dataclass(frozen=True)
class Windows:
    """Units of several texts that follow each other, so and so many at a time.

    Attributes:
        hashes: shape (windows,).
        firsts: the first unit of each, shape (windows,).
        offsets: the first window of each text, and the end: shape (texts + 1,).
    """

    hashes: Hashes
    firsts: Ints
    offsets: Ints


def windows(units: Hashes, offsets: Ints, size: int, which: npt.NDArray[np.bool_] | None = None) -> Windows:
    """Every `size` units of a text that follow each other; all of them, where there are fewer.

    Args:
        units: of all texts, shape (units,).
        offsets: of the texts among them, shape (texts + 1,).
        which: the texts to do, shape (texts,); the others give no window.
    """
    lengths = np.diff(offsets)
    counts = np.where(lengths > 0, np.maximum(lengths - size + 1, 1), 0)
    if which is not None:
        counts[~which] = 0
    found = np.concatenate([[0], np.cumsum(counts)])
    firsts = np.arange(found[-1]) + np.repeat(offsets[:-1] - found[:-1], counts)
    ends = np.minimum(firsts + size, np.repeat(offsets[1:], counts))
    return Windows(span_hashes(units, firsts, ends), firsts, found)
