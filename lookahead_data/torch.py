"""A finished folder as PyTorch reads it (the extra `torch`).

    from lookahead_data.torch import ShardDataset, ShardLoader

    loader = ShardLoader(ShardDataset("out", batch_size=8), num_workers=2)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            loss = model(**batch).loss
            ...
            checkpoint["data"] = loader.state_dict()

The order of the rows depends on seed and epoch alone. It is cut into one run a rank, and each run into
batches; how many workers read them changes nothing. A position is therefore exact at every step, and
`merge_states` makes one of those of all ranks, from which any number of ranks can go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

try:
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "lookahead_data.torch needs PyTorch, which is not installed\n"
        "  Install it with the extra `torch`: pip install 'lookahead_data[torch]'."
    ) from None

from lookahead_data.config import TRAIN
from lookahead_data.errors import SettingsError
from lookahead_data.reading.collate import flat, pad_id_of, padded
from lookahead_data.reading.corpus import Corpus
from lookahead_data.reading.course import Course
from lookahead_data.reading.order import Shuffle
from lookahead_data.reading.position import merge_states

__all__ = ["Batch", "ShardDataset", "ShardLoader", "merge_states"]

Batch = dict[str, torch.Tensor]


class ShardDataset(IterableDataset[Batch]):
    """The batches that one rank reads of a finished folder.

    Each item is a whole batch, so a loader must not batch again (`DataLoader(…, batch_size=None)`, which
    `ShardLoader` is). All tensors are int64:

    - `input_ids` and `labels` (aligned, −100 outside the loss), shape (rows, longest row);
    - `attention_mask`, of the same shape, for rows that hold one document (the profile `sft`);
    - `position_ids` instead, for packed rows, beginning at 0 with each document: attention that keeps to
      documents tells them by it, and trainers look for it only where there is no mask;
    - with `padding_free`, `input_ids`, `labels` and `position_ids`, all of shape (1, tokens of the batch).

    Division: each row is read once an epoch, by one worker of one rank. The ranks' numbers of rows differ
    by one at most, and so may their numbers of batches. Training that synchronizes at every step hangs
    where one rank has a batch more: set `even`, or wrap the steps of DDP in
    `torch.distributed.algorithms.Join`.

    Memory: a process that reads holds one window of `buffer_tokens` (or one row group, if that is larger;
    `convert` writes none above a million tokens and one row) with 8 bytes a token (12 for `packed-hf`),
    twice that while the window is put together; what Parquet takes to unpack a row group; and the footers
    of 8 shards, 4 MB each where shards are full. By measure that is 0.3 GB with the default. Nothing grows
    with the corpus but 32 bytes a row group.

    Speed: each worker reads all row groups of its rank, and makes its own batches of them. More workers
    make more batches, but do not unpack Parquet faster.

    Trainers that divide an iterable dataset themselves, as Accelerate does, must be given one rank of one.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int,
        split: str = TRAIN,
        seed: int = 0,
        shuffle: bool = True,
        buffer_tokens: int = 1 << 23,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
        pad_id: int | None = None,
        pad_to_multiple_of: int = 1,
        padding_free: bool = False,
    ) -> None:
        """
        Args:
            folder: an output folder of `convert`.
            batch_size: rows of a batch of this rank; packed rows count as rows. The last batch of an
                epoch may be smaller.
            split: the rows that are read: `train`, or the name of a split that `convert` was to make.
            seed: of the order, together with the epoch (`set_epoch`).
            shuffle: False reads the rows as they stand in the shards.
            buffer_tokens: tokens of the windows in which rows are shuffled. Row groups of the whole corpus
                are put in a random order first, so that a window is a sample of it.
            rank, world_size: of the data-parallel group; None asks `torch.distributed`, or else the
                environment variables RANK and WORLD_SIZE, or else is one alone.
            even: every rank gets the same number of rows and batches. What is left over, fewer rows than
                there are ranks, is not read in this epoch (`left_out`); a merged position is divided in
                the same way.
            pad_id: fills up the shorter rows of a batch; None takes the tokenizer's padding token, or its
                end-of-text token.
            pad_to_multiple_of: the longest row of a batch is filled up to a multiple of this.
            padding_free: put the rows of a batch one behind the other instead.

        Raises:
            OutputError: the folder is not finished, or its shards are not those of its manifest.
            SettingsError: an argument cannot be used.
            TokenizerError: the tokenizer is needed for the padding, and is not at hand.
        """
        rank, world_size = _place(rank, world_size)
        if pad_to_multiple_of < 1 or (padding_free and pad_to_multiple_of > 1):
            raise SettingsError(
                f"pad_to_multiple_of={pad_to_multiple_of} cannot be used"
                + (" with padding_free, which pads nothing" if padding_free else "")
            )
        corpus = Corpus.open(os.fspath(folder), split)
        order = Shuffle(seed, 0, shuffle, buffer_tokens)
        self._course = Course(
            corpus, order, batch_size=batch_size, rank=rank, world_size=world_size, even=even
        )
        self._padding_free = padding_free
        self._multiple_of = pad_to_multiple_of
        if pad_id is None:
            pads = not padding_free and (batch_size > 1 or pad_to_multiple_of > 1)
            pad_id = pad_id_of(corpus.manifest) if pads else 0
        self.pad_id = pad_id

    @property
    def epoch(self) -> int:
        """The epoch that is read, or will be."""
        return self._course.epoch

    @property
    def left_out(self) -> int:
        """Rows that no rank reads in an epoch: 0, or with `even` the rest of rows over ranks."""
        return self._course.left_out

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(self._course)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. A position that was loaded from this very epoch is kept."""
        self._course.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Read from the position that was loaded, or else from the epoch's beginning.

        Raises:
            OutputError: a shard can no longer be read.
        """
        self._course.begin()
        for rows in self._course.batches(*_worker()):
            if self._padding_free:
                arrays = flat(rows)
            else:
                arrays = padded(rows, self.pad_id, multiple_of=self._multiple_of)
            self._course.advance()
            yield {name: torch.from_numpy(values) for name, values in arrays.items()}

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that this process has given out, as plain values.

        What workers read, this process does not see: there take the state of the `ShardLoader`. In a
        worker of torchdata's `StatefulDataLoader` it is that worker's own.
        """
        return self._course.state(*_worker())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position, in the next iteration: this rank's, or a merged one (`merge_states`).

        Batch size, workers and (of a merged state) ranks may be others than when it was saved; either all
        ranks load their own or all load the merged one.

        Raises:
            SettingsError: the state is of another corpus, seed or rank.
        """
        self._course.load(state, *_worker())

    def _begin(self) -> None:
        """For the loader: what its workers will read begins here."""
        self._course.begin()

    def _advance(self) -> None:
        """For the loader: it has given out a batch that a worker read."""
        self._course.advance()


class ShardLoader(DataLoader[Batch]):
    """PyTorch's DataLoader over a `ShardDataset`, which knows its position with workers too.

    The position counts what came out of the loader, not what workers have read ahead. Only one iteration
    at a time may be under way.
    """

    dataset: ShardDataset

    def __init__(self, dataset: ShardDataset, **options: Any) -> None:
        """
        Args:
            options: of `DataLoader`: num_workers, pin_memory, prefetch_factor, timeout,
                multiprocessing_context and the like.

        Raises:
            SettingsError: an option would change what a batch is, or which one comes next.
        """
        taken = {"batch_size", "sampler", "batch_sampler", "shuffle", "collate_fn", "drop_last"}
        wrong = taken & set(options)
        wrong |= {
            name
            for name, bad in (("in_order", False), ("persistent_workers", True))
            if options.get(name) == bad
        }
        if wrong:
            raise SettingsError(
                f"{', '.join(sorted(wrong))} cannot be given to ShardLoader",
                remedy="The dataset makes the batches, and new workers begin each epoch.",
            )
        super().__init__(dataset, batch_size=None, collate_fn=_to_send, **options)

    def __iter__(self) -> Iterator[Batch]:
        if not self.num_workers:
            yield from super().__iter__()
            return
        pins = self.pin_memory and torch.accelerator.is_available()
        self.dataset._begin()
        for arrays in super().__iter__():
            batch = {name: torch.from_numpy(values).to(torch.int64) for name, values in arrays.items()}
            self.dataset._advance()
            yield {name: values.pin_memory() for name, values in batch.items()} if pins else batch

    @property
    def epoch(self) -> int:
        """The epoch that is read, or will be."""
        return self.dataset.epoch

    def set_epoch(self, epoch: int) -> None:
        """See `ShardDataset.set_epoch`."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that the loader has given out, as plain values."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `ShardDataset.load_state_dict`."""
        self.dataset.load_state_dict(state)


def _to_send(batch: Batch) -> Any:
    """What a worker sends home: small arrays, since a tensor would go through a file in shared memory, which
    for batches of usual size takes several times as long."""
    if get_worker_info() is None:
        return batch
    return {name: values.numpy().astype(np.int32) for name, values in batch.items()}


def _worker() -> tuple[int, int]:
    """Which worker of how many this process is."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which rank of how many this process is."""
    if (rank is None) != (world_size is None):
        raise SettingsError("rank and world_size go together", remedy="Give both, or neither.")
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    told = [os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))]
    try:
        return int(told[0]), int(told[1])
    except ValueError:
        raise SettingsError(f"the environment says RANK={told[0]} and WORLD_SIZE={told[1]}") from None
