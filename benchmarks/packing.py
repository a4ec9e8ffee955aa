"""What packing costs, and how full its rows are.

    python benchmarks/packing.py [--megabytes 50] [--tokenizer T] [--pack 2048] [--rounds 3]

| measured | how |
|---|---|
| CPU seconds (user and system) of a job that packs, against one that does not | `convert` with one worker, the ways in turn, each in a process of its own; the medians of the rounds |
| tokens over capacity | docstrings, the language reference and descriptions of packages, and source files of the standard library, one document each; those longer than a row are split |

The corpora are those of `corpora.py`: `short` as it is, and with prompt and completion as one text.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from corpora import make, prose, sources

import lookahead_data as la

RUN = """
import json, resource, sys
import lookahead_data as la
corpus, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
la.convert(corpus, out, workers=1, unit_size="64MiB", mode="none", **settings)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def write_texts(path: Path, texts: Iterable[str]) -> None:
    """Write a corpus of plain text."""
    with path.open("w", encoding="utf-8", errors="ignore") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def cpu_seconds(corpus: Path, out: Path, settings: dict[str, Any]) -> float:
    """What a conversion takes in a process of its own, start-up included."""
    command = [sys.executable, "-c", RUN, str(corpus), str(out), json.dumps(settings)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(ran.stdout.splitlines()[-1])


def measure_cost(corpus: Path, ways: dict[str, dict[str, Any]], rounds: int) -> dict[str, Any]:
    """The medians of the ways' CPU seconds, and by how much each takes more than the first."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for at in range(rounds):
        for name, settings in ways.items():
            out = corpus.with_name(f"{corpus.stem}-{name}-{at}")
            times[name].append(cpu_seconds(corpus, out, settings))
            print(f"{corpus.stem}, {name}: {times[name][-1]:.2f} s of CPU", flush=True)
            shutil.rmtree(out)
    medians = {name: statistics.median(found) for name, found in times.items()}
    first = next(iter(medians.values()))
    return {
        "cpu_seconds": {name: round(value, 2) for name, value in medians.items()},
        "cost": {name: round(value / first - 1, 3) for name, value in medians.items()},
    }


def measure_efficiency(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Tokens over capacity, and how long the documents are."""
    found: dict[str, Any] = {}
    for name, texts in (("prose", prose()), ("sources", sources())):
        write_texts(folder / f"{name}.jsonl", texts)
        manifest = la.convert(
            folder / f"{name}.jsonl", folder / name, mode="none", overlength="split", **settings
        )
        totals = manifest.totals
        found[name] = {
            "documents": totals["written"],
            "split": totals["notes"].get("split", 0),
            "tokens": totals["tokens"],
            "rows": totals["packed_rows"],
            "efficiency": totals["packing_efficiency"],
        }
        print(f"{name}: {found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what packing costs, and how full its rows are.")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--tokenizer", default="builtin")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--pack", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = {"tokenizer": options.tokenizer, "engine": options.engine}
    best = {**model, "pack": options.pack}
    ways = {"unpacked": model, "best-fit": best, "concat": {**best, "packing": "concat"}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers, texts = folder / "answers.jsonl", folder / "texts.jsonl"
        make("short", answers, options.megabytes)
        with answers.open(encoding="utf-8") as file:
            write_texts(texts, (f"{row['prompt']}\n{row['completion']}" for row in map(json.loads, file)))
        result = {
            "megabytes": options.megabytes,
            "pack": options.pack,
            "texts": measure_cost(texts, ways, options.rounds),
            # Answers are not cut.
            "answers": measure_cost(
                answers, {name: ways[name] for name in ("unpacked", "best-fit")}, options.rounds
            ),
            "efficiency": measure_efficiency(folder, best),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
