"""Exact duplicates: rows whose texts are equal, after normalization, to those of a row before them, and said
in the same roles.

Texts are compared by keys of 128 bits, BLAKE2b's (RFC 7693). Among a thousand million different texts two
share a key with a chance of 1.5e-21, and nobody can make such two. Verdicts on rows do not change when rows
are added after them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, offsets_of, utf8_parts
from lookahead_data.curation.spill import KeyFile

Keys = npt.NDArray[np.uint64]
"""Keys of 128 bits: shape (rows, 2)."""

SCHEMA = pa.schema([("row", pa.int64()), ("first", pa.int64())])

_KEY_BYTES = 16


def text_keys(texts: pa.LargeStringArray) -> Keys:
    """The key of each text; nulls must not be among them."""
    bounds, data = utf8_parts(texts)
    return _digests(data.data, bounds)


def list_keys(lists: pa.LargeListArray | pa.ListArray) -> Keys:
    """The key of each list of texts, such as a conversation: that of its texts' keys, one after the other.

    Keys have one length, so that no text can be taken for two.
    """
    return _digests(memoryview(text_keys(lists.flatten()).tobytes()), offsets_of(lists) * _KEY_BYTES)


def message_keys(roles: pa.ListArray, contents: pa.ListArray) -> Keys:
    """The key of each list of messages: that of the keys of role, content, role, content, and so on.

    Args:
        roles, contents: of the same messages, as texts.
    """
    named = roles.flatten().dictionary_encode()  # there are few, and many messages
    of_role = text_keys(named.dictionary)[named.indices.to_numpy()]
    messages = np.concatenate([of_role, text_keys(contents.flatten())], axis=1)
    return _digests(memoryview(messages.tobytes()), offsets_of(contents) * 2 * _KEY_BYTES)


def with_given(keys: Keys, batch: pa.RecordBatch) -> Keys:
    """The keys of conversations, and where a row has tools or template arguments, of these too: they are part of
    its prompt."""
    for name in ("tools", "template_args"):
        if name not in batch.schema.names:
            continue
        column = batch.column(name)
        places = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        both = np.concatenate([keys[places], text_keys(column.take(pa.array(places)))], axis=1)
        bounds = np.arange(len(places) + 1) * 2 * _KEY_BYTES
        keys = keys.copy()
        keys[places] = _digests(memoryview(np.ascontiguousarray(both).tobytes()), bounds)
    return keys


def _digests(data: memoryview, bounds: Ints) -> Keys:
    # The one loop over rows: no library hashes many texts at once with a hash that stands against intent,
    # and it takes a microsecond a row.
    digests = [
        blake2b(data[at:end], digest_size=_KEY_BYTES).digest() for at, end in pairwise(bounds.tolist())
    ]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(len(digests), 2)


def exact_duplicates(batches: Iterable[tuple[Ints, Keys]], folder: Path, memory: int = 1 << 28) -> pa.Table:
    """The rows that repeat an earlier one.

    Args:
        batches: row numbers, ascending from batch to batch, and the rows' keys.
        folder: where `keys.parquet` is spilled; it stays there.
        memory: bytes that grouping may take, about.

    Returns:
        `SCHEMA`: each row that repeats another, ascending, and the first row that it repeats. It takes 16
        bytes a duplicate.
    """
    with KeyFile(folder / "keys.parquet", ["high", "low"]) as file:
        for rows, keys in batches:
            file.add(rows, keys)
    found = file.repeats(["high", "low"], memory)
    return pa.Table.from_arrays([pa.array(column) for column in found], schema=SCHEMA)
