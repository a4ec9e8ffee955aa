"""Rows in another order than that of the files: the ranges of keys, and one range from its runs to its receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookahead_data.arrays import Ints, whole_array
from lookahead_data.columns import IGNORED
from lookahead_data.config import Settings
from lookahead_data.outlet import Outlet
from lookahead_data.plan import KeyRange, Plan
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.publish import publishing, sha256_of
from lookahead_data.sink.receipts import Receipt, origins_path
from lookahead_data.sink.runs import Run, merged, size_of
from lookahead_data.stages.arrange import HASH_BITS, MOST_TOKENS

Progress = Callable[[int, int, int], None]
"""As that of `pipeline`, with bytes of runs."""

KEYS = 1 << 64

UNITS_A_RANGE = 4
LARGEST_RANGE = 64 << 20
"""Each range reads a slice of every run, so their number grows as the square of the units': ranges are larger than
small units, up to this many bytes."""


def ranges_of(settings: Settings, receipts: Sequence[Receipt]) -> tuple[KeyRange, ...]:
    """The ranges that hold all rows, each split's in order: of about `unit_size` bytes or a few times that, by what
    its runs take.

    Args:
        receipts: of all units, in order.
    """
    assert settings.unit_size is not None  # a plan's settings have one
    wanted = max(settings.unit_size, min(UNITS_A_RANGE * settings.unit_size, LARGEST_RANGE))
    found: list[KeyRange] = []
    lengths: Counter[int] = Counter()
    for receipt in receipts:
        lengths.update(receipt.counts.lengths)
    for split in settings.splits:
        size = sum(run.size for receipt in receipts for run in receipt.runs if run.split == split)
        count = max(1, -(-size // wanted))
        bounds = _length_bounds(lengths, count) if settings.order == "length" else _even_bounds(count)
        found += [
            KeyRange(len(found) + number, split, number, low, high)
            for number, (low, high) in enumerate(pairwise(bounds))
        ]
    return tuple(found)


def _even_bounds(count: int) -> list[int]:
    return [KEYS * at // count for at in range(count + 1)]


def _length_bounds(lengths: Mapping[int, int], count: int) -> list[int]:
    """The keys between which there are about equally many tokens, if the rows of a split are as long as others.

    Where rows of one length are more than a range holds, they are divided by the lower bits of their keys, which
    are by chance.
    """
    tokens: Counter[int] = Counter()
    for length, rows in lengths.items():
        tokens[min(length, MOST_TOKENS)] += length * rows
    bounds = [0]
    seen = 0
    for length, here in sorted(tokens.items()):
        while len(bounds) < count and seen + here > (due := tokens.total() * len(bounds) // count):
            bounds.append((length << HASH_BITS) + max(0, (due - seen) * (1 << HASH_BITS) // here))
        seen += here
    return [*bounds, KEYS]


def run_range(
    part: KeyRange,
    plan: Plan,
    runs: Sequence[Run],
    pad_id: int | None,
    folder: Path,
    report: Progress | None = None,
) -> Receipt:
    """Put the rows of one range in order, publish its shards, then whose rows they are, then its receipt.

    Args:
        runs: of all units, in order.
        pad_id: of the model; None fills nothing up.
        folder: the output folder.
        report: told of the progress.

    Raises:
        OutputError: a run cannot be read, or the output cannot be written.
    """
    mine = [run for run in runs if run.split == part.split]
    counts = Counts()
    files = rows = np.zeros(0, np.int64)
    with Outlet(folder, part.split, part.number, plan.settings, pad_id) as outlet:
        if mine:
            table, places = merged(folder, mine, part.low, part.high)
            files = np.array([plan.units[run.unit].file for run in mine])[places]
            rows = table.column("row").to_numpy()
            counts = _count(table, files, rows)
            for batch in table.to_batches():
                outlet.write(batch)
            if report:
                report(counts.written, counts.tokens, size_of(counts.written, counts.tokens))
    if outlet.packing:
        counts.take_packing(outlet.packing, file=0)
    receipt = Receipt(
        part.index,
        plan.fingerprint,
        counts,
        tuple(outlet.shards),
        quarantine=None,
        engine="",
        origins=_write_origins(origins_path(folder, part), files, rows),
    )
    receipt.save(folder, part)
    return receipt


def _count(table: pa.Table, files: Ints, rows: Ints) -> Counts:
    lengths = pc.list_value_length(table.column("input_ids")).to_numpy()
    values, counts = np.unique(lengths, return_counts=True)
    labels = whole_array(table.column("labels")).flatten().to_numpy()
    return Counts(
        written=table.num_rows,
        tokens=int(lengths.sum()),
        supervised_tokens=int(np.count_nonzero(labels != IGNORED)),
        lengths=Counter(dict(zip(values.tolist(), counts.tolist(), strict=True))),
        rows_hash=RowsHash(written=hash_rows(rows, files)),
    )


def _write_origins(path: Path, files: Ints, rows: Ints) -> str:
    """Publish whose rows were written; gives the file's SHA-256."""
    table = pa.table({"file": pa.array(files, pa.int32()), "row": pa.array(rows, pa.int64())})
    with publishing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return sha256_of(path)
