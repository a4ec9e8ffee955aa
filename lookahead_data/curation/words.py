"""Where the words of texts stand, and what they hash to. A word is a run of anything but white space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, utf8_parts, whole_array
from lookahead_data.curation.hashing import Hashes, byte_units, span_hashes
from lookahead_data.texts import WHITE_SPACE

_WIDE_SPACE = f"[{''.join(space for space in WHITE_SPACE if not space.isascii())}]"


@dataclass(frozen=True)
class Words:
    """The words of several texts, one after the other.

    Attributes:
        data: the texts' bytes, shape (bytes,).
        begins, ends: of each word in `data`, shape (words,).
        offsets: the first word of each text, and the end: shape (texts + 1,).
    """

    data: npt.NDArray[np.uint8]
    begins: Ints
    ends: Ints
    offsets: Ints

    def hashes(self) -> Hashes:
        """Of each word's bytes, shape (words,)."""
        return span_hashes(self.data, self.begins, self.ends, byte_units())


def find_words(texts: pa.LargeStringArray) -> Words:
    """The words that `str.split` finds in each text; nulls must not be among them."""
    bounds, data = utf8_parts(texts)
    if (data[bounds[0] : bounds[-1]] >= 0x80).any():
        narrow = pl.Series(texts).str.replace_all(_WIDE_SPACE, " ")
        bounds, data = utf8_parts(whole_array(narrow.to_arrow()).cast(pa.large_string()))
    data = data[bounds[0] : bounds[-1]]
    bounds = bounds - bounds[0]
    # White space in ASCII is 9 to 13 and 28 to 32. What is less wraps round.
    inside = (data - np.uint8(9) > 4) & (data - np.uint8(28) > 4)
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    ends = inside.copy()
    ends[:-1] &= ~inside[1:]
    # Where one text ends and the next begins there need be no space.
    borders = bounds[(bounds > 0) & (bounds < len(data))]
    begins[borders] = inside[borders]
    ends[borders - 1] = inside[borders - 1]
    starts = np.flatnonzero(begins)
    return Words(data, starts, np.flatnonzero(ends) + 1, np.searchsorted(starts, bounds))
