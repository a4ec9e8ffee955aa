"""The tokenizer: found, checked, and asked what a pipeline must know of it."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from lookahead_data.errors import TokenizerError
from lookahead_data.model import borders
from lookahead_data.model.added import (
    add_configured,
    ending_tokens,
    longest_first,
    mark_special,
    named_tokens,
    pattern_of,
    written_tokens,
)
from lookahead_data.model.breakage import PANIC, failing
from lookahead_data.model.files import (
    CONFIG,
    DEFAULT,
    GENERATION,
    REMEDY,
    SPECIAL_TOKENS,
    TOKENIZER,
    digest_of,
    find_files,
    parse,
    templates_of,
)

_ANCHOR = "\n"
_PROBES = ("hello", "Answer", "x", "1", "é", " hello", "\nhello")


_MANY = 1000
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, eq=False, repr=False)
class LoadedTokenizer:
    """A checked tokenizer.

    Attributes:
        name: what the user called it.
        sha256: of `tokenizer.json`, and of what else of its folder the result depends on.
        special: the added tokens with the flag `special`, longest first.
        guarded: the added tokens that text of the corpus must not become, longest first: the special ones,
            those that chat templates write, and those that end generation.
        named: `bos_token`, `eos_token` and the like, as its configuration gives them.
        templates: the tokenizer's own chat templates (Jinja) by name.
        eos_id: the token that ends a text, as its configuration names it, else as `generation_config.json`
            does; None where neither does.
        prefix_ids, suffix_ids: what its post-processor puts around a text (BOS, EOS).
        sensitive: whether it treats the start of a text specially (a prepended `▁`, say), so that
            a text's pieces encoded one by one are not the text encoded whole.
        restarts: of a sensitive one, whether what follows a special token is a start too.
        warnings: what was found and changed on loading, for people.
    """

    name: str
    sha256: str
    special: tuple[str, ...]
    guarded: tuple[str, ...]
    named: dict[str, str]
    templates: Mapping[str, str]
    eos_id: int | None
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    sensitive: bool
    restarts: bool
    vocab_size: int
    warnings: tuple[str, ...]
    _byte_level: bool
    _normalizer: str | None
    _json: bytes
    _engine: Tokenizer
    # Whether special tokens written in a text become their ids is a switch of the whole instance. A
    # second instance would cost half a second and a hundred megabytes.
    _switch: threading.Lock

    def __repr__(self) -> str:
        return f"<LoadedTokenizer {self.name}, {self.vocab_size:,} tokens>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # IPython would print the whole vocabulary

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's own chat template, the one that is used unless another one is named."""
        return self.templates.get(DEFAULT)

    def guarding(self, templates: Collection[str]) -> LoadedTokenizer:
        """This tokenizer with the tokens guarded that these chat templates write too.

        The engine is shared: from then on it leaves them as text with the special ones.
        """
        written = written_tokens(self._engine, templates)
        if set(written) <= set(self.guarded):
            return self
        mark_special(self._engine, written)
        return replace(self, guarded=longest_first([*self.guarded, *written]))

    @functools.cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        """Matches each special token in a text; None if there are none (see `pattern_of`)."""
        return pattern_of(self._engine, self.special)

    @functools.cached_property
    def guarded_pattern(self) -> re.Pattern[str] | None:
        """Matches each guarded token in a text; None if there are none (see `pattern_of`)."""
        return pattern_of(self._engine, self.guarded)

    @functools.cached_property
    def guarded_ids(self) -> dict[str, int]:
        """The ids of the guarded tokens, without those that any text may come to: the one for what the
        model does not know, and those of single bytes."""
        unknown = self._unknown
        ids = {token: self._engine.token_to_id(token) for token in self.guarded if not _BYTE.fullmatch(token)}
        return {token: place for token, place in ids.items() if place is not None and place != unknown}

    @property
    def _unknown(self) -> int | None:
        model = self._engine.model
        token = getattr(model, "unk_token", None)
        if isinstance(token, str):
            return self._engine.token_to_id(token)
        stated = re.match(rb'{"type":"Unigram","unk_id":(\d+)', model.__getstate__()[:100])
        return int(stated[1]) if stated else None

    @functools.cached_property
    def safe_tokens(self) -> tuple[str, ...]:
        """Added tokens beside which a text may always be cut, longest first (see `model.borders`): of
        very many of them, which would take long to search for, the guarded ones."""
        if self.sensitive:
            return ()
        added = [token.content for token in self._engine.get_added_tokens_decoder().values()]
        return borders.safe_tokens(self._engine, added if len(added) <= _MANY else self.guarded)

    @functools.cached_property
    def border_pattern(self) -> re.Pattern[str] | None:
        """See `borders.border_pattern`. Only where special tokens written in a text become their ids."""
        return borders.border_pattern(self.safe_tokens, newlines_apart=self.newlines_apart)

    @functools.cached_property
    def newlines_apart(self) -> bool:
        """See `borders.are_newlines_apart`."""
        return borders.are_newlines_apart(self._engine, self._normalizer)

    @property
    def spells_bytes(self) -> bool:
        """Whether each token stands for a fixed number of bytes (see `byte_lengths`), as only those of
        a byte-level BPE do, which spell bytes as letters."""
        return self._byte_level and not self.sensitive

    def byte_lengths(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
        """For each id the number of UTF-8 bytes that it stands for, of the shape of `ids`."""
        lengths = self._lengths.take(ids)
        if len(lengths) and lengths.min() < 0:
            for place in np.unique(ids[lengths < 0]).tolist():
                added = self._added.get(place)
                token = self._engine.id_to_token(place) or ""
                self._lengths[place] = len(token if added is None else added.encode())
            lengths = self._lengths.take(ids)
        return lengths

    @functools.cached_property
    def _lengths(self) -> npt.NDArray[np.int16]:
        # Filled as ids are met: to ask for the whole vocabulary takes a quarter of a second. Small, so that
        # all of it stays in a processor's cache.
        return np.full(max(self.vocab_size, max(self._added, default=0) + 1), -1, np.int16)

    @functools.cached_property
    def _added(self) -> dict[int, str]:
        return {place: token.content for place, token in self._engine.get_added_tokens_decoder().items()}

    @functools.cached_property
    def id_limit(self) -> int:
        """All ids are less than this. It is more than `vocab_size` where ids are left out."""
        return max(self._engine.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def normalizes(self) -> str | None:
        """The kind of its normalizer, or None if it has none."""
        return self._normalizer

    @functools.cached_property
    def splits_words(self) -> bool:
        """Whether a space always begins a new piece, so that a text may be cut before it."""
        splitter = self._engine.pre_tokenizer
        if splitter is None:
            return False
        text = "Let us go then you AND I what's up Doc où été à Über привет мир 漢字 かな न दु कि “so” ok … a"
        starts = {start for _, (start, _) in splitter.pre_tokenize_str(text)}
        return all(at in starts for at, letter in enumerate(text) if letter == " ")

    def encode(self, texts: Sequence[str], *, special: bool = False, offsets: bool = True) -> list[Encoding]:
        """Encode each text by itself, without BOS or EOS.

        Args:
            special: whether special tokens written in the texts become their ids. Otherwise they
                stay text.
            offsets: whether character offsets are needed; without them it is faster.
        """
        batch = self._engine.encode_batch if offsets else self._engine.encode_batch_fast
        with self._switch, failing():
            self._engine.encode_special_tokens = not special
            return batch(list(texts), add_special_tokens=False)

    def encode_fast(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode each text by itself, special tokens written in it as such, without offsets."""
        return self.encode(texts, special=True, offsets=False)

    def encode_ascii(self, texts: Sequence[str]) -> list[Encoding]:
        """What `encode_fast` gives of texts in ASCII.

        NFC leaves such texts as they are, and takes an eighth of the time to do so: it is left out.
        """
        if not self._normalizes_in_vain:
            return self.encode_fast(texts)
        with self._switch, failing():
            self._engine.encode_special_tokens = False
            normalizer = self._engine.normalizer
            self._engine.normalizer = None
            try:
                return self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
            finally:
                self._engine.normalizer = normalizer

    @functools.cached_property
    def _normalizes_in_vain(self) -> bool:
        """Whether its normalizer changes nothing in ASCII, nor in the tokens that it searches for there."""
        added = self._engine.get_added_tokens_decoder().values()
        return self._normalizer == "NFC" and all(t.content.isascii() for t in added if t.normalized)

    def encode_ids(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """The token ids of each text, encoded by itself."""
        return [encoding.ids for encoding in self.encode(texts, special=special, offsets=False)]

    def to_json(self) -> bytes:
        """The `tokenizer.json` that it was loaded from, as UTF-8."""
        return self._json

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self._engine.decode(list(ids), skip_special_tokens=False))

    def tokens_to_text(self, tokens: Sequence[str]) -> str:
        """`convert_tokens_to_string` of transformers: the tokenizer's decoder over the tokens."""
        decoder = self._engine.decoder
        return "".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def token_id(self, token: str) -> int | None:
        return self._engine.token_to_id(token)

    def token_of(self, token_id: int) -> str | None:
        return self._engine.id_to_token(token_id)


def load_tokenizer(source: str) -> LoadedTokenizer:
    """Load a tokenizer and check it.

    Args:
        source: a folder with `tokenizer.json`, that file itself, `builtin`, or a Hub id, which may
            end in `@revision`.

    Raises:
        TokenizerError: it cannot be found, is broken, or would not give the same ids twice.
    """
    files = find_files(source)
    raw = files.get(TOKENIZER)
    if raw is None:
        raise TokenizerError("holds no tokenizer.json", where=source, remedy=REMEDY)
    config = parse(files.get(CONFIG, b"{}"), source, CONFIG)
    named = named_tokens(config, parse(files.get(SPECIAL_TOKENS, b"{}"), source, SPECIAL_TOKENS))
    try:
        generation = parse(files.get(GENERATION, b"{}"), source, GENERATION)
    except TokenizerError:
        if "eos_token" not in named:
            raise
        generation = {}  # it could only name further tokens that end generation
    try:
        engine = Tokenizer.from_buffer(raw)  # as a `str` it takes four times the memory
    except Exception as error:  # the binding raises plain Exception
        parse(raw, source, TOKENIZER)
        raise TokenizerError(f"tokenizer.json cannot be loaded: {error}", where=source) from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise TokenizerError(f"tokenizer.json cannot be loaded: {error}", where=source) from None
    dropout = getattr(engine.model, "dropout", None)
    if dropout:
        raise TokenizerError(
            f"its BPE model has a dropout of {dropout:g}, so it would give other tokens each time",
            where=source,
            remedy="Set model.dropout to null in tokenizer.json.",
        )
    warnings = [
        f"tokenizer.json sets {what}; it is switched off, since it would cut or fill rows"
        for what in ("truncation", "padding")
        if getattr(engine, what) is not None
    ]
    engine.no_truncation()
    engine.no_padding()
    added_warnings = add_configured(engine, config, named)
    if added_warnings:
        raw = engine.to_str().encode()
    added = engine.get_added_tokens_decoder().values()
    special = longest_first(token.content for token in added if token.special)
    contents = {token.content for token in added}
    ending = [token for token in ending_tokens(engine, named, generation) if token in contents]
    if "eos_token" in named and set(ending) <= {*special, named["eos_token"]}:
        files.pop(GENERATION, None)  # the result does not depend on it, and its digest should not
    templates = templates_of(files, config, source)
    guarded = {*special, *ending, *(token for token in named.values() if token in contents)}
    guarded |= set(written_tokens(engine, templates.values()))
    mark_special(engine, guarded)
    prefix, suffix = _frame(engine)
    sensitive, restarts = _start_matters(engine, special)
    return LoadedTokenizer(
        name=source,
        sha256=digest_of(files),
        special=special,
        guarded=longest_first(guarded),
        named=named,
        templates=templates,
        eos_id=_eos(engine, named, generation),
        prefix_ids=prefix,
        suffix_ids=suffix,
        sensitive=sensitive,
        restarts=restarts,
        vocab_size=engine.get_vocab_size(with_added_tokens=True),
        warnings=(*warnings, *added_warnings),
        _byte_level=_kind(engine.decoder) == "ByteLevel" and _kind(engine.model) == "BPE",
        _normalizer=_kind(engine.normalizer),
        _json=raw,
        _engine=engine,
        _switch=threading.Lock(),
    )


def _kind(part: object) -> str | None:
    """The kind of a part of a tokenizer (`NFC`, `BPE`), or None where it has none."""
    return None if part is None else type(part).__name__


def _eos(engine: Tokenizer, named: dict[str, str], generation: dict[str, Any]) -> int | None:
    """The id of the token that ends a text; of several that end generation the first."""
    if "eos_token" in named:
        return engine.token_to_id(named["eos_token"])
    stated = generation.get("eos_token_id")
    first = stated[0] if isinstance(stated, list) and stated else stated
    return first if type(first) is int and engine.id_to_token(first) is not None else None


def _frame(engine: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the post-processor puts before and after a text."""
    encoding = engine.encode("x")
    inner = [at for at, mask in enumerate(encoding.special_tokens_mask) if not mask]
    if not inner:
        return tuple(encoding.ids), ()
    return tuple(encoding.ids[: inner[0]]), tuple(encoding.ids[inner[-1] + 1 :])


def _start_matters(engine: Tokenizer, special: Sequence[str]) -> tuple[bool, bool]:
    """Whether the start of a text is treated specially, and whether that holds after a special token.

    Found by trying rather than by reading the configuration, since a dozen components can cause it.
    """

    def ids(text: str) -> list[int]:
        return list(engine.encode(text, add_special_tokens=False).ids)

    head = ids(_ANCHOR)
    sensitive = any(ids(_ANCHOR + probe) != head + ids(probe) for probe in _PROBES if probe[0] != _ANCHOR)
    if not sensitive or not special:
        return sensitive, False
    mark = special[0]
    return True, all(ids(mark + probe) == ids(mark) + ids(probe) for probe in _PROBES[:3])
