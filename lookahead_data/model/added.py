"""Added tokens: those that only the configuration names, and those that text of the corpus must not become.

A chat template marks turns, calls and reasoning by added tokens. Text of the corpus that spells out one
of them must stay text, or a row could hold turns that nobody wrote. Which tokens those are is not told by
their `special` flag alone: DeepSeek's `<｜User｜>` and Qwen's `<tool_call>` do not have it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer

_FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")
_EXTRA = ("extra_special_tokens", "additional_special_tokens")


def named_tokens(*documents: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token` and the like, by name; earlier documents take precedence."""
    named: dict[str, str] = {}
    for document in documents:
        for key, value in document.items():
            text = _content(value) if key.endswith("_token") else None
            if text is not None:
                named.setdefault(key, text)
    return named


def _content(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def add_configured(engine: Tokenizer, config: Mapping[str, Any], named: Mapping[str, str]) -> list[str]:
    """Add the tokens that only the configuration has, as transformers does.

    Returns:
        Warnings, for people.
    """
    there = {place: repr(token) for place, token in engine.get_added_tokens_decoder().items()}
    known = set(there.values())
    declared: dict[int, AddedToken] = {}
    for place, value in (config.get("added_tokens_decoder") or {}).items():
        content = _content(value)
        if content and isinstance(value, Mapping) and str(place).isdecimal():
            flags = {name: bool(value[name]) for name in _FLAGS if name in value}
            declared[int(place)] = AddedToken(content, **flags)
    new = [(place, token) for place, token in sorted(declared.items()) if repr(token) not in known]
    contents = {token.content for token in engine.get_added_tokens_decoder().values()}
    contents |= {token.content for _, token in new}
    wanted = [*named.values(), *_extra(config)]
    named_only = [AddedToken(t, special=True) for t in dict.fromkeys(wanted) if t and t not in contents]
    if not new and not named_only:
        return []
    before = {token.content for token in engine.get_added_tokens_decoder().values()}
    engine.add_tokens([*(token for _, token in new), *named_only])
    warnings = []
    added = [token for _, token in new if token.content not in before] + named_only
    if added:
        names = ", ".join(f"{token.content!r} ({engine.token_to_id(token.content)})" for token in added[:5])
        more = f" and {len(added) - 5} more" if len(added) > 5 else ""
        warnings.append(
            f"tokens that only tokenizer_config.json or special_tokens_map.json has were added: {names}{more}"
        )
    for place, token in new:
        found = engine.token_to_id(token.content)
        if found != place:
            warnings.append(
                f"tokenizer_config.json says that {token.content!r} has the id {place}; here, as in transformers, "
                f"it has {found}"
            )
    return warnings


def _extra(config: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name in _EXTRA:
        value = config.get(name) or ()
        values = value.values() if isinstance(value, Mapping) else value
        if not isinstance(values, str):
            found += [text for item in values if (text := _content(item)) is not None]
    return found


def ending_tokens(engine: Tokenizer, named: Mapping[str, str], generation: Mapping[str, Any]) -> list[str]:
    """The tokens that end generation."""
    stated = generation.get("eos_token_id")
    ids = stated if isinstance(stated, list) else [stated]
    found = [engine.id_to_token(place) for place in ids if type(place) is int and place >= 0]
    return [token for token in [named.get("eos_token"), *found] if token]


def written_tokens(engine: Tokenizer, templates: Iterable[str]) -> list[str]:
    """The added tokens that chat templates write: those that stand in their source, unless they are
    nothing but letters, digits and white space, which text is made of."""
    sources = list(templates)
    found = []
    for token in engine.get_added_tokens_decoder().values():
        text = token.content
        marks = any(not char.isalnum() and not char.isspace() and char not in "_▁" for char in text)
        if marks and any(text in source for source in sources):
            found.append(text)
    return found


def mark_special(engine: Tokenizer, tokens: Collection[str]) -> None:
    """Have the engine leave these added tokens as text when it is told to leave special tokens so."""
    plain = [
        token
        for token in engine.get_added_tokens_decoder().values()
        if token.content in tokens and not token.special
    ]
    flags = ("lstrip", "rstrip", "single_word", "normalized")
    engine.add_special_tokens(
        [
            AddedToken(token.content, special=True, **{name: getattr(token, name) for name in flags})
            for token in plain
        ]
    )


def longest_first(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(tokens), key=lambda token: (-len(token), token)))


def pattern_of(engine: Tokenizer, tokens: Collection[str]) -> re.Pattern[str] | None:
    """Matches each of some tokens in a text, the longest first; None if there are none.

    Some tokens swallow the white space beside them (Phi-3's do); it is part of the match.
    """
    added = engine.get_added_tokens_decoder().values()
    before = {token.content: r"\s*" for token in added if token.lstrip}
    behind = {token.content: r"\s*" for token in added if token.rstrip}
    patterns = [
        before.get(token, "") + re.escape(token) + behind.get(token, "") for token in longest_first(tokens)
    ]
    return re.compile("|".join(patterns)) if patterns else None
