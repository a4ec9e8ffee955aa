"""The tokenizer and the chat template that a job's settings name, together."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import Ints
from lookahead_data.config import Settings
from lookahead_data.errors import RowError, SettingsError, TemplateError
from lookahead_data.model.engines import Engine, Engines
from lookahead_data.model.files import DEFAULT
from lookahead_data.model.rope import plain
from lookahead_data.model.template import BUILTIN, ChatTemplate, find_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer


@dataclass(frozen=True)
class Model:
    """What a job must know of the model.

    Attributes:
        engines: the tokenizer's.
        template: the compiled chat template; None is plain concatenation.
        end_id: the token put after each document of a text corpus, unless the document ends with it
            already; None is no token, and no text corpus.
        pad_id: the token that fills packed rows up; None where none is needed.
        encoding: which engine shall encode (see `choose_engine`).
        warnings: for people.
    """

    engines: Engines
    template: ChatTemplate | None
    encoding: str = "tokenizers"
    warnings: tuple[str, ...] = ()
    end_id: int | None = None
    pad_id: int | None = None

    @property
    def tokenizer(self) -> LoadedTokenizer:
        return self.engines.tokenizer

    def count_tokens(self, texts: pa.LargeStringArray) -> Ints:
        """The tokens of each text by itself, shape (texts,)."""
        return np.diff(self.engine.encode(texts)[1])

    @property
    def engine(self) -> Engine:
        """What encodes; loaded when it is first asked for, since a process that only plans never is.

        Raises:
            TokenizerError: the engine that was asked for cannot be used.
        """
        return self.engines.get(self.encoding)


def require_tokenizer(settings: Settings) -> LoadedTokenizer:
    """The tokenizer that the settings name; none is a `SettingsError`."""
    if not settings.tokenizer:
        raise SettingsError(
            "no tokenizer was named",
            remedy="Give the model's own with --tokenizer: a folder, a tokenizer.json, or a Hub id.",
        )
    return load_tokenizer(settings.tokenizer)


SMALL = 4 << 20
"""Bytes of input below which loading the fast engine takes longer than it saves."""


def preload(settings: Settings) -> Engines:
    """Load the tokenizer and the engine before the corpus is known to any further extent."""
    engines = Engines(require_tokenizer(settings))
    engines.get(settings.engine)
    return engines


def load_model(
    settings: Settings, kinds: frozenset[str], *, size: int = 0, engines: Engines | None = None
) -> Model:
    """Load tokenizer and template.

    Args:
        kinds: of the corpus's shapes: text has no template, and conversations of several turns need one.
        size: bytes of input; for little of it `--engine auto` does not load the fast engine.
        engines: of the settings' tokenizer, where they are loaded already.

    Raises:
        SettingsError, TokenizerError, TemplateError: as the name says.
    """
    engines = engines or Engines(require_tokenizer(settings))
    tokenizer = engines.tokenizer
    if settings.template_name is not None:
        _check_template_name(settings, tokenizer)
    warnings = list(tokenizer.warnings)
    if settings.end_token and tokenizer.token_id(settings.end_token) is None:
        raise SettingsError(
            f"{settings.end_token!r} (--end-token) is not a token of this tokenizer",
            where=tokenizer.name,
        )
    encoding = "tokenizers" if settings.engine == "auto" and size < SMALL else settings.engine
    pad_id = _pad_id(tokenizer) if settings.tail == "pad" else None
    if "text" in kinds:
        end_id = _document_end(settings, tokenizer)
        if end_id is not None and settings.end_token is None and _ends_turns(tokenizer, end_id):
            warnings.append(
                f"each document ends with the tokenizer's EOS, {tokenizer.token_of(end_id)!r}, by which its chat "
                "template ends turns; if the model's own pre-training had another token there, name that with --end-token"
            )
        return Model(engines, None, encoding, tuple(warnings), end_id, pad_id)
    found = find_template(settings.chat_template, _own_template(settings, tokenizer), tokenizer.name)
    if found is None and settings.chat_template == "auto":
        if kinds & {"messages", "sharegpt"}:
            raise TemplateError(
                "the tokenizer has no chat template, and a conversation needs one",
                where=tokenizer.name,
                remedy=f"Choose with --chat-template: {', '.join(BUILTIN)}, a Jinja file, or none.",
            )
        warnings.append(
            "the tokenizer has no chat template: prompt and completion are put together as they are. "
            "Choose one with --chat-template, or say none"
        )
    template = None
    if found is not None:
        day = settings.template_date
        template = ChatTemplate(
            found[0],
            name=found[1],
            variables=tokenizer.named | dict(settings.template_args),
            today=datetime.date.fromisoformat(day) if day else None,
        )
        template.probe()
        engines.tokenizer = tokenizer.guarding([template.source, *_samples(template)])
    elif not tokenizer.suffix_ids and not settings.end_token:
        warnings.append(
            "without a chat template nothing ends the answer, since the tokenizer adds no end token; "
            "name one with --end-token to have the model learn where to stop"
        )
    return Model(engines, template, encoding, tuple(warnings), pad_id=pad_id)


def _check_template_name(settings: Settings, tokenizer: LoadedTokenizer) -> None:
    names = ", ".join(sorted(tokenizer.templates))
    if settings.chat_template != "auto":
        raise SettingsError(
            f"--template-name names one of the tokenizer's own chat templates, and --chat-template is "
            f"{settings.chat_template}",
            remedy="Use one or the other.",
        )
    if settings.template_name not in tokenizer.templates:
        raise SettingsError(
            f"the tokenizer has no chat template {settings.template_name!r}",
            where=tokenizer.name,
            remedy=f"Choose with --template-name: {names}." if names else "It has no chat template at all.",
        )


def _own_template(settings: Settings, tokenizer: LoadedTokenizer) -> str | None:
    """The tokenizer's own template that the settings ask for; None if it has none.

    Raises:
        TemplateError: it has several, and none of them is the default.
    """
    own = tokenizer.templates.get(settings.template_name or DEFAULT)
    if own is None and tokenizer.templates and settings.chat_template == "auto":
        names = ", ".join(sorted(tokenizer.templates))
        raise TemplateError(
            f"the tokenizer has several chat templates and none called {DEFAULT!r}: {names}",
            where=tokenizer.name,
            remedy="Choose one with --template-name, or another template with --chat-template.",
        )
    return own


def _samples(template: ChatTemplate) -> Iterator[str]:
    """A few conversations as the template writes them, for the tokens that it puts together from parts."""
    user, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
    for messages in (
        [user, answer, user, answer],
        [{"role": "system", "content": "."}, user, answer],
        [user, {**answer, "reasoning_content": "."}],
        [user, answer, {"role": "tool", "content": "."}, answer],
    ):
        for asks in (False, True):
            with contextlib.suppress(RowError):
                yield plain(template.render(messages[:-1] if asks else messages, add_generation_prompt=asks))


def _document_end(settings: Settings, tokenizer: LoadedTokenizer) -> int | None:
    """The token that ends a document of text; None where none is wanted, or the post-processor puts its own."""
    if settings.end_token is not None:
        return tokenizer.token_id(settings.end_token) if settings.end_token else None
    if tokenizer.eos_id is None and not tokenizer.suffix_ids:
        raise SettingsError(
            "the tokenizer names no EOS token, so nothing would tell where one document ends and the next begins",
            where=tokenizer.name,
            remedy="Name one with --end-token, or put none with --end-token ''.",
        )
    return tokenizer.eos_id


def _ends_turns(tokenizer: LoadedTokenizer, token_id: int) -> bool:
    """Whether the tokenizer's chat template spells the token out, as those do that end turns with it."""
    token = tokenizer.token_of(token_id)
    return bool(token and tokenizer.chat_template and token in tokenizer.chat_template)


def _pad_id(tokenizer: LoadedTokenizer) -> int:
    """The tokenizer's own pad token, else its EOS."""
    named = tokenizer.named.get("pad_token")
    found = tokenizer.token_id(named) if named else None
    if found is None:
        found = tokenizer.eos_id
    if found is None:
        raise SettingsError(
            "the tokenizer names neither a pad token nor EOS, so nothing is there to fill rows up with",
            where=tokenizer.name,
            remedy="Use --tail keep, or name a pad_token in its tokenizer_config.json.",
        )
    return found


def token_counter(settings: Settings) -> Callable[[pa.LargeStringArray], Ints]:
    """What counts the tokens of texts, without a chat template.

    Raises:
        SettingsError: no tokenizer is named.
        TokenizerError: it cannot be used.
    """
    engine = Engines(require_tokenizer(settings)).get(settings.engine)
    return lambda texts: np.diff(engine.encode(texts)[1])
