"""What splits, orders and mixtures cost, and how much memory they take.

    python benchmarks/arranging.py [--megabytes 100] [--large 1000] [--tokenizer T] [--rounds 3]

| measured | how |
|---|---|
| CPU seconds (user and system) of a job that arranges its rows, against one that does not | `convert` with one worker, the ways in turn, each in a process of its own; the medians of the rounds |
| peak resident memory of the process | the largest of the rounds |
| the same of a shuffle of `--large` megabytes | against that of the smaller one |

The corpus is the short rows of `corpora.py`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpora import make

RUN = """
import json, resource, sys
import lookahead_data as la
corpus, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
la.convert(corpus, out, workers=1, **settings)
used = resource.getrusage(resource.RUSAGE_SELF)
# The process's own peak; getrusage would count its parent's.
status = open("/proc/self/status").read()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps([used.ru_utime + used.ru_stime, peak / 1000]))
"""

WAYS: dict[str, dict[str, Any]] = {
    "input": {},
    "split": {"split": {"validation": 0.01}},
    "shuffle": {"shuffle": 1},
    "length": {"order": "length"},
    "repeat": {"mix": {"*": 1.5}},
}


def convert(corpus: Path, settings: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a conversion in a process of its own, start-up included."""
    out = corpus.with_suffix(".out")
    command = [sys.executable, "-c", RUN, str(corpus), str(out), json.dumps(settings)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(out)
    seconds, peak = json.loads(ran.stdout.splitlines()[-1])
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what splits, orders and mixtures cost.")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--tokenizer", default="builtin")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "short.jsonl"
        make("short", corpus, options.megabytes)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        peaks: dict[str, float] = dict.fromkeys(WAYS, 0.0)
        for _ in range(options.rounds):
            for way, settings in WAYS.items():
                seconds, peak = convert(corpus, {"tokenizer": options.tokenizer, **settings})
                times[way].append(seconds)
                peaks[way] = max(peaks[way], peak)
                print(f"{way}: {seconds:.2f} s of CPU, {peak:.0f} MB", flush=True)
        medians = {way: statistics.median(found) for way, found in times.items()}
        result: dict[str, Any] = {
            "megabytes": options.megabytes,
            "cpu_seconds": {way: round(seconds, 2) for way, seconds in medians.items()},
            "cost": {way: round(seconds / medians["input"] - 1, 3) for way, seconds in medians.items()},
            "peak_MB": {way: round(peak) for way, peak in peaks.items()},
        }
        if options.large:
            make("short", corpus, options.large)
            seconds, peak = convert(corpus, {"tokenizer": options.tokenizer, **WAYS["shuffle"]})
            result["large"] = {
                "megabytes": options.large,
                "cpu_seconds": round(seconds, 2),
                "peak_MB": round(peak),
                "peak_against_small": round(peak / peaks["shuffle"], 2),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
