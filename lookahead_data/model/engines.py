"""Engines: texts in, flat token ids out, no Python object a token.

`tokenizers`, asked for whole texts, is the truth. Where it does the work it is asked for no piece of text twice, and
`gigatoken` (the extra `fast`) gives the same ids many times faster; what either gives is audited against the truth as a
job runs (see `stages.encode`).
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Encoding

from lookahead_data.arrays import Ints, utf8_parts
from lookahead_data.errors import TokenizerError
from lookahead_data.model.breakage import failing
from lookahead_data.model.tokenizer import LoadedTokenizer

Ids = npt.NDArray[np.int32]

SELF_TEST = (
    "Hello, world! It's 3.14 o'clock.\n\n  Two  spaces\tand a tab.",
    "naïve café, 漢字かな交じり文, עברית, हिन्दी, 👩‍👩‍👧‍👦 🎉",
    "def f(x):\n    return x ** 2  # done\r\n",
    " \n \n",
    "",
)
"""Texts on which an engine must agree with the truth before it is used at all."""

PLAIN = "plain"
"""The choice of the truth itself, where nothing quicker is to be trusted."""

AT_ONCE = 512
"""Pieces of text that `tokenizers` is given in one call. What it returns is many small parts; with those of
a whole batch in memory, a sixth of all time goes into finding places for more."""

LOOKED_EVERY = 8 << 20
"""Bytes of text after which a look is taken at what gigatoken remembers."""
REMEMBERED = 128 << 20
"""Bytes by which the process may grow, from the first look on, until gigatoken is loaded anew."""
BLINDLY = 512 << 20
"""Bytes of text after which it is where nobody tells how large the process is."""


class Engine(Protocol):
    """Encodes texts; special tokens written in them become their ids; no BOS or EOS is added."""

    name: str
    remembers: bool
    """Whether the texts of one call are encoded for nothing in the next, as parts of others too."""

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        """The ids of all texts one after the other, shape (tokens,), and where each text's begin
        and the last ends, shape (texts + 1,)."""
        ...


class TokenizersEngine:
    """The `tokenizers` package."""

    name = "tokenizers"
    remembers = False

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        encodings = self._tokenizer.encode_fast(texts.to_pylist())
        offsets = np.zeros(len(encodings) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32, offsets[-1])
        return ids, offsets


class PiecewiseEngine:
    """The `tokenizers` package, asked for no piece of text twice.

    A text is cut where the tokenizer is known to cut it before all else. So what templates repeat is
    encoded once a call, and an answer that was encoded for its head is not encoded again for its row.
    """

    name = "tokenizers"
    remembers = True

    def __init__(self, tokenizer: LoadedTokenizer, borders: re.Pattern[str]) -> None:
        """
        Args:
            borders: the tokenizer's `border_pattern`.
        """
        self._tokenizer = tokenizer
        self._borders = borders
        # The pieces of the last call alone, which is as much as a batch. Threads that share the engine
        # may lose what is in it, and nothing more.
        self._last: dict[str, Ids] = {}

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        pieces: list[str] = []
        ends = np.zeros(len(texts) + 1, np.int64)
        for at, text in enumerate(texts.to_pylist(), 1):
            pieces += self._borders.split(text)
            ends[at] = len(pieces)
        if not pieces:
            return np.zeros(0, np.int32), ends
        known = self._ids(pieces)
        found = [known[piece] for piece in pieces]
        offsets = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, found), np.int64, len(found)), out=offsets[1:])
        return np.concatenate(found), offsets[ends]

    def _ids(self, pieces: Sequence[str]) -> dict[str, Ids]:
        """The ids of each piece; those that the last call had too are not encoded again."""
        last = self._last
        found = {piece: last[piece] for piece in pieces if piece in last}
        new = [piece for piece in dict.fromkeys(pieces) if piece not in found]
        plain = [piece for piece in new if piece.isascii()]
        other = [piece for piece in new if not piece.isascii()]
        found.update(zip(plain, _in_parts(plain, self._tokenizer.encode_ascii), strict=True))
        found.update(zip(other, _in_parts(other, self._tokenizer.encode_fast), strict=True))
        self._last = found
        return found


def _in_parts(texts: Sequence[str], encode: Callable[[Sequence[str]], Sequence[Encoding]]) -> Iterator[Ids]:
    """The ids of each text, by `encode`."""
    for start in range(0, len(texts), AT_ONCE):
        for encoding in encode(texts[start : start + AT_ONCE]):
            yield np.array(encoding.ids, np.int32)


class GigatokenEngine:
    """The `gigatoken` package, fed Arrow's own buffers.

    It remembers every word that it has met, without end: random words take nine times their bytes. So it is
    loaded anew when the process has grown too much, which changes no id.
    """

    name = "gigatoken"
    remembers = False

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        # Loaded only here: an extra, and awkward takes a second to import.
        import awkward

        self._awkward: Any = awkward
        self._json = tokenizer.to_json()
        self._load()

    def _load(self) -> None:
        import gigatoken

        self._engine: Any = None  # the one before goes first: never are two of them in memory
        self._engine = gigatoken.Tokenizer.from_json(self._json)
        self._encoded = 0
        self._resident: int | None = None

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        if not len(texts):
            return np.zeros(0, np.int32), np.zeros(1, np.int64)
        ak = self._awkward
        offsets, data = utf8_parts(texts)
        characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
        layout = ak.contents.ListOffsetArray(
            ak.index.Index64(offsets), characters, parameters={"__array__": "string"}
        )
        # On this thread alone: a job's cores are its workers'.
        with failing():
            found = self._engine.encode_batch(ak.Array(layout), parallel=False).layout
        ids = np.asarray(found.content.data).view(np.int32)
        self._forget(int(offsets[-1] - offsets[0]))
        return ids, np.asarray(found.offsets).astype(np.int64)

    def _forget(self, size: int) -> None:
        """Load the engine anew where it remembers too much, after so many more bytes of text."""
        looks = self._encoded // LOOKED_EVERY
        self._encoded += size
        if self._encoded // LOOKED_EVERY == looks:
            return
        now = resident_bytes()
        if now is None:
            full = self._encoded > BLINDLY
        else:
            # Before the first look the process grows by all that a batch needs in other places.
            self._resident = now if self._resident is None else self._resident
            full = now - self._resident > REMEMBERED
        if full:
            self._load()


def resident_bytes() -> int | None:
    """The memory that this process has at present; None where the system does not tell (other than Linux)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


class Engines:
    """The engines of one tokenizer, each made when it is first asked for."""

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self.tokenizer = tokenizer
        self._made: dict[str, Engine] = {}

    def get(self, choice: str) -> Engine:
        """What `choose_engine` gives."""
        # A tokenizer that treats the start of a text specially needs offsets, which only the truth gives.
        choice = "tokenizers" if self.tokenizer.sensitive else choice
        if choice not in self._made:
            self._made[choice] = choose_engine(choice, self.tokenizer)
        return self._made[choice]


def choose_engine(choice: str, tokenizer: LoadedTokenizer) -> Engine:
    """The engine that `--engine` asks for.

    Args:
        choice: `tokenizers`, `gigatoken`, or `auto`: gigatoken where it is installed, can load this
            tokenizer and passes the self-test, else tokenizers. `PLAIN` is no choice of users.

    Raises:
        TokenizerError: gigatoken was asked for and cannot be used.
    """
    if choice == PLAIN:
        return TokenizersEngine(tokenizer)
    if choice == "tokenizers" or (choice == "auto" and importlib.util.find_spec("gigatoken") is None):
        return _sure_engine(tokenizer)
    try:
        engine = GigatokenEngine(tokenizer)
        problem = (
            None
            if agree(engine, TokenizersEngine(tokenizer), SELF_TEST)
            else "it gives other ids on a self-test"
        )
    except Exception as error:  # a tokenizer that it does not know fails in many ways
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        return engine
    if choice == "gigatoken":
        raise TokenizerError(
            f"gigatoken cannot be used with this tokenizer: {problem}",
            where=tokenizer.name,
            remedy="Use --engine auto or tokenizers; for gigatoken itself: pip install 'lookahead_data[fast]'.",
        )
    return _sure_engine(tokenizer)


def _sure_engine(tokenizer: LoadedTokenizer) -> Engine:
    """`tokenizers`, in pieces where it is known what cuts a text."""
    borders = tokenizer.border_pattern
    return PiecewiseEngine(tokenizer, borders) if borders else TokenizersEngine(tokenizer)


def agree(one: Engine, other: Engine, texts: Sequence[str]) -> bool:
    """Whether two engines give the same ids for the same texts."""
    array = pa.array(texts, pa.large_string())
    (ids, offsets), (other_ids, other_offsets) = one.encode(array), other.encode(array)
    return np.array_equal(ids, other_ids) and np.array_equal(offsets, other_offsets)
