"""The heads of answers: what their first tokens say."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Encoding

from lookahead_data.arrays import Ints, put, substrings, utf8_parts
from lookahead_data.config import Settings
from lookahead_data.model.engines import Engine, Ids
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.texts import contain_any, is_nfc, to_characters

TRIES = ((6, 24), (12, 64), (24, 512))
"""How much of a long answer is encoded: so many bytes for each token of the preview, and up to so many
more until there is a place to cut. Most answers need no more than the first pair says."""
ALL = (1 << 40, 0)
"""No answer is as long as that: all of it is encoded, as after the other tries."""
LITTLE = 1 << 15
"""Bytes of answers that are encoded as a whole at once: a call of an engine takes as long as that."""
SAMPLED_EVERY = 2039
"""One row in so many has the heads of its answers found by the slow, obvious way too."""
IN_32_BITS = 1 << 28
"""Bytes of answers whose tokens' bytes, which may be a few more, can be counted in 32 bits."""
MARGIN = 64
"""Bytes behind a head in which nothing may stand that normalization changes."""


@dataclass(frozen=True)
class Head:
    """The head of an answer.

    Attributes:
        text: what is shown of it.
        tokens: how many tokens of the answer that is.
        whole: whether the answer has no more tokens than are shown.
    """

    text: str
    tokens: int
    whole: bool


def answer_heads(
    answers: Sequence[str], tokenizer: LoadedTokenizer, count: int, *, cut: str = "char"
) -> list[Head]:
    """The first `count` tokens of each answer, as text.

    Each answer is encoded alone, without BOS or EOS.

    Args:
        cut: `char`: the shortest prefix of the answer that covers the tokens and ends between two
            characters. `reference`: what `convert_tokens_to_string(tokenize(answer)[:count])` of
            transformers gives, where a character cut in half is U+FFFD and the decoder may drop a
            leading space.
    """
    reference = cut == "reference"
    encodings = tokenizer.encode(answers, special=reference)
    heads = []
    for answer, encoding in zip(answers, encodings, strict=True):
        whole = len(encoding) <= count
        if reference:
            text = tokenizer.tokens_to_text(encoding.tokens[:count])
        else:
            text = answer if whole else answer[: _covered(answer, encoding, count, tokenizer.sensitive)]
        heads.append(Head(text, min(count, len(encoding)), whole))
    return heads


def _covered(answer: str, encoding: Encoding, count: int, sensitive: bool) -> int:
    """The number of characters that the first `count` tokens cover; there are more tokens."""
    spans = encoding.offsets
    if sensitive and encoding.tokens[0] == "▁" and spans[1][0] == spans[0][0]:
        # A `▁` of its own that the tokenizer put before the text: it stands for no character, though
        # its span says the first one.
        spans = [(0, 0), *spans[1:]]
    end = max(stop for _, stop in spans[:count])
    # Normalization to NFC composes characters and gives the token the span of the first alone. The
    # marks that were composed into it, up to where a later token starts, belong to it.
    following = next((start for start, _ in spans[count:] if start >= end), len(answer))
    while end < following and unicodedata.combining(answer[end]):
        end += 1
    return end


@dataclass(frozen=True)
class Heads:
    """The heads of many answers, as columns.

    Attributes:
        texts, tokens, whole: see `Head`; each of shape (answers,).
        encoded: the ids of all of each answer, or none where they were not found on the way: shape
            (tokens,), and where each answer's begin and the last end, shape (answers + 1,).
    """

    texts: pa.LargeStringArray
    tokens: Ints
    whole: npt.NDArray[np.bool_]
    encoded: tuple[Ids, Ints] | None = None

    @classmethod
    def of(cls, heads: Sequence[Head]) -> Heads:
        return cls(
            pa.array([head.text for head in heads], pa.large_string()),
            np.array([head.tokens for head in heads], np.int64),
            np.array([head.whole for head in heads], bool),
        )

    def take(self, places: Ints) -> Heads:
        """Some of the heads, without ids."""
        return Heads(self.texts.take(pa.array(places)), self.tokens[places], self.whole[places])

    def to_list(self) -> list[Head]:
        columns = self.texts.to_pylist(), self.tokens.tolist(), self.whole.tolist()
        return [Head(*values) for values in zip(*columns, strict=True)]


def heads_of(
    answers: pa.LargeStringArray,
    tokenizer: LoadedTokenizer,
    engine: Engine,
    count: int,
    *,
    entire: int = 0,
) -> Heads:
    """What `answer_heads` gives with `cut="char"`, for many answers at once.

    Only the head of a long answer is encoded, up to a place where a word ends, which no token
    crosses. The bytes that the first tokens stand for are the text, up to the end of the character.
    Answers for which this is not sure to be right go to `answer_heads`.

    Args:
        entire: bytes up to which all of an answer is encoded at once, as pays where its ids are used again.
    """
    if not tokenizer.spells_bytes or not tokenizer.splits_words or tokenizer.normalizes not in (None, "NFC"):
        return Heads.of(answer_heads(answers.to_pylist(), tokenizer, count))
    sizes = np.diff(utf8_parts(answers)[0])
    ends = np.zeros(len(answers), np.int64)
    tokens = np.zeros(len(answers), np.int64)
    whole = np.zeros(len(answers), bool)
    encoded = None
    left = np.arange(len(answers))
    for enough, window in (*TRIES, ALL):
        if sizes[left].sum() <= LITTLE:
            enough, window = ALL
        some = answers if len(left) == len(answers) else answers.take(pa.array(left))
        first = some is answers
        tried = _head_ends(some, tokenizer, engine, count, enough * count, window, entire if first else 0)
        ends[left], tokens[left], whole[left] = tried.ends, tried.tokens, tried.whole
        encoded = tried.encoded if first else encoded
        left = left[~tried.sure]
        if not len(left) or (enough, window) == ALL:
            break
    ends[left] = 0
    bounds, raw = utf8_parts(answers)
    texts = substrings(answers, to_characters(bounds[:-1] + ends, bounds[1:], raw) - bounds[:-1])
    if len(left):
        slow = Heads.of(_slow_heads(answers.take(pa.array(left)), tokenizer, count))
        texts = put(texts, left, slow.texts)
        tokens[left], whole[left] = slow.tokens, slow.whole
    return Heads(texts, tokens, whole, encoded)


def _slow_heads(answers: pa.LargeStringArray, tokenizer: LoadedTokenizer, count: int) -> list[Head]:
    """What `answer_heads` gives, found by it, in the start of an answer where that is enough.

    Normalization to NFC changes nothing across the space at which an answer is cut.
    """
    enough, window = TRIES[1]
    bounds, raw = utf8_parts(answers)
    cuts = _safe_cuts(bounds, raw, enough * count, window)
    heads = answer_heads(substrings(answers, cuts).to_pylist(), tokenizer, count)
    left = np.flatnonzero((cuts < np.diff(bounds)) & np.array([head.whole for head in heads], bool))
    entire = answer_heads(answers.take(pa.array(left)).to_pylist(), tokenizer, count)
    for at, head in zip(left.tolist(), entire, strict=True):
        heads[at] = head
    return heads


class _Ends(NamedTuple):
    """Where the heads of answers end, in bytes; how many tokens they show; whether that is all of the
    answer; and whether all this is sure; each of shape (answers,). And `Heads.encoded`."""

    ends: Ints
    tokens: Ints
    whole: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_]
    encoded: tuple[Ids, Ints]


def _head_ends(
    answers: pa.LargeStringArray,
    tokenizer: LoadedTokenizer,
    engine: Engine,
    count: int,
    enough: int,
    window: int,
    entire: int,
) -> _Ends:
    """Encode the answers, the long ones only up to a place to cut, `enough` bytes from their start or
    up to `window` more; of those that have none there, nothing."""
    bounds, raw = utf8_parts(answers)
    sizes = np.diff(bounds)
    cuts = _safe_cuts(bounds, raw, enough, window, entire)
    heads = answers if np.array_equal(cuts, sizes) else substrings(answers, cuts)
    ids, offsets = engine.encode(heads)
    found = np.diff(offsets)
    # Of small numbers, since large arrays take longer to get than to fill.
    spelled: npt.NDArray[np.int32 | np.int64] = np.zeros(
        len(ids) + 1, np.int32 if len(raw) < IN_32_BITS else np.int64
    )
    np.cumsum(tokenizer.byte_lengths(ids), dtype=spelled.dtype, out=spelled[1:])
    tokens = np.minimum(found, count)
    ends = spelled[offsets[:-1] + tokens] - spelled[offsets[:-1]]
    sure = spelled[offsets[1:]] - spelled[offsets[:-1]] == cuts
    sure &= (cuts == sizes) | (found > count)
    if tokenizer.normalizes:
        sure &= is_nfc(heads, np.minimum(ends + MARGIN, cuts))
    sure &= ~contain_any(heads, tokenizer.guarded)
    whole = (found <= count) & sure
    known = cuts == sizes
    if not known.all():
        ids = ids[np.repeat(known, found)]
        offsets = np.concatenate([[0], np.cumsum(np.where(known, found, 0))])
    return _Ends(np.where(whole, sizes, ends), tokens, whole, sure, (ids, offsets))


def _safe_cuts(bounds: Ints, raw: npt.NDArray[np.uint8], enough: int, window: int, entire: int = 0) -> Ints:
    """How many bytes of each text to encode: all of a short one; of a long one those up to a space between
    two letters, or 0 where there is none.

    A byte beyond ASCII passes for a letter: before a single space every splitter that splits words
    at all begins a new one.

    The space is the first one among the `window` bytes that follow the first `enough`.
    """
    sizes = np.diff(bounds)
    cuts = sizes.copy()
    long = np.flatnonzero(sizes > max(enough + window + 1, entire))
    if not len(long):
        return cuts
    places = (bounds[:-1][long] + enough)[:, None] + np.arange(-1, window + 1)
    around = raw[places]
    letters = (((around | 0x20) >= ord("a")) & ((around | 0x20) <= ord("z"))) | (around >= 0x80)
    fits = (around[:, 1:-1] == ord(" ")) & letters[:, :-2] & letters[:, 2:]
    some = fits.any(axis=1)
    cuts[long] = np.where(some, enough + np.argmax(fits, axis=1), 0)
    return cuts


class HeadFinder:
    """Finds what each answer's preview shows, as the settings say."""

    def __init__(
        self,
        settings: Settings,
        tokenizer: LoadedTokenizer | None,
        engine: Engine | None,
        *,
        entire: int = 0,
    ) -> None:
        """
        Args:
            tokenizer, engine: of the model; virtual mode needs neither, but tells no number of tokens
                without.
            entire: see `heads_of`.
        """
        self._entire = entire
        self._settings = settings
        self._tokenizer = tokenizer
        self._engine = engine
        self._phrase_tokens = len(tokenizer.encode_ids([settings.phrase])[0]) if tokenizer else 0

    def find(self, answers: pa.LargeStringArray, rows: Ints, notes: Counter[str]) -> Heads:
        """The heads of answers; some are found by `answer_heads` too, and compared.

        Args:
            rows: the place of each answer's row in its file, shape (answers,).
        """
        count = len(answers)
        m = self._settings.preview_tokens
        if self._settings.mode == "virtual":
            return Heads(
                pa.array([self._settings.phrase] * count, pa.large_string()),
                np.full(count, self._phrase_tokens),
                np.zeros(count, bool),
            )
        assert self._tokenizer is not None
        assert self._engine is not None
        if self._settings.cut == "reference":
            return Heads.of(answer_heads(answers.to_pylist(), self._tokenizer, m, cut="reference"))
        heads = heads_of(answers, self._tokenizer, self._engine, m, entire=self._entire)
        sample = np.flatnonzero(rows % SAMPLED_EVERY == 0)
        expected = answer_heads(answers.take(pa.array(sample)).to_pylist(), self._tokenizer, m)
        if heads.take(sample).to_list() == expected:
            return heads
        notes["preview_differs"] += count
        return Heads.of(answer_heads(answers.to_pylist(), self._tokenizer, m))
