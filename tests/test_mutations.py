"""A byte of an input is flipped, or the input is cut: a named error or the right rows, and never a crash."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from helpers import read_rows
from jobs import ELSEWHERE, forked, limit_memory, side_by_side
from outcomes import unconserved

import lookahead_data as la
from lookahead_data import planning
from lookahead_data.model.load import Model, load_model
from lookahead_data.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="limits memory as Linux does")

ROWS = [
    {"prompt": "Name a colour.", "completion": "Blue."},
    {"prompt": "Übersetze „cheese“.", "completion": "„Käse“ 🎉"},
    {"prompt": 'He said "no, never"\nand left.', "completion": "So\tbe it,\nthen."},
    {"prompt": "01234", "completion": "NA"},
    {"prompt": "Count.", "completion": "One, two, three, four, five, six, seven."},
    {"prompt": "Last?", "completion": "Last."},
]
LINES = "".join(json.dumps(row, ensure_ascii=bool(at % 2)) + "\n" for at, row in enumerate(ROWS)).encode()


def as_text(prompt: str, completion: str) -> str:
    """The row that a prompt and its completion become."""
    turns = [("user", prompt), ("assistant", completion)]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


# ------------------------------------------------------------------------------- files of each format


def delimited(delimiter: str) -> bytes:
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"], delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ROWS)
        return file.getvalue().encode()


def talks() -> pa.Table:
    return pa.table(
        {
            "messages": [
                [
                    {"role": "user", "content": row["prompt"]},
                    {"role": "assistant", "content": row["completion"]},
                ]
                for row in ROWS
            ]
        }
    )


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=4, **options)
    return sink.getvalue()


def arrow(table: pa.Table, stream: bool = False) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return sink.getvalue()


PAIRS = pa.Table.from_pylist(ROWS)
FILES: dict[str, bytes] = {
    "rows.jsonl": LINES,
    "rows.jsonl.gz": gzip.compress(LINES, mtime=0),
    "rows.jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(LINES),
    "rows.json": json.dumps(ROWS, indent=1, ensure_ascii=False).encode(),
    "rows.csv": delimited(","),
    "rows.tsv": delimited("\t"),
    "rows.parquet": parquet(PAIRS),
    "plain.parquet": parquet(PAIRS, use_dictionary=False, compression="none"),
    "talks.parquet": parquet(talks()),
    "rows.arrow": arrow(PAIRS),
    "stream.arrow": arrow(PAIRS, stream=True),
    "talks.arrow": arrow(talks()),
}
COMPRESSED = ("rows.jsonl.gz", "rows.jsonl.zst")
"""Formats with a checksum: there every other byte is noticed."""


def rows_of_lines(data: bytes) -> list[str | None]:
    """What JSON Lines hold, read by Python's own means; None is a row at fault."""
    return [row_of(line) for line in data.split(b"\n") if line.strip()]


def row_of(line: bytes) -> str | None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) != len(found):
            raise ValueError("a key twice")
        return dict(found)

    try:
        row = json.loads(line.decode(), object_pairs_hook=pairs)
        prompt, completion = row["prompt"], row["completion"]
        assert isinstance(prompt, str) and isinstance(completion, str) and completion.strip()
        return as_text(prompt, completion).encode().decode()
    except (ValueError, KeyError, TypeError, AssertionError):
        return None


def rows_of_array(data: bytes) -> list[str | None] | None:
    """What a JSON array holds; None is a file at fault."""
    if not data.strip():
        return []
    try:
        return [row_of(json.dumps(row).encode()) for row in json.loads(data)]
    except ValueError:
        return None


TEXTS = [as_text(**row) for row in ROWS]


# --------------------------------------------------------------------------------------- mutants


@dataclass(frozen=True)
class Mutant:
    """What was done to a file: bits of a byte flipped, or all from there on cut off."""

    at: int
    flip: int

    def of(self, data: bytes) -> bytes:
        if not self.flip:
            return data[: self.at]
        return data[: self.at] + bytes([data[self.at] ^ self.flip]) + data[self.at + 1 :]


def mutants(size: int, most: int) -> list[Mutant]:
    """At most so many flips, and a third as many cuts, spread over the file."""
    flips = range(0, size, -(-size // most))
    cuts = range(1, size, -(-3 * size // most))
    return [*(Mutant(at, 1 << at % 8) for at in flips), *(Mutant(at, 0) for at in cuts)]


@dataclass(frozen=True)
class Result:
    """What became of a mutant.

    Attributes:
        refused: the error's text, or empty.
        texts: of the rows written.
        rejected: how many rows were not.
        fault: what must not be, or empty.
    """

    refused: str = ""
    texts: Sequence[str] = ()
    rejected: int = 0
    fault: str = ""


def convert(path: Path, out: Path) -> Result:
    tokenizer = load_tokenizer("builtin")
    try:
        manifest = la.convert(path, out, tokenizer="builtin", engine="tokenizers", mode="none", workers=1)
    except la.LookaheadError as error:
        named = str(path) in str(error) and not (out / "manifest.json").exists()
        return Result(str(error), fault="" if named else f"the file is not named: {error}")
    except Exception as error:
        return Result(fault=f"{type(error).__name__}: {error}")
    wrong = unconserved(out, manifest.totals["read"])
    texts = [tokenizer.decode(row["input_ids"]) for row in read_rows(out)]
    return Result("", texts, manifest.totals["read"] - manifest.totals["written"], "; ".join(wrong))


def wrong_with(name: str, mutant: Mutant, result: Result) -> str:
    """What must not become of a mutant, or nothing."""
    data = mutant.of(FILES[name])
    if result.fault:
        return result.fault
    if name in COMPRESSED:
        right = result.refused or (list(result.texts), result.rejected) == (TEXTS, 0)
        return "" if right else "other rows"
    wanted: list[str | None] | None = None
    if name == "rows.jsonl":
        wanted = rows_of_lines(data)
        if result.refused:
            return "" if wanted and not any(wanted) else f"refused: {result.refused}"
    elif name == "rows.json":
        wanted = rows_of_array(data)
        if result.refused or wanted is None:
            return "" if result.refused else "accepted"
    if wanted is not None:
        good = [text for text in wanted if text]
        return (
            "" if (list(result.texts), result.rejected) == (good, len(wanted) - len(good)) else "other rows"
        )
    if name in ("rows.csv", "rows.tsv") and not result.refused:
        # A quote that comes or goes moves the borders of the rows behind it, but of none before it.
        before = data[: mutant.at].count(b"\n")
        sure = TEXTS[: max(0, before - 3)]
        return "" if list(result.texts[: len(sure)]) == sure else "other rows before the flipped byte"
    return ""


def convert_all(name: str, chosen: Sequence[Mutant], home: Path, journal: Path) -> None:
    """Convert mutants one after the other, and note what became of each, and what is wrong."""
    limit_memory(4 << 30)
    models: dict[frozenset[str], Model] = {}

    def load_once(settings: la.Settings, kinds: frozenset[str], **more: Any) -> Model:
        if kinds not in models:
            models[kinds] = load_model(settings, kinds, **more)
        return models[kinds]

    # The model is the same each time, and nobody cuts the power.
    vars(planning)["load_model"] = load_once
    os.fsync = lambda handle: None  # type: ignore[assignment]
    path = home / name
    with open(journal, "a") as file:
        for mutant in chosen:
            path.write_bytes(mutant.of(FILES[name]))
            result = convert(path, home / "out")
            shutil.rmtree(home / "out", ignore_errors=True)
            same = (list(result.texts), result.rejected) == (TEXTS, 0)
            what = "refused" if result.refused else "same" if same else "other"
            print(json.dumps([what, wrong_with(name, mutant, result)]), file=file, flush=True)


def follow(name: str, chosen: Sequence[Mutant], home: Path) -> list[tuple[str, str]]:
    """What became of mutants, and what is wrong; what ends the process or takes for ever, too."""
    home.mkdir()
    journal = home / "journal"
    journal.touch()
    results: list[tuple[str, str]] = []
    while len(results) < len(chosen):
        ended = forked(convert_all, name, chosen[len(results) :], home, journal, seconds=60)
        results = [tuple(json.loads(line)) for line in journal.read_text().splitlines()]
        if len(results) < len(chosen):
            how = f"the process ended: {ended.status} {ended.error}" if ended.status else "it takes for ever"
            results.append(("fault", how))
            journal.write_text("".join(json.dumps(result) + "\n" for result in results))
    return results


def check(name: str, most: int, home: Path) -> None:
    chosen = mutants(len(FILES[name]), most)
    halves = [chosen[::2], chosen[1::2]]
    found = side_by_side(lambda at: follow(name, halves[at], home / str(at)), (0, 1))
    results = [pair for at in (0, 1) for pair in zip(halves[at], found[at], strict=True)]
    print(dict(Counter(what for _, (what, _) in results)))
    wrong = [f"{mutant}: {problem}" for mutant, (_, problem) in results if problem]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("most", [20, pytest.param(140, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_mutants_are_refused_by_name_or_give_the_right_rows(name: str, most: int, tmp_path: Path) -> None:
    check(name, most, tmp_path)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_file_cut_to_nothing_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(la.InputError, match=re.escape(name)):
        la.convert(tmp_path / name, tmp_path / "out", tokenizer="builtin")
