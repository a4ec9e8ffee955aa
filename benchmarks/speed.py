"""The speed of `convert` and `preview`, side by side with their bare parts and with other tools.

    python benchmarks/speed.py [--megabytes 200] [--tokenizer T] [--short 400] [--large 2000] [--peers PYTHON]

| measured | against |
|---|---|
| `convert`, all workers, short rows (`--short`, in megabytes) | TRL's preparation of the first rows of the same file, 1 and 2 processes; `convert` before and behind each |
| `preview`, the same rows | the LookAhead Tuning authors' steps on the first of them |
| `convert --engine tokenizers` | `encode_batch_fast` over the same segments with the same cores |
| CPU seconds of `convert`, one worker | those of its bare parts: Polars reads the text columns, gigatoken encodes the segments, pyarrow writes the finished table; by turns, twice each |
| two workers | one worker, on `--megabytes` and on `--large`; and two jobs of one worker at once, which share nothing: no two processes of this kind can do more on the machine |
| a large corpus (`--large`, in megabytes) | 100 MB of the same: seconds a megabyte, largest process |

The corpora are those of `corpora.py`: short, long, world and chat, a quarter of the megabytes each. Every
job runs as a command of its own, start-up and verification included; bare parts do not start up. `--peers` is
the Python of an environment with `peers/requirements.txt`; without it those lines are left out.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from corpora import make

from lookahead_data.config import Settings
from lookahead_data.model.engines import Engines
from lookahead_data.model.load import Model, load_model
from lookahead_data.pipeline import build_stages
from lookahead_data.sink.formats import WRITER
from lookahead_data.sink.shards import GROUP_ROWS
from lookahead_data.source import blocks
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import BATCH_BYTES, Shape
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import jsonl
from lookahead_data.stages.render import Render

PAIRS = ("short", "long", "world")
PEER_ROWS = 50_000
TOKENIZERS_MEGABYTES = 60  # `tokenizers` is slow: so much is enough to measure it
TURNS = 2  # how often jobs and bare parts take turns, since the machine's speed changes
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """What a command took: wall and CPU seconds (with its children), and its largest process in MB."""

    wall: float
    cpu: float
    megabytes: float


# A process of its own starts the command: what a child is said to take at most begins with what its
# parent has.
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000]))
"""


def command(*arguments: object) -> Run:
    """Run `lookahead-data` with its workers, and measure it."""
    tool = [sys.executable, "-m", "lookahead_data", *map(str, arguments)]
    ran = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *tool], stdout=subprocess.PIPE, text=True, check=True
    )
    status, wall, cpu, megabytes = json.loads(ran.stdout)
    if status:
        sys.exit(f"failed: {' '.join(map(str, arguments))}")
    return Run(wall, cpu, megabytes)


def peer(python: str, script: str, *arguments: object) -> dict[str, Any]:
    """The JSON line of a peer's script."""
    ran = subprocess.run(
        [python, "-W", "ignore", HERE / "peers" / script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def segments(path: Path, kind: str, model: Model, settings: Settings) -> Iterator[pa.LargeStringArray]:
    """The texts that `convert` encodes, a batch at a time."""
    shape = (
        Shape("messages", "messages")
        if kind == "chat"
        else Shape("prompt-completion", "prompt", "completion")
    )
    file = describe(str(path))
    (whole,) = jsonl.split(file, file.size + 1)
    _, preview, *_ = build_stages(settings, model)
    render = Render(settings, model.tokenizer, model.template)  # without frames: all of each row's text
    found = jsonl.blocks(file, whole, BATCH_BYTES, settings.max_line_size)
    for staged, _ in blocks.conversations((Block(*block) for block in found), shape, settings.max_line_size):
        rows = render(preview(staged.batch).batch).batch
        yield pc.struct_field(rows.column("segments").flatten(), "text")


def bare_parts(home: Path, kinds: tuple[str, ...], out: Path, model: Model) -> dict[str, float]:
    """CPU seconds of what no such job can do without, for the finished folder `out`."""
    settings = Settings()
    pairs = {"prompt": pl.String, "completion": pl.String}
    turns = {"messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String}))}
    read = encode = write = 0.0
    engine = Engines(model.tokenizer).get(settings.engine)  # one that has not seen these texts
    for kind in kinds:
        path = home / f"{kind}.jsonl"
        schema: Any = turns if kind == "chat" else pairs
        read += cpu_seconds(lambda path=path, schema=schema: pl.read_ndjson(path, schema=schema))  # type: ignore[misc]
        for texts in segments(path, kind, model, settings):
            encode += cpu_seconds(lambda texts=texts: engine.encode(texts))  # type: ignore[misc]
    for shard in sorted((out / "data").iterdir()):
        table = pq.read_table(shard, use_threads=False)  # read whole before the clock runs

        def written(table: pa.Table = table) -> None:
            with pq.ParquetWriter(home / "bare.parquet", table.schema, **WRITER) as writer:
                writer.write_table(table, row_group_size=GROUP_ROWS)

        write += cpu_seconds(written)
    return {"read": read, "encode": encode, "write": write}


def bare_tokenizers(home: Path, model: Model, settings: Settings) -> float:
    """Wall seconds of `encode_batch_fast` over the segments of short rows, on all cores."""
    texts = [array.to_pylist() for array in segments(home / "less.jsonl", "short", model, settings)]
    started = time.perf_counter()
    for batch in texts:
        model.tokenizer.encode(batch, special=True, offsets=False)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure convert and preview.")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--short", type=int, default=400)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--tokenizer", default="builtin")
    parser.add_argument("--peers", help="the Python of the peers' environment")
    parser.add_argument("--authors-script", help="main.py of the authors' repository")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lookahead-speed-"))
    try:
        result = measure(home, options)
    finally:
        shutil.rmtree(home)
    print(json.dumps(result))


def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    tokenizer = ("--tokenizer", options.tokenizer)
    rows = {}
    for kind in (*PAIRS, "chat"):
        rows[kind] = make(kind, home / f"{kind}.jsonl", options.megabytes // 4)
    size = sum((home / f"{kind}.jsonl").stat().st_size for kind in rows)
    settings = Settings(tokenizer=options.tokenizer)
    model = load_model(settings, frozenset({"messages"}), size=1 << 30)
    result: dict[str, Any] = {"megabytes": round(size / 1e6), "rows": dict(rows), "engine": model.engine.name}

    def convert(out: str, workers: int, *kinds: str, more: tuple[object, ...] = ()) -> Run:
        inputs = [home / f"{kind}.jsonl" for kind in kinds]
        return command("convert", *inputs, "-o", home / out, "--workers", workers, *tokenizer, *more)

    convert("warm", 1, "long", more=("--max-length", 9))
    one, two, both, bare = [], [], [], Counter[str]()
    for turn in range(TURNS):
        one.append(convert(f"one-{turn}", 1, *rows))
        bare += Counter(bare_parts(home, tuple(rows), home / f"one-{turn}", model))
        two.append(convert(f"two-{turn}", 2, *rows))
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(convert, f"both-{turn}-{at}", 1, *rows) for at in range(2)]
        both.append(max(job.result().wall for job in jobs))
        for folder in home.glob(f"*-{turn}*"):
            shutil.rmtree(folder)
    wall = sum(run.wall for run in one)
    result["cpu_seconds"] = round(sum(run.cpu for run in one) / TURNS, 2)
    result["bare_parts"] = {name: round(seconds / TURNS, 2) for name, seconds in bare.items()}
    result["cpu_against_bare_parts"] = round(sum(run.cpu for run in one) / bare.total(), 2)
    result["workers_2_against_1"] = round(wall / sum(run.wall for run in two), 2)
    result["two_jobs_at_once_against_1"] = round(2 * wall / sum(both), 2)
    result["rows_per_second"] = round(sum(rows.values()) * TURNS / sum(run.wall for run in two))

    rows["short"] = result["short_rows"] = make("short", home / "short.jsonl", options.short)

    def short() -> float:
        run = command("convert", home / "short.jsonl", "-o", home / "short", "--workers", 2, *tokenizer)
        shutil.rmtree(home / "short")
        return run.wall

    walls = [short()]
    previewed = command("preview", home / "short.jsonl", "-o", home / "short.preview.jsonl", *tokenizer)
    result["preview_rows_per_second"] = round(rows["short"] / previewed.wall)

    make("short", home / "less.jsonl", TOKENIZERS_MEGABYTES)
    less = command(
        "convert", home / "less.jsonl", "-o", home / "less", "--workers", 2, *tokenizer,
        "--engine", "tokenizers",
    )  # fmt: skip
    result["tokenizers_against_bare"] = round(bare_tokenizers(home, model, settings) / less.wall, 2)

    if options.peers:
        first = ("--limit", PEER_ROWS, *tokenizer)
        for processes in (1, 2):
            trl = peer(
                options.peers, "prepare_trl.py", home / "short.jsonl", *first, "--processes", processes
            )
            walls.append(short())
            between = 2 * rows["short"] / sum(walls[-2:])  # before and behind TRL's own run
            result[f"trl_{processes}_rows_per_second"] = round(trl["rows_per_second"])
            result[f"convert_against_trl_{processes}"] = round(between / trl["rows_per_second"], 1)
        script = ("--script", options.authors_script) if options.authors_script else ()
        authors = peer(options.peers, "preview_authors.py", home / "short.jsonl", *first, *script)
        result["authors_restated"] = authors["restated"]
        result["authors_rows_per_second"] = round(authors["rows_per_second"])
        result["preview_against_authors"] = round(
            result["preview_rows_per_second"] / authors["rows_per_second"], 1
        )

    result["short_rows_per_second"] = [round(rows["short"] / wall) for wall in walls]
    if options.large:
        result["large"] = large(home, options.large, tokenizer)
    return result


def large(home: Path, megabytes: int, tokenizer: tuple[object, ...]) -> dict[str, Any]:
    """A large corpus of short, long and foreign rows against 100 MB of it, with two workers."""
    found = []
    for size in (100, megabytes):
        folder = home / f"large-{size}"
        folder.mkdir()
        for kind in PAIRS:
            make(kind, folder / f"{kind}.jsonl", size // len(PAIRS))
        out = home / f"large-out-{size}"
        run = command("convert", folder, "-o", out, "--workers", 2, *tokenizer)
        shutil.rmtree(out)
        real = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        found.append((real, run))
    alone = command("convert", folder, "-o", out, "--workers", 1, *tokenizer)
    (((small_size, small), (large_size, big)),) = pairwise(found)
    return {
        "megabytes": round(large_size),
        "cpu_a_megabyte_against_100_MB": round((big.cpu / large_size) / (small.cpu / small_size), 2),
        "megabytes_a_second": round(large_size / big.wall, 1),
        "workers_2_against_1": round(alone.wall / big.wall, 2),
        "largest_process_MB": [round(small.megabytes), round(big.megabytes)],
        "largest_process_against_100_MB": round(big.megabytes / small.megabytes, 2),
    }


if __name__ == "__main__":
    main()
