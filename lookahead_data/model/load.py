"""The tokenizer and the chat template that a job's settings name, together."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from lookahead_data.config import Settings
from lookahead_data.errors import SettingsError, TemplateError
from lookahead_data.model.engines import Engine, Engines
from lookahead_data.model.template import BUILTIN, ChatTemplate, find_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer


@dataclass(frozen=True)
class Model:
    """What a job must know of the model.

    Attributes:
        engines: the tokenizer's.
        template: the compiled chat template; None is plain concatenation.
        encoding: which engine shall encode (see `choose_engine`).
        warnings: for people.
    """

    engines: Engines
    template: ChatTemplate | None
    encoding: str = "tokenizers"
    warnings: tuple[str, ...] = ()

    @property
    def tokenizer(self) -> LoadedTokenizer:
        return self.engines.tokenizer

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


def load_model(settings: Settings, shape: str, *, size: int = 0, engines: Engines | None = None) -> Model:
    """Load tokenizer and template.

    Args:
        shape: the corpus's kind: text has no template, and conversations of several turns need one.
        size: bytes of input; for little of it `--engine auto` does not load the fast engine.
        engines: of the settings' tokenizer, where they are loaded already.

    Raises:
        SettingsError, TokenizerError, TemplateError: as the name says.
    """
    engines = engines or Engines(require_tokenizer(settings))
    tokenizer = engines.tokenizer
    warnings = list(tokenizer.warnings)
    if settings.end_token and tokenizer.token_id(settings.end_token) is None:
        raise SettingsError(
            f"{settings.end_token!r} (--end-token) is not a token of this tokenizer",
            where=tokenizer.name,
        )
    encoding = "tokenizers" if settings.engine == "auto" and size < SMALL else settings.engine
    if shape == "text":
        return Model(engines, None, encoding, tuple(warnings))
    found = find_template(settings.chat_template, tokenizer.chat_template, tokenizer.name)
    if found is None and settings.chat_template == "auto":
        if shape in ("messages", "sharegpt"):
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
    elif not tokenizer.suffix_ids and not settings.end_token:
        warnings.append(
            "without a chat template nothing ends the answer, since the tokenizer adds no end token; "
            "name one with --end-token to have the model learn where to stop"
        )
    return Model(engines, template, encoding, tuple(warnings))
