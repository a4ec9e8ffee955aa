"""How fast `lookahead_data.torch` reads, against bare pyarrow, and in how much memory.

    python benchmarks/reading.py [--megabytes 100] [--batch-size 8] [--rounds 3] [--workers 2]

A corpus of `corpora.py` is converted unpacked and packed. Each way of reading it runs in a process of its
own: `pyarrow` takes each row group's ids and labels into Arrow memory with one thread and does nothing
with them; `dataset` and `loader` give shuffled batches of tensors, without and with worker processes.
Told are the best of the rounds in million tokens for a second of wall time and of CPU (workers included),
and how much more memory the process took at its peak than after its imports. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from corpora import make

import lookahead_data as la

RUN = """
import json, os, re, sys, time
import pyarrow.parquet as pq
from lookahead_data.sink.manifest import Manifest
from lookahead_data.torch import ShardDataset, ShardLoader
folder, way, batch_size, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024
cpu = sum(os.times()[:4])
imported, began = peak(), time.perf_counter()
if way == "pyarrow":
    for path in Manifest.load(folder).shards:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["input_ids", "labels"], use_threads=False)
else:
    dataset = ShardDataset(folder, batch_size=batch_size)
    for batch in ShardLoader(dataset, num_workers=workers) if way == "loader" else dataset:
        pass
wall = time.perf_counter() - began
tokens = Manifest.load(folder).totals["tokens"] / 1e6
print(json.dumps([tokens / wall, tokens / (sum(os.times()[:4]) - cpu), peak() - imported]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast finished folders are read.")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    result: dict[str, object] = {"megabytes": options.megabytes}
    with tempfile.TemporaryDirectory() as home:
        corpus = Path(home, "rows.jsonl")
        make("short", corpus, options.megabytes)
        for name, pack in (("sft", None), ("packed-trl", 2048)):
            folder = Path(home, name)
            la.convert(corpus, folder, tokenizer="builtin", pack=pack)
            for way in ("pyarrow", "dataset", "loader"):
                command = [
                    sys.executable,
                    "-c",
                    RUN,
                    str(folder),
                    way,
                    str(options.batch_size),
                    str(options.workers),
                ]
                found = []
                for _ in range(options.rounds):
                    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    found.append(json.loads(ran.stdout.splitlines()[-1]))
                best = {
                    "million_tokens_per_second": round(max(wall for wall, _, _ in found), 1),
                    "million_tokens_per_cpu_second": round(max(cpu for _, cpu, _ in found), 1),
                    "megabytes": max(memory for _, _, memory in found),
                }
                print(name, way, best, flush=True)
                result[f"{name} {way}"] = best
    print(json.dumps(result))


if __name__ == "__main__":
    main()
