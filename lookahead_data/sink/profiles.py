"""Profiles: what columns and what format the shards have, each as some trainers read them.

A profile is one small function from rows to columns. Adding one is adding it to `PROFILES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import lists_of, offsets_of
from lookahead_data.columns import IGNORED, schema
from lookahead_data.sink.formats import ARROW, PARQUET


@dataclass(frozen=True)
class Profile:
    """A form of training rows.

    Attributes:
        columns: their names, in order (see `columns.COLUMNS`).
        build: from a batch with `input_ids` and `labels` (and, if packed, `document_lengths`) to one
            with these columns.
        packed: whether a row holds several documents.
        group_rows: the most rows of a Parquet row group, where its readers have a wish; else None.
        readers: who reads it, for people.
        format: of the files; a value of `sink.formats`.
    """

    columns: tuple[str, ...]
    build: Callable[[pa.RecordBatch], list[pa.Array]]
    packed: bool
    group_rows: int | None
    readers: str
    format: str = PARQUET

    @property
    def schema(self) -> pa.Schema:
        return schema(self.columns)

    def rows_of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch as rows of this profile."""
        return pa.RecordBatch.from_arrays(self.build(batch), schema=self.schema)


def _sft(batch: pa.RecordBatch) -> list[pa.Array]:
    ids = batch.column("input_ids")
    ones = pa.array(np.ones(len(ids.flatten()), np.int8))
    return [ids, lists_of(offsets_of(ids), ones), batch.column("labels")]


def _packed_trl(batch: pa.RecordBatch) -> list[pa.Array]:
    return [batch.column(name) for name in ("input_ids", "labels", "document_lengths")]


def _packed_hf(batch: pa.RecordBatch) -> list[pa.Array]:
    """Position ids that begin at 0 with each document, by which attention keeps to it."""
    ids = batch.column("input_ids")
    lengths = batch.column("document_lengths").flatten().to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    positions = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return [ids, batch.column("labels"), lists_of(offsets_of(ids), pa.array(positions, pa.int32()))]


def _packed_megatron(batch: pa.RecordBatch) -> list[pa.Array]:
    """Megatron shifts the ids itself, and takes a mask that is shifted already: the place of a token
    tells whether the next one is learned. Documents are told by where they start in the row."""
    ids, labels = batch.column("input_ids"), batch.column("labels")
    learned = labels.flatten().to_numpy() != IGNORED
    bounds = offsets_of(ids)
    mask = np.zeros(len(learned), np.int8)
    mask[:-1] = learned[1:]
    ends = bounds[1:][np.diff(bounds) > 0] - 1
    mask[ends] = 0
    lengths = batch.column("document_lengths")
    counts = offsets_of(lengths)
    sizes = lengths.flatten().to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes - np.repeat(bounds[:-1], np.diff(counts))
    return [ids, lists_of(bounds, pa.array(mask)), lists_of(counts, pa.array(starts, pa.int32()))]


PROFILES: dict[str, Profile] = {
    "sft": Profile(
        ("input_ids", "attention_mask", "labels"),
        _sft,
        packed=False,
        group_rows=None,
        readers="TRL, the Hugging Face Trainer, Axolotl",
    ),
    "packed-trl": Profile(
        ("input_ids", "labels", "seq_lengths"),
        _packed_trl,
        packed=True,
        group_rows=None,
        readers="TRL with padding_free",
    ),
    "packed-hf": Profile(
        ("input_ids", "labels", "position_ids"),
        _packed_hf,
        packed=True,
        group_rows=None,
        readers="the Hugging Face Trainer with FlashAttention, plain PyTorch",
    ),
    "packed-megatron": Profile(
        ("input_ids", "loss_mask", "seq_start_id"),
        _packed_megatron,
        packed=True,
        group_rows=500,
        readers="Megatron-Bridge",
    ),
    "llama-factory": Profile(
        ("input_ids", "attention_mask", "labels"),
        _sft,
        packed=False,
        group_rows=None,
        readers="LLaMA-Factory, and all that use datasets.load_from_disk",
        format=ARROW,
    ),
}


def documents_of(row: Mapping[str, list[int]]) -> list[tuple[list[int], list[int]]]:
    """The ids and labels of each document of a row of any profile."""
    ids = row["input_ids"]
    if "seq_lengths" in row:
        starts = [0, *accumulate(row["seq_lengths"])][:-1]
    elif "position_ids" in row:
        starts = [at for at, position in enumerate(row["position_ids"]) if position == 0]
    else:
        starts = row.get("seq_start_id", [0])
    if "labels" in row:
        labels = row["labels"]
    else:
        shifted = [0, *row["loss_mask"]]
        labels = [token if learned else IGNORED for token, learned in zip(ids, shifted, strict=False)]
    return [(ids[start:stop], labels[start:stop]) for start, stop in pairwise([*starts, len(ids)])]
