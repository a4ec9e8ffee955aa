"""Reading all rows of a folder, to see whether a trainer can train on them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import whole_array
from lookahead_data.check.account import Account, words
from lookahead_data.check.files import strays
from lookahead_data.check.report import Findings
from lookahead_data.check.rows import Flaws, Rules, Tally, check_rows
from lookahead_data.listener import Listener
from lookahead_data.sink.formats import ShardReader, open_shard
from lookahead_data.sink.shards import Shard
from lookahead_data.trainers.trainer import Contents, Trainer


class Reading:
    """Reads shards, and sums up what is in them.

    Attributes:
        tally: of all rows.
        longest: tokens of the longest row.
    """

    def __init__(self, trainer: Trainer, rules: Rules, remedy: str, findings: Findings) -> None:
        """
        Args:
            rules: what must hold for every row.
            remedy: what the user can do about shards that do not fit.
            findings: gets what is wrong.
        """
        self.tally = Tally()
        self.longest = 0
        self._trainer = trainer
        self._rules = rules
        self._remedy = remedy
        self._findings = findings

    def read_all(self, folder: Path, found: Account, listener: Listener) -> Contents:
        """Read all shards that the accounts name; what else stands among them is wrong too."""
        size = sum(shard.size for shard in found.shards)
        listener.planned(size=size, units=len(found.units), shape=found.shape)
        for shard in found.shards:
            try:
                with open_shard(folder / shard.path) as reader:
                    self._read(reader, shard, listener)
            except (OSError, pa.ArrowException) as error:
                self._findings.add(shard.path, words(error), remedy=self._remedy)
        for name in strays(folder, "data/*", {shard.path for shard in found.shards}):
            self._findings.add(
                name, "stands among the shards, and would be read as one", remedy="Move it away."
            )
        if not self.tally.rows and not self._findings.problems:
            self._findings.add("data", "holds no row", remedy="The manifest's counts say why.")
        listener.finished()
        return Contents(
            folder=folder.resolve(),
            settings=found.settings,
            rows=self.tally.rows,
            tokens=self.tally.tokens,
            supervised_tokens=self.tally.supervised_tokens,
            longest=self.longest,
            lengths=Counter(self.tally.lengths),
            splits=tuple(dict.fromkeys(shard.split for shard in found.shards if shard.rows)),
        )

    def _read(self, reader: ShardReader, shard: Shard, listener: Listener) -> None:
        wrong = _other_columns(reader.schema, self._rules.profile.schema, self._trainer)
        for what in wrong:
            self._findings.add(shard.path, what, remedy=self._remedy)
        if wrong:
            return
        sizes = reader.group_rows
        most = self._trainer.largest_group
        if most is not None and max(sizes, default=0) > most:
            self._findings.add(
                shard.path,
                f"has row groups of {max(sizes):,} rows; {self._trainer.title} reads a whole one for each row, "
                f"and wants at most {most:,}",
                remedy=self._remedy,
            )
        flaws = Flaws()
        start = 0
        for at in range(len(sizes)):
            group = reader.group(at)
            tally = check_rows(group, self._rules, start, flaws)
            self.tally += tally
            start += tally.rows
            lengths = whole_array(group.column("input_ids")).value_lengths().fill_null(0)
            self.longest = max(self.longest, int(np.max(lengths.to_numpy(), initial=0)))
            listener.advanced(tally.rows, tally.tokens, shard.size // len(sizes))
        for row, what in flaws.told():
            self._findings.add(shard.path, what, row, remedy=self._remedy)


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
