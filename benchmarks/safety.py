"""What the guarantees cost: `convert` as it is, against the same without them.

    python benchmarks/safety.py [--megabytes 50] [--tokenizer T] [--rounds 3]

Taken out are: flushing to the disk, page checksums, reading back and hashing of shards, the hashes of
rows, and the limits on templates. Both ways are run in turn, each in a process of its own; told are the
best of the rounds, in CPU seconds and in wall seconds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from corpora import make

RUN = """
import contextlib, json, os, sys, time
import lookahead_data as la
from lookahead_data import pipeline
from lookahead_data.model import template
from lookahead_data.sink import formats, publish, shards
corpus, out, tokenizer, safe = sys.argv[1:]
if safe == "without":
    os.fsync = lambda handle: None
    formats.WRITER["write_page_checksum"] = False
    shards.sha256_of = lambda path: ""
    pipeline.hash_rows = lambda rows, file: 0
    template.limited = lambda given: contextlib.nullcontext()
wall, cpu = time.perf_counter(), time.process_time()
la.convert(corpus, out, tokenizer=tokenizer, workers=1)
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the guarantees cost.")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--tokenizer", default="builtin")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[list[float]]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "rows.jsonl")
        make("short", corpus, options.megabytes)
        for at in range(options.rounds):
            for way, found in times.items():
                out = Path(folder, f"{way}-{at}")
                command = [sys.executable, "-c", RUN, str(corpus), str(out), options.tokenizer, way]
                ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found.append(json.loads(ran.stdout.splitlines()[-1]))
    best = {way: [min(column) for column in zip(*found, strict=True)] for way, found in times.items()}
    result = {
        "megabytes": options.megabytes,
        "cpu_against_without": round(best["with"][0] / best["without"][0], 3),
        "wall_against_without": round(best["with"][1] / best["without"][1], 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
