"""The tokenizer and the chat template that a job's settings name, together."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from lookahead_data.config import Settings
from lookahead_data.errors import SettingsError, TemplateError
from lookahead_data.model.engines import Engine, choose_engine
from lookahead_data.model.template import BUILTIN, ChatTemplate, find_template
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer


@dataclass(frozen=True)
class Model:
    """What a job must know of the model.

    Attributes:
        tokenizer: the loaded tokenizer.
        template: the compiled chat template; None is plain concatenation.
        engine: what encodes.
        warnings: for people.
    """

    tokenizer: LoadedTokenizer
    template: ChatTemplate | None
    engine: Engine
    warnings: tuple[str, ...] = ()


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


def load_model(settings: Settings, shape: str, *, size: int = 0) -> Model:
    """Load tokenizer and template.

    Args:
        shape: the corpus's kind: text has no template, and conversations of several turns need one.
        size: bytes of input; for little of it `--engine auto` does not load the fast engine.

    Raises:
        SettingsError, TokenizerError, TemplateError: as the name says.
    """
    tokenizer = require_tokenizer(settings)
    warnings = list(tokenizer.warnings)
    if settings.end_token and tokenizer.token_id(settings.end_token) is None:
        raise SettingsError(
            f"{settings.end_token!r} (--end-token) is not a token of this tokenizer",
            where=tokenizer.name,
        )
    # A tokenizer that treats the start of a text specially needs offsets, which only the truth gives.
    small = settings.engine == "auto" and size < SMALL
    engine = choose_engine("tokenizers" if tokenizer.sensitive or small else settings.engine, tokenizer)
    if shape == "text":
        return Model(tokenizer, None, engine, tuple(warnings))
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
    return Model(tokenizer, template, engine, tuple(warnings))
