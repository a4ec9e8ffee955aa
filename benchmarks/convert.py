"""`convert` against the sum of its bare parts, and two workers against one.

    python benchmarks/convert.py [--megabytes 60] [--tokenizer T]

The corpus is made of the documentation strings of Python's standard library, seeded; rows are a
question of a few words and a docstring's paragraphs as the answer. Bare parts are what no such job
can do without: Polars reads the two text columns, the engine encodes the rendered segments, pyarrow
writes the finished table. All are measured in this one run, in CPU seconds of the process and its
children. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import lookahead_data as la
from lookahead_data.config import Settings
from lookahead_data.model.load import load_model
from lookahead_data.sink.shards import GROUP_ROWS, WRITER

MODULES = ("argparse", "asyncio", "collections", "datetime", "decimal", "email", "http", "json", "logging", "os",
           "pathlib", "pickle", "random", "re", "socket", "sqlite3", "statistics", "string", "subprocess",
           "tarfile", "threading", "turtle", "typing", "unittest", "urllib", "xml", "zipfile")  # fmt: skip


def paragraphs() -> list[str]:
    """Documentation strings of the standard library, in a fixed order."""
    found: set[str] = set()
    names = list(MODULES)
    for name in MODULES:
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            found_below = pkgutil.iter_modules(module.__path__)
            names += [f"{name}.{info.name}" for info in found_below if info.name != "__main__"]
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except Exception:
            continue
        for _, value in inspect.getmembers(module):
            for thing in (value, *(vars(value).values() if inspect.isclass(value) else ())):
                text = inspect.getdoc(thing) if callable(thing) else None
                if text and len(text) > 40:
                    found.add(text)
    return sorted(found)


def make_corpus(path: Path, megabytes: int) -> int:
    texts = paragraphs()
    chance = random.Random(7)
    size = rows = 0
    with path.open("w", encoding="utf-8") as file:
        while size < megabytes * 1_000_000:
            words = " ".join(chance.choice(texts).split()[:20])
            line = json.dumps({"question": f"{rows}: {words}?", "answer": chance.choice(texts)[:700]}) + "\n"
            size += file.write(line)
            rows += 1
    return rows


def cpu_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds (with child processes) and wall seconds of some work."""

    def used() -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    before, started = used(), time.perf_counter()
    work()
    return used() - before, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--tokenizer", default="builtin")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp())
    corpus = home / "corpus.jsonl"
    rows = make_corpus(corpus, options.megabytes)
    size = corpus.stat().st_size
    unit = size // 8 + 1

    def convert(workers: int, engine: str = "auto") -> Callable[[], object]:
        out = home / f"out-{workers}-{engine}"
        settings = {"tokenizer": options.tokenizer, "unit_size": unit, "engine": engine}
        return lambda: la.convert(corpus, out, workers=workers, **settings)

    cpu_seconds(
        lambda: la.convert(corpus, home / "warm", tokenizer=options.tokenizer, workers=1, max_length=9)
    )
    one_cpu, one_wall = cpu_seconds(convert(1))
    _, two_wall = cpu_seconds(convert(2))

    finished = ds.dataset(home / "out-1-auto" / "data").to_table().combine_chunks()
    model = load_model(Settings(tokenizer=options.tokenizer), "messages", size=size)
    # The segments as text: decoding the rows gives the same bytes to encode.
    segments = [model.tokenizer.decode(ids) for ids in finished.column("input_ids").to_pylist()]
    texts = pa.array(segments, pa.large_string())

    def write() -> None:
        with pq.ParquetWriter(home / "bare.parquet", finished.schema, **WRITER) as writer:
            writer.write_table(finished, row_group_size=GROUP_ROWS)

    read_cpu, _ = cpu_seconds(
        lambda: pl.read_ndjson(corpus, schema={"question": pl.String, "answer": pl.String})
    )
    encode_cpu, _ = cpu_seconds(lambda: model.engine.encode(texts))
    write_cpu, _ = cpu_seconds(write)
    parts = read_cpu + encode_cpu + write_cpu
    result = {
        "rows": rows,
        "megabytes": round(size / 1e6, 1),
        "engine": model.engine.name,
        "rows_per_second_1_worker": round(rows / one_wall),
        "rows_per_second_2_workers": round(rows / two_wall),
        "workers_2_against_1": round(one_wall / two_wall, 2),
        "cpu_seconds": round(one_cpu, 2),
        "bare_parts": {
            "read": round(read_cpu, 2),
            "encode": round(encode_cpu, 2),
            "write": round(write_cpu, 2),
        },
        "cpu_against_bare_parts": round(one_cpu / parts, 2),
    }
    shutil.rmtree(home)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
