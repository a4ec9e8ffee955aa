"""Whether the weights beside a shard belong to its tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import whole_array
from lookahead_data.check.report import Findings
from lookahead_data.check.rows import Tally
from lookahead_data.columns import IGNORED, schema
from lookahead_data.sink.formats import open_shard
from lookahead_data.sink.manifest import MANIFEST
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.shards import Shard, weights_path


def check_weights(folder: Path, shard: Shard, weight: float, tally: Tally, findings: Findings) -> None:
    """Check the weights of one shard, which was found to be whole.

    Args:
        weight: of previewed tokens.
        tally: what was read of the shard.
    """
    where = weights_path(shard.path)
    try:
        if (digest := sha256_of(folder / where)) != shard.weights:
            findings.add(
                where,
                f"was changed or damaged: its SHA-256 is {digest}, and {MANIFEST} says {shard.weights}",
            )
            return
        with open_shard(folder / where) as weights, open_shard(folder / shard.path) as rows:
            if not weights.schema.equals(schema(["weights"])):
                findings.add(where, f"has the columns {weights.schema.names}, not the weights alone")
                return
            if weights.group_rows != rows.group_rows:
                findings.add(where, "has other row groups than its shard")
                return
            at = counted = 0
            for group, size in enumerate(rows.group_rows):
                part = weights.group(group)
                problem = _problem(part, rows.group(group), weight)
                if problem is not None:
                    findings.add(where, problem[1], at + problem[0])
                    return
                at += size
                counted += int(np.count_nonzero(whole_array(part.column("weights")).flatten().to_numpy()))
            if weight and counted != tally.supervised_tokens:
                findings.add(
                    where,
                    f"weighs {counted:,} tokens, and its shard has {tally.supervised_tokens:,} supervised ones",
                )
    except FileNotFoundError:
        findings.add(where, "is missing")
    except (OSError, pa.ArrowException) as error:
        findings.add(where, f"cannot be read: {error}")


def _problem(weights: pa.Table, rows: pa.Table, weight: float) -> tuple[int, str] | None:
    """The first row of a group that is wrong, and what is."""
    column = whole_array(weights.column("weights"))
    sizes = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    due = pc.list_value_length(whole_array(rows.column("input_ids"))).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    values = column.flatten().to_numpy()
    if (other := np.flatnonzero(sizes != due)).size:
        at = int(other[0])
        return at, f"holds {sizes[at]:,} weights for {due[at]:,} tokens"
    known = (values == 0) | (values == 1) | (values == np.float32(weight))
    if (strange := np.flatnonzero(~known)).size:
        return int(
            owners[strange[0]]
        ), f"has the weight {values[strange[0]]:g}, which is none of 0, 1 and {weight:g}"
    if "labels" in rows.column_names:
        ignored = whole_array(rows.column("labels")).flatten().to_numpy() == IGNORED
        wrong = np.flatnonzero(ignored & (values != 0) | ~ignored & (values == 0) & (weight != 0))
        if wrong.size:
            label = "−100" if ignored[wrong[0]] else "an id"
            return int(owners[wrong[0]]), f"has the weight {values[wrong[0]]:g} where the label is {label}"
    return None
