"""Where a text may be cut so that its parts, encoded one by one, have the ids of the whole.

Added tokens are found before all else, so a cut beside one is safe if it is found whatever stands
around it. That is not so of tokens that overlap: Gemma has runs of newlines as added tokens, and `\\n`
followed by `\\n\\n` is neither but the token `\\n\\n\\n`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Sequence

from tokenizers import AddedToken, Tokenizer

_NEWLINES_APART = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + digits
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}", r"\p{N}{1,3}")
)
"""The splitters of Qwen and of Llama 3. In both, newlines at the start of a text that no white space follows
are a piece of their own: nothing that stands before `[\\r\\n]+` begins with a newline, it takes all of them,
and nothing looks back."""


def never_overlapping(tokens: Collection[str], others: Collection[str]) -> list[str]:
    """Those of `tokens` that are found wherever they stand in a text, whatever stands around them.

    The longest of the tokens that begin at the leftmost place is found. So a token can only be missed
    where another one begins before it and reaches into it, or begins with it and goes on.

    Args:
        others: all tokens that are searched for.
    """
    suffixes = sorted({token[at:] for token in others for at in range(1, len(token))})
    ends = set(suffixes)
    whole = sorted(others)

    def goes_on(text: str, sorted_texts: Sequence[str]) -> bool:
        at = bisect_right(sorted_texts, text)
        return at < len(sorted_texts) and sorted_texts[at].startswith(text)

    return [
        token
        for token in tokens
        if not any(token[:at] in ends for at in range(1, len(token) + 1))
        and not goes_on(token, suffixes)
        and not goes_on(token, whole)
    ]


def safe_tokens(engine: Tokenizer, wanted: Collection[str]) -> tuple[str, ...]:
    """Those of the wanted added tokens beside which a text may always be cut, the longest first."""
    added = [token for token in engine.get_added_tokens_decoder().values() if token.content]
    # Normalized tokens are searched for in normalized text, after the others have cut it.
    as_is = _leaves_alone(engine)
    if any(token.single_word for token in added):
        return ()  # whether these are found depends on the letter before them
    fixed = {
        token.content
        for token in added
        # The others take white space beside them along.
        if not (token.lstrip or token.rstrip)
        and not (token.content[0].isspace() or token.content[-1].isspace())
        and (not token.normalized or as_is)
    }
    found = never_overlapping([token for token in wanted if token in fixed], [t.content for t in added])
    return tuple(sorted(found, key=lambda token: (-len(token), token)))


def _leaves_alone(engine: Tokenizer) -> bool:
    """Whether the tokenizer normalizes nothing."""
    normalizer = engine.normalizer
    if normalizer is None:
        return True
    match json.loads(normalizer.__getstate__()):
        case {"type": "Sequence", "normalizers": []}:
            return True
    return False


def are_newlines_apart(engine: Tokenizer, normalizer: str | None) -> bool:
    """Whether newlines at the start of a part, where no white space follows them, are encoded as if they
    and the rest were texts of their own: known from the splitter, not found by trying."""
    if normalizer not in (None, "NFC"):
        return False  # NFC joins nothing to a newline; of others that is not known
    added: Collection[AddedToken] = engine.get_added_tokens_decoder().values()
    if any("\n" in token.content or token.lstrip for token in added):
        return False
    splitter = engine.pre_tokenizer
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


def border_pattern(safe: Sequence[str], *, newlines_apart: bool) -> re.Pattern[str] | None:
    """Matches, as a group, what cuts a text into parts that are encoded as if each stood alone: runs of
    tokens, with the newlines behind them where these are apart from what follows.

    Args:
        safe: tokens beside which a text may be cut, the longest first; with none, there is no pattern.
    """
    if not safe:
        return None
    one = f"(?:{'|'.join(map(re.escape, safe))})"
    if newlines_apart:
        one += r"(?:\n+(?=\S))?"
    # Written out once before it is repeated: `re` then looks for how it begins, in half of the time.
    return re.compile(f"({one}(?:{one})*)")
