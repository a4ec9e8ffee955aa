"""One rank's way through the epochs of a corpus: its share, its batches, and how far it has come."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lookahead_data.errors import SettingsError
from lookahead_data.reading.corpus import Corpus
from lookahead_data.reading.order import Order, Shuffle
from lookahead_data.reading.position import Position
from lookahead_data.reading.rows import Reader, Rows
from lookahead_data.reading.spans import Spans, part, places, share, size

TOKENS_AT_ONCE = 1 << 16
"""About so many tokens are taken out of a window together: small batches one by one take twice the time."""

MOST_BUFFERED = 1 << 30
"""Arrow counts the values of a column of lists with 32 bits."""


class Course:
    """The batches of one rank, in an order that does not depend on the number of workers.

    An epoch's order is cut into one run of places a rank, and each run into batches. Of `n` workers each
    reads every n-th batch, which is the order in which PyTorch's loader asks them. So a position is a
    number of batches, whoever read them, and what all ranks have left can be divided anew.

    The price is that each worker reads all row groups of its rank, while it takes apart only its batches.
    """

    def __init__(
        self,
        corpus: Corpus,
        shuffle: Shuffle,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        even: bool = False,
    ) -> None:
        """
        Args:
            shuffle: the first epoch and its order.
            batch_size: rows of a batch; the last one of an epoch may have fewer.
            even: all ranks get the same number of rows, see `spans.share`.

        Raises:
            SettingsError: an argument is out of range.
        """
        if batch_size < 1:
            raise SettingsError(f"batch_size must be 1 or more, not {batch_size}")
        if not 0 <= rank < world_size:
            raise SettingsError(f"there is no rank {rank} of {world_size}; they count from 0")
        if not 1 <= shuffle.buffer_tokens <= MOST_BUFFERED:
            raise SettingsError(
                f"buffer_tokens must be 1 to {MOST_BUFFERED:,}, not {shuffle.buffer_tokens:,}"
            )
        self.corpus = corpus
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self._even = even
        self._begun_in: int | None = None  # the process
        self._start(shuffle, self._whole())

    @property
    def epoch(self) -> int:
        return self._shuffle.epoch

    @property
    def left_out(self) -> int:
        """Rows that no rank reads in an epoch, so that all have as many: less than there are ranks."""
        return int(self.corpus.rows.sum()) % self.world_size if self._even else 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-size(self._whole()) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; in the present one, stay at the position that was loaded."""
        if epoch != self.epoch:
            self._start(dataclasses.replace(self._shuffle, epoch=epoch), self._whole())

    def begin(self) -> None:
        """Begin to read: at the position that was loaded or set, and from then on at the epoch's start."""
        # What a process began does not count in one that was forked from it: a loader begins, and its
        # workers read from there.
        if self._begun_in == os.getpid():
            self._start(self._shuffle, self._whole())
        elif self._begun_in is not None:
            self._done = 0
        self._begun_in = os.getpid()

    def advance(self) -> None:
        """Count a batch of this process as read."""
        self._done += 1

    def batches(self, worker: int = 0, workers: int = 1) -> Iterator[Rows]:
        """The batches of one worker from the position on.

        Raises:
            OutputError: a shard cannot be read.
        """
        # Fixed now, not when the first batch is asked for: a position that moves meanwhile is another's.
        left, each = self._left, self.batch_size
        reader = Reader(self.corpus, Order(self.corpus.rows, self.corpus.tokens, self._shuffle))
        mine = range(worker + self._done * workers, -(-size(left) // each), workers)
        rows, tokens = int(self.corpus.rows.sum()), int(self.corpus.tokens.sum())
        at_once = max(TOKENS_AT_ONCE * rows // max(tokens, 1) // each, 1)
        chunks = (np.array(mine[at : at + at_once]) for at in range(0, len(mine), at_once))
        counted = (batches[:, None] * each + np.arange(each) for batches in chunks)
        parts = (reader.read(places(left, row[row < size(left)])) for row in counted)
        return (batch for part in parts for batch in part.split(each))

    def state(self, worker: int = 0, workers: int = 1) -> dict[str, Any]:
        """The position as plain values (see `Position`), before the next batch of this process.

        In one worker of several it is of use to that worker alone.
        """
        if workers == 1:
            left = part(self._left, self._done * self.batch_size, size(self._left))
            return self._position(left).to_dict()
        taken = {"worker": worker, "workers": workers, "batches": self._done, "batch_size": self.batch_size}
        return self._position(self._left).to_dict() | {"taken": taken}

    def load(self, state: Mapping[str, Any], worker: int = 0, workers: int = 1) -> None:
        """Go to a position: this rank's own, or what `merge_states` made of those of all ranks.

        Raises:
            SettingsError: the position is of another corpus, order or rank.
        """
        position = Position.from_dict(state)
        if position.corpus != self.corpus.digest:
            raise SettingsError(
                "the state is of another corpus",
                where=str(self.corpus.manifest.folder),
                remedy="Name the folder that was read when it was saved.",
            )
        mine, theirs = self._shuffle.to_dict(), position.shuffle.to_dict()
        for name in ("seed", "shuffle", "buffer_tokens"):
            if mine[name] != theirs[name]:
                raise SettingsError(
                    f"the state was saved with {name}={theirs[name]}, and this reader has {mine[name]}",
                    remedy="Go on with the same order; another one can begin with the next epoch.",
                )
        if (position.rank, position.world_size) == (self.rank, self.world_size):
            left = position.left
        elif position.world_size == 1:
            left = self._share(position.left)
        else:
            raise SettingsError(
                f"the state is of rank {position.rank} of {position.world_size}, "
                f"and this is rank {self.rank} of {self.world_size}",
                remedy="Load what merge_states() makes of the states of all ranks, on every rank.",
            )
        self._start(position.shuffle, left)
        if (taken := state.get("taken")) is not None:
            here = {"worker": worker, "workers": workers, "batch_size": self.batch_size}
            if {name: taken.get(name) for name in here} != here:
                raise SettingsError(
                    f"the state is of worker {taken.get('worker')} of {taken.get('workers')}, with batches of "
                    f"{taken.get('batch_size')}, and this is worker {worker} of {workers}, with {self.batch_size}",
                    remedy="Load it with as many workers and as large batches; ShardLoader's states need neither.",
                )
            self._done = int(taken["batches"])

    def _start(self, shuffle: Shuffle, left: Spans) -> None:
        self._shuffle = shuffle
        self._left = left
        self._done = 0
        self._begun_in = None

    def _position(self, left: Spans) -> Position:
        return Position(self.corpus.digest, self._shuffle, self.rank, self.world_size, left)

    def _whole(self) -> Spans:
        return self._share(((0, int(self.corpus.rows.sum())),))

    def _share(self, of: Spans) -> Spans:
        return share(of, self.rank, self.world_size, even=self._even)
