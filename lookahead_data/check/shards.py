"""Whether the shards of a folder are the files that its manifest names, and their rows fit to train on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lookahead_data.check.account import Account
from lookahead_data.check.report import Findings
from lookahead_data.check.rows import Flaws, Rules, Tally, check_rows
from lookahead_data.check.weights import check_weights
from lookahead_data.listener import Listener
from lookahead_data.sink.formats import ShardReader, open_shard
from lookahead_data.sink.manifest import MANIFEST
from lookahead_data.sink.publish import sha256_of
from lookahead_data.sink.receipts import Receipt
from lookahead_data.sink.shards import Shard


def check_shards(folder: Path, found: Account, rules: Rules, findings: Findings, listener: Listener) -> Tally:
    """Read all shards, and hold the sums of each unit, or range of an order, against its receipt; gives what was
    read."""
    total = Tally()
    tallies: dict[str, Tally | None] = {}
    for shard in found.shards:
        tally = check_shard(folder, shard, rules, findings, listener)
        tallies[shard.path] = tally
        if tally is not None and found.settings.preview_weight is not None:
            check_weights(folder, shard, found.settings.preview_weight, tally, findings)
        total += tally or Tally()
    for task, receipt in found.writers:
        parts = [tallies.get(shard.path) for shard in receipt.shards]
        whole = [part for part in parts if part is not None]
        if len(whole) == len(parts):  # else the shard that could not be read is a problem already
            _check_sums(task.name, whole, receipt, rules, findings)
    return total


def check_shard(
    folder: Path, shard: Shard, rules: Rules, findings: Findings, listener: Listener
) -> Tally | None:
    """Check one shard; gives what was read, or None if it could not be read to its end."""
    path = folder / shard.path
    try:
        size = path.stat().st_size
        if size != shard.size:
            findings.add(shard.path, f"is {size:,} bytes long, and {MANIFEST} says {shard.size:,}")
            return None
        # What is no longer as it was published is not read: a damaged file may be anything.
        if (digest := sha256_of(path)) != shard.sha256:
            findings.add(
                shard.path,
                f"was changed or damaged: its SHA-256 is {digest}, and {MANIFEST} says {shard.sha256}",
            )
            return None
        with open_shard(path) as reader:
            return _read(reader, shard, rules, findings, listener)
    except FileNotFoundError:
        findings.add(shard.path, "is missing")
    except (OSError, pa.ArrowException) as error:
        findings.add(shard.path, f"cannot be read: {error}")
    return None


def _read(
    reader: ShardReader, shard: Shard, rules: Rules, findings: Findings, listener: Listener
) -> Tally | None:
    wanted = rules.profile.schema
    if not reader.schema.equals(wanted):
        there = ", ".join(f"{field.name}: {field.type}" for field in reader.schema)
        due = ", ".join(f"{field.name}: {field.type}" for field in wanted)
        findings.add(shard.path, f"has the columns ({there}), not ({due})")
        return None
    flaws = Flaws()
    tally = Tally()
    groups = len(reader.group_rows)
    for at in range(groups):
        part = check_rows(reader.group(at), rules, tally.rows, flaws)
        tally += part
        listener.advanced(part.rows, part.tokens, shard.size // groups)
    for row, what in flaws.told():
        findings.add(shard.path, what, row)
    for name, read, stated in (("rows", tally.rows, shard.rows), ("tokens", tally.tokens, shard.tokens)):
        if read != stated:
            findings.add(shard.path, f"holds {read:,} {name}, and {MANIFEST} says {stated:,}")
    return tally


def _check_sums(unit: str, parts: list[Tally], receipt: Receipt, rules: Rules, findings: Findings) -> None:
    tally = Tally()
    for part in parts:
        tally += part
    counts = receipt.counts
    rows = counts.packed_rows if counts.capacity else counts.written
    for name, read, stated in (
        ("rows", tally.rows, rows),
        ("tokens", tally.tokens, counts.tokens + counts.pad_tokens),
        ("supervised tokens", tally.supervised_tokens, counts.supervised_tokens),
        ("rows of which nothing is learned", tally.idle_rows, counts.notes["row_not_learned"]),
    ):
        if read != stated:
            findings.add(unit, f"its shards hold {read:,} {name}, and its receipt says {stated:,}")
    if rules.cut:
        return
    lengths = tally.lengths
    if counts.pad_tokens:
        # Every document has something to learn, so those that have not are padding.
        lengths = lengths - tally.idle
        padding = sum(length * number for length, number in tally.idle.items())
        if padding != counts.pad_tokens:
            findings.add(
                unit,
                f"its shards hold {padding:,} tokens of padding, and its receipt says {counts.pad_tokens:,}",
            )
    if lengths != counts.lengths:
        length = min(
            length for length in lengths | counts.lengths if lengths[length] != counts.lengths[length]
        )
        findings.add(
            unit,
            f"{lengths[length]:,} {'documents' if counts.capacity else 'rows'} of its shards have "
            f"{length:,} tokens, "
            f"and its receipt says {counts.lengths[length]:,}",
        )
