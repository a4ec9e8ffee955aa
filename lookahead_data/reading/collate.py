"""Rows as the arrays of one batch. They are of 64 bits, as PyTorch wants ids and labels."""

from __future__ import annotations

import numpy as np

from lookahead_data.arrays import Ints
from lookahead_data.columns import IGNORED
from lookahead_data.errors import SettingsError, TokenizerError
from lookahead_data.model.tokenizer import load_tokenizer
from lookahead_data.reading.rows import Rows
from lookahead_data.sink.manifest import Manifest

Arrays = dict[str, Ints]


def padded(rows: Rows, pad_id: int, *, multiple_of: int = 1) -> Arrays:
    """One row of the batch each, filled up on the right: shape (rows, longest).

    Args:
        pad_id: the id to fill up with; its labels are −100.
        multiple_of: the longest row is filled up to a multiple of this too.

    Returns:
        `input_ids`, `labels`, and `attention_mask` (1 for tokens, 0 for filling). Where rows hold several
        documents there are `position_ids` instead, which begin at 0 with each document and with the
        filling: trainers tell documents by them, and only where there is no mask.
    """
    lengths = np.diff(rows.bounds)
    width = -(-int(lengths.max(initial=1)) // multiple_of) * multiple_of
    shape = (len(lengths), width)
    places = np.arange(width)
    inside = places < lengths[:, None]
    ids, labels = np.full(shape, pad_id, np.int64), np.full(shape, IGNORED, np.int64)
    ids[inside] = rows.ids
    labels[inside] = rows.labels
    if rows.positions is None:
        return {"input_ids": ids, "labels": labels, "attention_mask": inside.astype(np.int64)}
    positions = places - lengths[:, None]
    positions[inside] = rows.positions
    return {"input_ids": ids, "labels": labels, "position_ids": positions}


def flat(rows: Rows) -> Arrays:
    """All rows one after another, without filling: shape (1, tokens).

    Returns:
        `input_ids`, `labels` and `position_ids`, which begin at 0 with each document. The first token
        of a row is not learned, since what stands before it is another document.
    """
    lengths = np.diff(rows.bounds)
    positions = rows.positions
    if positions is None:
        positions = np.arange(len(rows.ids)) - np.repeat(rows.bounds[:-1], lengths)
    labels = rows.labels.astype(np.int64)
    labels[rows.bounds[:-1][lengths > 0]] = IGNORED
    columns = {"input_ids": rows.ids, "labels": labels, "position_ids": positions}
    return {name: values.astype(np.int64)[None, :] for name, values in columns.items()}


def pad_id_of(manifest: Manifest) -> int:
    """The id to fill up with: the padding token of the tokenizer that made the rows, or its end-of-text token.

    Raises:
        TokenizerError: the tokenizer is not at hand, or is another one by now.
        SettingsError: it has neither token.
    """
    remedy = "Give the id: pad_id=…"
    name = str(manifest.settings.tokenizer)
    try:
        tokenizer = load_tokenizer(name)
    except TokenizerError as error:
        raise TokenizerError(error.problem, where=name, remedy=remedy) from None
    if tokenizer.sha256 != manifest.document["tokenizer"]["sha256"]:
        raise TokenizerError("is not the one that these rows were made with", where=name, remedy=remedy)
    for kind in ("pad_token", "eos_token"):
        found = tokenizer.token_id(tokenizer.named.get(kind, ""))
        if found is not None:
            return found
    raise SettingsError("the tokenizer names neither a pad_token nor an eos_token", where=name, remedy=remedy)
