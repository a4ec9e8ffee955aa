"""What a trainer is to this package, and what there is to know of a folder to set one up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lookahead_data.config import TRAIN, Settings
from lookahead_data.sink.card import data_files
from lookahead_data.sink.profiles import PROFILES

VALIDATION = "validation"
"""The split on which trainers are set up to evaluate, if there is one."""

MODEL = "YOUR/MODEL"
"""Stands in the settings where the tokenizer's name does not tell the model."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds, as far as settings depend on it.

    Attributes:
        folder: an absolute path.
        settings: of the job that made it.
        rows, tokens, supervised_tokens: in all shards.
        longest: tokens of the longest row.
        lengths: how many documents have how many tokens; unpacked rows are documents.
        splits: those that have rows.
    """

    folder: Path
    settings: Settings
    rows: int
    tokens: int
    supervised_tokens: int
    longest: int
    lengths: Counter[int]
    splits: tuple[str, ...] = (TRAIN,)

    @property
    def profile(self) -> str:
        """Its form of rows; a name in `sink.profiles.PROFILES`."""
        return self.settings.chosen_profile

    @property
    def packed(self) -> bool:
        return self.settings.pack is not None

    @property
    def evaluates(self) -> bool:
        """Whether there are rows to evaluate on."""
        return VALIDATION in self.splits

    @property
    def row_tokens(self) -> int:
        """The tokens that a row may have: those of a packed row, else those of the longest one."""
        return self.settings.pack or self.longest

    @property
    def data(self) -> str:
        """Where the shards are."""
        return str(self.folder / "data")

    def pattern(self, split: str) -> str:
        """What the names of a split's shards match."""
        return Path(data_files(PROFILES[self.profile], self.settings)[split]).name

    @property
    def model(self) -> str:
        """The model's name, if that of the tokenizer is one of the Hub; else a word to replace."""
        name = str(self.settings.tokenizer)
        if name == "builtin" or Path(name).exists() or name.startswith((".", "/", "~")):
            return MODEL
        return name.partition("@")[0]

    def longer_than(self, tokens: int) -> int:
        """How many documents have more tokens."""
        return sum(count for length, count in self.lengths.items() if length > tokens)


@dataclass(frozen=True)
class Trainer:
    """A trainer, or what reads rows as one.

    Attributes:
        title: its name, for people.
        reads: the profiles that it can train on, the first before others.
        refuses: why it cannot train on the others, by profile, continuing "…, which".
        language: of its settings, `python` or `yaml`.
        settings: from a folder's contents to the settings, a text in that language.
        pitfalls: what to take care of with this folder.
        largest_group: the most rows of a row group that it reads well; None is any.
    """

    title: str
    reads: tuple[str, ...]
    refuses: Mapping[str, str]
    language: str
    settings: Callable[[Contents], str]
    pitfalls: Callable[[Contents], list[str]]
    largest_group: int | None = None


def quoted(text: str | Path) -> str:
    """A text as a literal of Python and of YAML alike."""
    return json.dumps(str(text), ensure_ascii=False)
