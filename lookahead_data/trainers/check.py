"""Whether a trainer can train on a folder, and with what settings."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.check.account import Account, read_account, words
from lookahead_data.check.files import strays
from lookahead_data.check.report import Findings, Problem
from lookahead_data.check.rows import Flaws, Rules, check_rows
from lookahead_data.check.vocabulary import id_limit
from lookahead_data.errors import OutputError, SettingsError
from lookahead_data.listener import Listener
from lookahead_data.sink.formats import ShardReader, open_shard
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.shards import Shard
from lookahead_data.trainers import axolotl, hf, llama_factory, megatron, pytorch, trl
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
    reading = _Reading()
    contents: Contents | None = None
    if found is not None and not findings.problems:
        profile = found.settings.chosen_profile
        if profile not in chosen.reads:
            _refuse(path, found, chosen, findings)
        else:
            vocabulary = id_limit(path, found, tokenizer, findings)
            reading.read_all(path, found, chosen, vocabulary, findings, listener)
            contents = reading.contents(path, found)
    ok = contents is not None and not findings.problems
    return TrainerCheck(
        folder=path,
        trainer=trainer,
        title=chosen.title,
        tokenizer=found.settings.tokenizer if found else None,
        problems=tuple(findings.problems),
        more=findings.more,
        warnings=tuple(findings.warnings),
        language=chosen.language,
        settings=chosen.settings(contents) if contents and ok else None,
        pitfalls=tuple(chosen.pitfalls(contents)) if contents and ok else (),
        rows=reading.rows,
        tokens=reading.tokens,
        supervised_tokens=reading.supervised_tokens,
        longest=reading.longest,
    )


def _refuse(folder: Path, found: Account, trainer: Trainer, findings: Findings) -> None:
    """Tell that the trainer does not read the folder's profile, and which one it reads."""
    profile = found.settings.chosen_profile
    findings.add(
        "data",
        f"has the profile {profile}, which {trainer.refuses[profile]}",
        remedy=_again(folder, found, trainer),
    )


def _again(folder: Path, found: Account, trainer: Trainer) -> str:
    """The command that makes a folder for the trainer, packed if this one is and the trainer reads such."""
    settings = found.settings
    packed = PROFILES[settings.chosen_profile].packed
    profile = next((name for name in trainer.reads if PROFILES[name].packed == packed), trainer.reads[0])
    inputs = [entry["path"] for entry in found.plan["inputs"]]
    longest = max((max(receipt.counts.lengths, default=0) for receipt in found.receipts.values()), default=0)
    return remedy(folder, settings, inputs, longest, profile)


class _Reading:
    """Reads all shards, and sums up what is in them."""

    def __init__(self) -> None:
        self.rows = self.tokens = self.supervised_tokens = self.longest = self.group_rows = 0
        self.lengths: Counter[int] = Counter()

    def contents(self, folder: Path, found: Account) -> Contents:
        settings = found.settings
        return Contents(
            folder=folder.resolve(),
            settings=settings,
            profile=settings.chosen_profile,
            rows=self.rows,
            tokens=self.tokens,
            longest=self.longest,
            lengths=self.lengths,
            group_rows=self.group_rows,
        )

    def read_all(
        self,
        folder: Path,
        found: Account,
        trainer: Trainer,
        vocabulary: int | None,
        findings: Findings,
        listener: Listener,
    ) -> None:
        settings = found.settings
        rules = Rules(PROFILES[settings.chosen_profile], vocabulary, settings.pack or settings.max_length)
        again = _again(folder, found, trainer)
        listener.planned(
            size=sum(shard.size for shard in found.shards), units=len(found.units), shape=found.shape
        )
        for shard in found.shards:
            try:
                with open_shard(folder / shard.path) as reader:
                    self._read(reader, shard, rules, trainer, again, findings, listener)
            except (OSError, pa.ArrowException) as error:
                findings.add(shard.path, words(error), remedy=again)
        for name in strays(folder, "data/*", {shard.path for shard in found.shards}):
            findings.add(name, "stands among the shards, and would be read as one", remedy="Move it away.")
        if not self.rows and not findings.problems:
            findings.add("data", "holds no row", remedy="The manifest's counts say why.")
        listener.finished()

    def _read(
        self,
        reader: ShardReader,
        shard: Shard,
        rules: Rules,
        trainer: Trainer,
        again: str,
        findings: Findings,
        listener: Listener,
    ) -> None:
        wrong = _other_columns(reader.schema, rules.profile.schema, trainer)
        for what in wrong:
            findings.add(shard.path, what, remedy=again)
        if wrong:
            return
        sizes = reader.group_rows
        largest = max(sizes, default=0)
        self.group_rows = max(self.group_rows, largest)
        if trainer.largest_group is not None and largest > trainer.largest_group:
            findings.add(
                shard.path,
                f"has row groups of {largest:,} rows; {trainer.title} reads a whole one for each row, and wants at "
                f"most {trainer.largest_group:,}",
                remedy=again,
            )
        flaws = Flaws()
        rows = 0
        for at in range(len(sizes)):
            group = reader.group(at)
            tally = check_rows(group, rules, rows, flaws)
            rows += tally.rows
            self.tokens += tally.tokens
            self.supervised_tokens += tally.supervised_tokens
            self.lengths.update(tally.lengths)
            lengths = whole_array(group.column("input_ids")).value_lengths().fill_null(0)
            self.longest = max(self.longest, int(np.max(lengths.to_numpy(), initial=0)))
            listener.advanced(tally.rows, tally.tokens, shard.size // len(sizes))
        self.rows += rows
        for row, what in flaws.told():
            findings.add(shard.path, what, row, remedy=again)


def _other_columns(there: pa.Schema, wanted: pa.Schema, trainer: Trainer) -> list[str]:
    """What is wrong with the columns of a shard."""
    wrong = [
        f"has the column {name}, which {trainer.title} does not read: it must not be there"
        for name in there.names
        if name not in wanted.names
    ]
    for field in wanted:
        if field.name not in there.names:
            wrong.append(f"has no column {field.name}")
        elif (kind := there.field(field.name).type) != field.type:
            sign = ", and -100 needs a sign" if field.name == "labels" and "uint" in str(kind) else ""
            wrong.append(f"{field.name} is {kind}, and must be {field.type}{sign}")
    return wrong
