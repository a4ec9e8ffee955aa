"""The vocabulary that the ids of a folder must be in."""

from __future__ import annotations

from pathlib import Path

from lookahead_data.check.account import Account
from lookahead_data.check.report import Findings
from lookahead_data.errors import OutputError, TokenizerError
from lookahead_data.model.tokenizer import load_tokenizer


def id_limit(folder: Path, found: Account, tokenizer: str | None, findings: Findings) -> int | None:
    """The number that all ids are less than, or None, with a warning, if the tokenizer is not at hand.

    Args:
        tokenizer: where the tokenizer is now; None is where the settings say.

    Raises:
        OutputError: `tokenizer` is not the one that the rows were made with.
        TokenizerError: `tokenizer` cannot be loaded.
    """
    name = tokenizer or str(found.settings.tokenizer)
    try:
        loaded = load_tokenizer(name)
    except TokenizerError as error:
        if tokenizer:
            raise
        problem = f"the tokenizer {name} cannot be loaded ({error.problem})"
    else:
        if loaded.sha256 == found.tokenizer:
            return loaded.id_limit
        problem = f"the tokenizer {name} is not the one that these rows were made with"
        if tokenizer:
            raise OutputError(problem, where=str(folder), remedy="Name the right one.")
    findings.warn(f"the ids were not held against the vocabulary: {problem}; name it with --tokenizer")
    return None
