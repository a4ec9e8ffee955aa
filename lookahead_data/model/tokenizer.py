"""The tokenizer: found, checked, and asked what a pipeline must know of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from lookahead_data.errors import TokenizerError

_GENERATION = "generation_config.json"

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    _GENERATION,
)
"""The files that are read of a tokenizer's folder; only the first is needed."""

_ANCHOR = "\n"
_PROBES = ("hello", "Answer", "x", "1", "é", " hello", "\nhello")

_NEWLINES_APART = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + digits
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}", r"\p{N}{1,3}")
)
"""The splitters of Qwen and of Llama 3. In both, newlines at a text's start that no white space follows are
a piece of their own: nothing that stands before `[\\r\\n]+` begins with a newline, that takes all of them, and
nothing looks back."""


@dataclass(frozen=True, eq=False, repr=False)
class LoadedTokenizer:
    """A checked tokenizer.

    Attributes:
        name: what the user called it.
        sha256: of `tokenizer.json`, and of what else of its folder the result depends on.
        special: the tokens that are special, longest first.
        named: `bos_token`, `eos_token` and the like, as its configuration gives them.
        chat_template: the tokenizer's own chat template (Jinja), or None.
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
    named: dict[str, str]
    chat_template: str | None
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

    @functools.cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        """Matches each special token in a text, the longest first; None if there are none.

        Some tokens swallow the white space beside them (Phi-3's do); it is part of the match.
        """
        tokens = self._engine.get_added_tokens_decoder().values()
        before = {token.content: r"\s*" for token in tokens if token.lstrip}
        behind = {token.content: r"\s*" for token in tokens if token.rstrip}
        patterns = [
            before.get(token, "") + re.escape(token) + behind.get(token, "") for token in self.special
        ]
        return re.compile("|".join(patterns)) if patterns else None

    @functools.cached_property
    def border_pattern(self) -> re.Pattern[str] | None:
        """Matches, as a group, what cuts a text into parts that are encoded as if each were alone: runs
        of tokens, with the newlines behind them where these are apart from what follows. None where
        nothing is known to cut so.

        Only where special tokens written in a text become their ids.
        """
        added = self._engine.get_added_tokens_decoder().values()
        # The others are searched for in normalized text, after these have cut it.
        tokens = [token for token in added if not token.normalized]
        odd = any(token.lstrip or token.rstrip or token.single_word or not token.content for token in tokens)
        if odd or not tokens or self.sensitive:
            return None
        longest_first = sorted((token.content for token in tokens), key=len, reverse=True)
        one = f"(?:{'|'.join(map(re.escape, longest_first))})"
        if self.newlines_apart:
            one += r"(?:\n+(?=\S))?"
        # Written out once before it is repeated: `re` then looks for how it begins, in half of the time.
        return re.compile(f"({one}(?:{one})*)")

    @functools.cached_property
    def newlines_apart(self) -> bool:
        """Whether newlines at the start of a part, where no white space follows them, are encoded as if
        they and the rest were texts of their own: known of the splitter, not tried."""
        if self._normalizer not in (None, "NFC"):
            return False  # NFC joins nothing to a newline; of others that is not known
        splitter = self._engine.pre_tokenizer
        match json.loads(splitter.__getstate__()) if splitter is not None else None:
            case {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            }:
                return regex in _NEWLINES_APART
        return False

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
        with self._switch:
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
        with self._switch:
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
    files = _find(source)
    raw = files.get("tokenizer.json")
    if raw is None:
        raise TokenizerError("holds no tokenizer.json", where=source, remedy=_REMEDY)
    config = _parse(files.get("tokenizer_config.json", b"{}"), source, "tokenizer_config.json")
    tokens_map = _parse(files.get("special_tokens_map.json", b"{}"), source, "special_tokens_map.json")
    named = _named_tokens(config, tokens_map)
    if "eos_token" in named:
        files.pop(_GENERATION, None)  # the result does not depend on it, and its digest should not
    generation = _parse(files.get(_GENERATION, b"{}"), source, _GENERATION)
    try:
        engine = Tokenizer.from_buffer(raw)  # as a `str` it takes four times the memory
    except Exception as error:  # the binding raises plain Exception
        _parse(raw, source, "tokenizer.json")
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
    added = engine.get_added_tokens_decoder().values()
    special = sorted((token.content for token in added if token.special), key=lambda t: (-len(t), t))
    prefix, suffix = _frame(engine)
    sensitive, restarts = _start_matters(engine, special)
    return LoadedTokenizer(
        name=source,
        sha256=_digest(files),
        special=tuple(special),
        named=named,
        chat_template=_own_template(files, config, source),
        eos_id=_eos(engine, named, generation),
        prefix_ids=prefix,
        suffix_ids=suffix,
        sensitive=sensitive,
        restarts=restarts,
        vocab_size=engine.get_vocab_size(with_added_tokens=True),
        warnings=tuple(warnings),
        _byte_level=_kind(engine.decoder) == "ByteLevel" and _kind(engine.model) == "BPE",
        _normalizer=_kind(engine.normalizer),
        _json=raw,
        _engine=engine,
        _switch=threading.Lock(),
    )


_REMEDY = (
    "Give a folder with tokenizer.json, that file, a Hub id such as Qwen/Qwen3-0.6B, or builtin. "
    "An older model's tokenizer.model is converted by transformers: AutoTokenizer.from_pretrained(…)"
    ".save_pretrained(FOLDER)."
)


def _find(source: str) -> dict[str, bytes]:
    if source == "builtin":
        folder = importlib.resources.files("lookahead_data.assets") / "tokenizer"
        return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    path = Path(source)
    try:
        if path.is_dir():
            return {name: (path / name).read_bytes() for name in FILES if (path / name).is_file()}
        if path.is_file():
            beside = FILES[1:] if path.name == FILES[0] else ()
            found = {name: path.parent / name for name in beside if (path.parent / name).is_file()}
            return {FILES[0]: path.read_bytes()} | {name: p.read_bytes() for name, p in found.items()}
    except OSError as error:
        raise TokenizerError(f"cannot be read: {error.strerror}", where=source) from None
    if (
        source.startswith((".", "/", "~"))
        or not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?|[\w-]+(@[\w./-]+)?", source)
        or path.suffix
    ):
        raise TokenizerError("there is no such file or folder", where=source, remedy=_REMEDY)
    return _from_hub(source)


def _from_hub(source: str) -> dict[str, bytes]:
    # Loaded only here: it is slow to import, and most runs have the files at hand.
    import huggingface_hub

    name, _, revision = source.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=list(FILES)
        )
    except Exception as error:  # network, authorization, a wrong name: each has its own class
        problem = str(error).strip().split("\n")[0]
        raise TokenizerError(
            f"is no folder or file here, and the Hub did not give it: {problem}",
            where=source,
            remedy=_REMEDY,
        ) from None
    found = {name: Path(folder, name) for name in FILES}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


def _parse(raw: bytes, source: str, name: str) -> dict[str, Any]:
    try:
        document = json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{name} is not valid JSON: {error}", where=source) from None
    if not isinstance(document, dict):
        raise TokenizerError(f"{name} is not a JSON object", where=source)
    return document


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()


def _kind(part: object) -> str | None:
    """The kind of a part of a tokenizer (`NFC`, `BPE`), or None where it has none."""
    return None if part is None else type(part).__name__


def _named_tokens(*documents: dict[str, Any]) -> dict[str, str]:
    named: dict[str, str] = {}
    for document in documents:
        for key, value in document.items():
            if not key.endswith("_token"):
                continue
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                named.setdefault(key, text)
    return named


def _eos(engine: Tokenizer, named: dict[str, str], generation: dict[str, Any]) -> int | None:
    """The id of the token that ends a text; of several that end generation the first."""
    if "eos_token" in named:
        return engine.token_to_id(named["eos_token"])
    stated = generation.get("eos_token_id")
    first = stated[0] if isinstance(stated, list) and stated else stated
    return first if type(first) is int and engine.id_to_token(first) is not None else None


def _own_template(files: dict[str, bytes], config: dict[str, Any], source: str) -> str | None:
    if "chat_template.jinja" in files:
        try:
            return files["chat_template.jinja"].decode("utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerError(f"chat_template.jinja is not UTF-8: {error}", where=source) from None
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name, as older files have them
        by_name = {entry.get("name"): entry.get("template") for entry in template}
        template = by_name.get("default")
    return template if isinstance(template, str) else None


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
