"""Engines: texts in, flat token ids out, no Python object a token.

`tokenizers` is the truth. `gigatoken` (the extra `fast`) gives the same ids many times faster; what
it gives is audited against the truth as a job runs (see `stages.encode`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, utf8_parts
from lookahead_data.errors import TokenizerError
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


class Engine(Protocol):
    """Encodes texts; special tokens written in them become their ids; no BOS or EOS is added."""

    name: str

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        """The ids of all texts one after the other, shape (tokens,), and where each text's begin
        and the last ends, shape (texts + 1,)."""
        ...


class TokenizersEngine:
    """The `tokenizers` package."""

    name = "tokenizers"

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: pa.LargeStringArray) -> tuple[Ids, Ints]:
        encodings = self._tokenizer.encode(texts.to_pylist(), special=True, offsets=False)
        offsets = np.zeros(len(encodings) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32, offsets[-1])
        return ids, offsets


class GigatokenEngine:
    """The `gigatoken` package, fed Arrow's own buffers."""

    name = "gigatoken"

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        # Loaded only here: an extra, and awkward takes a second to import.
        import awkward
        import gigatoken

        self._awkward: Any = awkward
        self._engine = gigatoken.Tokenizer.from_json(tokenizer.to_json())

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
        found = self._engine.encode_batch(ak.Array(layout), parallel=False).layout
        ids = np.asarray(found.content.data).view(np.int32)
        return ids, np.asarray(found.offsets).astype(np.int64)


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
            tokenizer and passes the self-test, else tokenizers.

    Raises:
        TokenizerError: gigatoken was asked for and cannot be used.
    """
    truth = TokenizersEngine(tokenizer)
    if choice == "tokenizers" or (choice == "auto" and importlib.util.find_spec("gigatoken") is None):
        return truth
    try:
        engine = GigatokenEngine(tokenizer)
        problem = None if agree(engine, truth, SELF_TEST) else "it gives other ids on a self-test"
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
    return truth


def agree(one: Engine, other: Engine, texts: Sequence[str]) -> bool:
    """Whether two engines give the same ids for the same texts."""
    array = pa.array(texts, pa.large_string())
    (ids, offsets), (other_ids, other_offsets) = one.encode(array), other.encode(array)
    return np.array_equal(ids, other_ids) and np.array_equal(offsets, other_offsets)
