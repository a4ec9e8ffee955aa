"""Contamination: rows that hold an evaluation item, or share a run of words with one.

A row is contaminated by an item if they share `size` words in a row, 13 unless said otherwise (Brown et al.,
2020, appendix C), or, where the item has fewer words, all of the item. Items of fewer than `LEAST` words are
not looked for: anything holds them.

For this, texts are brought to NFKC and their case is folded. A word is a run of letters, marks and digits;
all else only separates words. In scripts that are written without spaces each character is a word. Runs are
looked for by hashes, and each hit is compared word for word before it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Ints, large_strings, utf8_parts, whole_array
from lookahead_data.curation.blocks import Texts, in_blocks
from lookahead_data.curation.hashing import Hashes
from lookahead_data.curation.normalize import Normalization
from lookahead_data.curation.shingles import windows
from lookahead_data.curation.words import Words, find_words
from lookahead_data.errors import SettingsError

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("item", pa.int64()),
        ("words", pa.int64()),
        ("whole", pa.bool_()),
        ("overlap", pa.large_string()),
    ]
)
"""One line for each row and item that share words: the number of words in the longest run that they share,
whether it is all of the item, and these words, as they were compared."""

SIZE = 13

LEAST = 3
"""GSM8K's training set holds 84 % of its test set's final answers, of one word, in 99.9 % of its rows; sentences
of two words of other texts contaminate 1 to 2 % of rows that have nothing to do with them, and of three 0.3 %."""

PLACES = 16
"""Where among the items a run of words is looked for at most: in the first places that have it. Of a run
that more places share, the later items may go unnamed or with a shorter overlap; the row is found anyway."""

_NORMALIZATION = Normalization("NFKC", fold_case=True, collapse_spaces=False)
_OTHERS = r"[^\p{L}\p{M}\p{N}]+"
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"

_ASCII = np.arange(256, dtype=np.uint8)
_ASCII[:0x80] = [ord(chr(code).lower()) if chr(code).isalnum() else ord(" ") for code in range(0x80)]


def comparable(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The words of each text, as they are compared, with spaces between them; nulls must not be among them."""
    series: pl.Series = pl.Series(texts)
    wide = (series.str.len_bytes() != series.str.len_chars()).arg_true()
    if len(wide):
        some = pl.Series(_NORMALIZATION(whole_array(series.gather(wide).to_arrow())))
        some = some.str.replace_all(_OTHERS, " ").str.replace_all(_UNSPACED, " ${1} ")
        series = series.scatter(wide, some)
    bounds, data = utf8_parts(whole_array(series.to_arrow()).cast(pa.large_string()))
    return large_strings(bounds - bounds[0], _ASCII[data[bounds[0] : bounds[-1]]])


@dataclass(frozen=True)
class _Runs:
    """The items' runs of one length, by their hashes.

    Attributes:
        hashes: ascending, shape (runs,).
        words: the first word of each among the items' words, shape (runs,).
        seen: whether a run's hash may end in these bits, shape (a power of two,).
    """

    hashes: Hashes
    words: Ints
    seen: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, hashes: Hashes, words: Ints) -> _Runs:
        order = np.argsort(hashes, kind="stable")
        hashes, words = hashes[order], words[order]
        bits = min(26, max(16, 5 + len(hashes).bit_length()))
        seen = np.zeros(1 << bits, np.bool_)
        seen[hashes & np.uint64(len(seen) - 1)] = True
        return cls(hashes, words, seen)

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """Which of `hashes` are among the runs, and the first words of the runs that have them."""
        # One look into a small table rules out nearly all.
        maybe = np.flatnonzero(self.seen[hashes & np.uint64(len(self.seen) - 1)])
        low = np.searchsorted(self.hashes, hashes[maybe])
        counts = np.minimum(np.searchsorted(self.hashes, hashes[maybe], "right") - low, PLACES)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(maybe, counts), self.words[np.repeat(low, counts) + within]


class Contamination:
    """The items of evaluation sets, ready to be found in texts.

    Attributes:
        short: the items that have too few words, and so are never found.
    """

    def __init__(self, items: pa.LargeStringArray, size: int = SIZE, least: int = LEAST) -> None:
        """
        Args:
            items: without nulls.
            size: words in a row that an item and a text may not share.
            least: items of fewer words are never found: see `short`. Those without a word never are.
        """
        if size < 1:
            raise SettingsError(
                f"{size} words in a row are shared by all texts",
                where="contamination",
                remedy=f"Give 1 or more; {SIZE} are common.",
            )
        self.size = size
        self._items = find_words(comparable(items))
        self._whole = _as_one(self._items)
        self._lengths = lengths = np.diff(self._items.offsets)
        long_enough = lengths >= max(1, least)
        self.short: Ints = np.flatnonzero(~long_enough)
        hashes = self._items.hashes()
        self._runs: dict[int, _Runs] = {}
        for length in np.unique(np.minimum(lengths[long_enough], size)).tolist():
            which = (lengths >= size if length == size else lengths == length) & long_enough
            found = windows(hashes, self._items.offsets, length, which)
            self._runs[length] = _Runs.of(found.hashes, found.firsts)

    def find(self, rows: Ints, texts: pa.LargeStringArray) -> pa.Table:
        """What the texts share with the items.

        Args:
            rows: the texts' row numbers, shape (texts,).
            texts: without nulls.

        Returns:
            `SCHEMA`, by row and item.
        """
        words = find_words(comparable(texts))
        whole = _as_one(words)
        hits = self._hits(words, whole)
        item, text = hits["item"].to_numpy(), hits["text"].to_numpy()
        count, start = hits["words"].to_numpy(), hits["word"].to_numpy()
        columns = [
            pa.array(rows[text]),
            pa.array(item),
            pa.array(count),
            pa.array(count == self._lengths[item]),
            whole_array(_joined(whole, words, start, count).to_arrow()).cast(pa.large_string()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)

    def find_all(self, batches: Iterable[Texts], memory: int = 1 << 28) -> pa.Table:
        """`find` for any number of texts, in parts that take about `memory` bytes each."""
        found = [self.find(*block) for block in in_blocks(batches, memory, a_byte=64, a_text=64)]
        return pa.concat_tables([SCHEMA.empty_table(), *found])

    def _hits(self, words: Words, whole: pl.Series) -> pl.DataFrame:
        """The longest run that each text and item share: `text`, `item`, its first `word`, and its `words`."""
        hashes = words.hashes()
        lengths = np.diff(words.offsets)
        found = [pl.DataFrame(schema=dict.fromkeys(("word", "of_item", "length"), pl.Int64))]
        for length, runs in self._runs.items():
            looked_at = windows(hashes, words.offsets, length, lengths >= length)
            which, of_item = runs.find(looked_at.hashes)
            word, count = looked_at.firsts[which], np.full(len(which), length)
            here = _joined(whole, words, word, count)
            there = _joined(self._whole, self._items, of_item, count)
            same = (here == there).to_numpy()
            found.append(pl.DataFrame({"word": word[same], "of_item": of_item[same], "length": count[same]}))
        hits = pl.concat(found)
        owner = {
            "text": np.searchsorted(words.offsets, hits["word"].to_numpy(), "right") - 1,
            "item": np.searchsorted(self._items.offsets, hits["of_item"].to_numpy(), "right") - 1,
        }
        # Runs that follow each other, a word further in the text and in the item, are one longer run.
        pair = ["text", "item"]
        return (
            hits.with_columns(**{name: pl.Series(values) for name, values in owner.items()})
            .with_columns(shift=pl.col("word") - pl.col("of_item"))
            .sort(*pair, "shift", "word")
            .with_columns(
                run=(pl.struct(*pair, pl.col("shift"), pl.col("word") - pl.int_range(pl.len()))).rle_id()
            )
            .group_by(*pair, "run")
            .agg(pl.col("word").min(), words=pl.len() - 1 + pl.col("length").first())
            .sort(*pair, -pl.col("words"), "word")
            .unique(pair, keep="first", maintain_order=True)
        )


def _as_one(words: Words) -> pl.Series:
    """The texts' bytes, shape (1,)."""
    return pl.Series([words.data.tobytes()], dtype=pl.Binary)


def _joined(whole: pl.Series, words: Words, first: Ints, count: Ints) -> pl.Series:
    """Runs of words as texts, one space between two words: `count` words from each `first` on.

    Args:
        whole: what `_as_one` gives.
    """
    begins, ends = words.begins[first], words.ends[first + count - 1]
    pieces = whole.gather(np.zeros(len(first), np.uint32))
    pieces = pieces.bin.slice(pl.Series(begins), pl.Series(ends - begins))  # type: ignore[arg-type]
    return pieces.cast(pl.String).str.replace_all(" +", " ")
