"""Whether a trainer can train on a folder, and with what settings."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookahead_data.check.account import Account, read_account
from lookahead_data.check.report import Findings, Problem
from lookahead_data.check.rows import rules_for
from lookahead_data.check.vocabulary import id_limit
from lookahead_data.errors import OutputError, SettingsError
from lookahead_data.listener import Listener
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.shards import WEIGHTS
from lookahead_data.trainers import axolotl, hf, llama_factory, megatron, pytorch, trl
from lookahead_data.trainers.reading import Reading
from lookahead_data.trainers.remedy import remedy
from lookahead_data.trainers.trainer import Contents, Trainer

TRAINERS: dict[str, Trainer] = {
    "trl": trl.TRAINER,
    "axolotl": axolotl.TRAINER,
    "hf": hf.TRAINER,
    "llama-factory": llama_factory.TRAINER,
    "megatron": megatron.TRAINER,
    "torch": pytorch.TRAINER,
}


@dataclass(frozen=True)
class TrainerCheck:
    """What `check_for` found.

    Attributes:
        folder: the output folder.
        trainer: its name; `title` is that for people.
        tokenizer: the one that the rows were made with, which the model must have; None if the folder
            does not say.
        problems: why the trainer cannot train on the folder, the first of them.
        more: how many further problems there are.
        warnings: what could not be checked, and why.
        language: of the settings: `python` or `yaml`.
        settings: to give the trainer, as its own configuration; None if there are problems.
        pitfalls: what to take care of.
        rows, tokens, supervised_tokens: in the shards.
        longest: tokens of the longest row.
    """

    folder: Path
    trainer: str
    title: str
    tokenizer: str | None
    problems: tuple[Problem, ...]
    more: int
    warnings: tuple[str, ...]
    language: str
    settings: str | None
    pitfalls: tuple[str, ...]
    rows: int
    tokens: int
    supervised_tokens: int
    longest: int

    @property
    def ok(self) -> bool:
        """Whether the trainer can train on the folder."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return {"ok": self.ok} | asdict(self) | {"folder": str(self.folder)}


def check_for(
    folder: str | os.PathLike[str],
    trainer: str,
    *,
    tokenizer: str | None = None,
    listener: Listener | None = None,
) -> TrainerCheck:
    """Check whether a trainer can train on an output folder of `convert`, and give the settings for it.

    All rows are read: the columns are exactly those that the trainer reads, of the right types; labels
    are the ids or -100, and so is each first one; every row has something to learn; ids are in the
    vocabulary; documents of packed rows can be told apart. Whether the shards are the ones that were
    written is for `verify`.

    Args:
        folder: the output folder.
        trainer: one of `trl`, `axolotl`, `hf`, `llama-factory`, `megatron`, `torch`.
        tokenizer: where the tokenizer is, if it was moved since.
        listener: told of the progress, in bytes of the shards, and of what could not be checked.

    Raises:
        OutputError: there is no such folder, or `tokenizer` is not the one that the rows were made with.
        SettingsError, TokenizerError: an argument cannot be used.
    """
    path = Path(folder)
    if not path.is_dir():
        raise OutputError("there is no such folder", where=str(path))
    if trainer not in TRAINERS:
        raise SettingsError(
            f"{trainer!r} is no trainer that is known here", remedy=f"Choose one of: {', '.join(TRAINERS)}."
        )
    chosen = TRAINERS[trainer]
    listener = listener or Listener()
    findings = Findings(listener.warned)
    found = read_account(path, findings)
    contents: Contents | None = None
    if found is not None and not findings.problems:
        profile, again = found.settings.chosen_profile, _again(path, found, chosen)
        if profile in chosen.reads:
            rules = rules_for(found.settings, id_limit(path, found, tokenizer, findings))
            contents = Reading(chosen, rules, again, findings).read_all(path, found, listener)
        else:
            findings.add("data", f"has the profile {profile}, which {chosen.refuses[profile]}", remedy=again)
    fits = contents if not findings.problems else None
    return TrainerCheck(
        folder=path,
        trainer=trainer,
        title=chosen.title,
        tokenizer=found.settings.tokenizer if found else None,
        problems=tuple(findings.problems),
        more=findings.more,
        warnings=tuple(findings.warnings),
        language=chosen.language,
        settings=chosen.settings(fits) if fits else None,
        pitfalls=(*chosen.pitfalls(fits), *_unread(chosen, fits)) if fits else (),
        rows=contents.rows if contents else 0,
        tokens=contents.tokens if contents else 0,
        supervised_tokens=contents.supervised_tokens if contents else 0,
        longest=contents.longest if contents else 0,
    )


def _unread(trainer: Trainer, contents: Contents) -> list[str]:
    """What the folder holds that the trainer does not read."""
    if contents.settings.preview_weight is None:
        return []
    return [
        f"The weights beside the shards ({WEIGHTS}/) are not read: {trainer.title} learns previewed tokens as any others."
    ]


def _again(folder: Path, found: Account, trainer: Trainer) -> str:
    """The command that makes a folder for the trainer, packed if this one is and the trainer reads such."""
    settings = found.settings
    packed = PROFILES[settings.chosen_profile].packed
    profile = next((name for name in trainer.reads if PROFILES[name].packed == packed), trainer.reads[0])
    inputs = [entry["path"] for entry in found.plan["inputs"]]
    longest = max((max(receipt.counts.lengths, default=0) for receipt in found.receipts.values()), default=0)
    return remedy(folder, settings, inputs, longest, profile)
