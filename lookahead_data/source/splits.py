"""Which split a file belongs to, by the names that people give files and folders.

The keywords and the pattern of shard names are those that `datasets` documents for repositories without a
configuration (https://huggingface.co/docs/datasets/repository_structure).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

TRAIN = "train"
EVERY = "all"
"""What `--input-split` calls all splits together."""

KEYWORDS: dict[str, tuple[str, ...]] = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHARD = re.compile(r"^(?P<split>\w+(?:\.\w+)*?)-\d{5}-of-\d{5}\b")
_KEYWORD = {
    split: re.compile(rf"(?:^|[^a-zA-Z0-9])(?:{'|'.join(words)})(?:$|[^a-zA-Z0-9])", re.IGNORECASE)
    for split, words in KEYWORDS.items()
}


def split_of(path: str) -> str | None:
    """The split that a path inside of a folder names, or None.

    The file's own name goes first, then its folders from the inside out.
    """
    parts = PurePath(path).parts
    shard = _SHARD.match(parts[-1])
    if shard and shard["split"].lower() not in ("data", "part", "shard", "file", "chunk"):
        return canonical(shard["split"])
    stem = parts[-1].split(".")[0]
    for name in (stem, *reversed(parts[:-1])):
        found = [split for split, pattern in _KEYWORD.items() if pattern.search(name)]
        if len(found) == 1:
            return found[0]
    return None


def canonical(name: str) -> str:
    """The usual name of a split: `dev` is `validation`."""
    return next((split for split, words in KEYWORDS.items() if name.lower() in words), name)


def choose(present: Iterable[str], wanted: Sequence[str]) -> list[str] | None:
    """Which of the splits that are there are read; None if the user has to say.

    Args:
        present: the names of the splits, in order.
        wanted: the values of `--input-split`; none is the training split.
    """
    names = list(dict.fromkeys(present))
    if EVERY in wanted:
        return names
    if wanted:
        asked = {canonical(name) for name in wanted} | set(wanted)
        return [name for name in names if name in asked]
    if len(names) < 2:
        return names
    if TRAIN in names:
        return [TRAIN]
    training = [name for name in names if re.match(r"train(?![a-z])", name)]
    return training if len(training) == 1 else None
