"""Token ids that are known before a segment is encoded, and all ids of the rows in their order.

Known are those of answers that were encoded while their first tokens were looked for, and those of the
frames around messages. What is left is encoded, and everything is then put in its place at one go.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Flags, Ints, binaries, flags_of, offsets_of, utf8_parts
from lookahead_data.model.engines import Ids
from lookahead_data.model.frames import SUPERVISED


class TokenLists(NamedTuple):
    """The ids of many texts: shape (tokens,), and where each text's begin and the last end, shape (texts + 1,)."""

    ids: Ids
    offsets: Ints


class Known(NamedTuple):
    """Segments whose ids are known.

    Attributes:
        places: of the segments, ascending.
        messages: the place of each of them among all messages, shape (places,).
        content: the ids of all messages; of those that are not known, none.
    """

    places: Ints
    messages: Ints
    content: TokenLists


def known_segments(batch: pa.RecordBatch) -> Known:
    """The segments that the column `known` tells the ids of."""
    messages, segments = batch.column("known"), batch.column("segments")
    ids = messages.flatten()
    bare = flags_of(pc.struct_field(segments.flatten(), "bare"))
    starts, counts = offsets_of(segments)[:-1], segments.value_lengths().to_numpy(zero_copy_only=False)
    # A bare segment stands where its message does; rows without any may have more segments than messages.
    shift = np.repeat(offsets_of(messages)[:-1] - starts, counts)
    places = np.flatnonzero(bare)
    of_message = places + shift[places]
    content = TokenLists(ids.flatten().to_numpy(), offsets_of(ids))
    there = np.diff(content.offsets)[of_message] > 0
    return Known(places[there], of_message[there], content)


def put_together(
    segments: pa.StructArray,
    frames: pa.LargeBinaryArray,
    rest: Ints,
    encoded: TokenLists,
    known: Known | None,
) -> tuple[TokenLists, Flags]:
    """The ids of segments with those of the frames around them, and which of them the loss counts.

    Args:
        segments: all of them.
        frames: what `Frames.encoded` gives.
        rest: the places of those that are not known, ascending.
        encoded: the ids of these.
    """
    supervised = flags_of(pc.struct_field(segments, "supervised"))
    sources = [frames, _marked(encoded, supervised[rest])]
    order = np.empty((len(segments), 3), np.int64)
    order[:, 0] = pc.struct_field(segments, "before").to_numpy()
    order[:, 2] = pc.struct_field(segments, "after").to_numpy()
    order[rest, 1] = len(frames) + np.arange(len(rest))
    if known is not None:
        of_messages = np.zeros(len(known.content.offsets) - 1, bool)
        of_messages[known.messages] = supervised[known.places]
        sources.append(_marked(known.content, of_messages))
        order[known.places, 1] = len(frames) + len(rest) + known.messages
    # All at once, whatever they are and wherever they come from.
    bounds, data = utf8_parts(pa.concat_arrays(sources).take(pa.array(order.ravel())))
    tokens = data[: bounds[-1]].view(np.int32)
    return TokenLists(tokens & ~SUPERVISED, bounds[::3] // tokens.itemsize), tokens >= SUPERVISED


def _marked(texts: TokenLists, supervised: Flags) -> pa.LargeBinaryArray:
    """The bytes of each text's ids, with the mark in those of the texts that the loss counts."""
    ids, offsets = texts
    if supervised.any():
        ids = ids | np.repeat(np.where(supervised, SUPERVISED, np.int32(0)), np.diff(offsets))
    return binaries(ids, offsets)
