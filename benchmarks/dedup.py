"""Near duplicates of short documents: speed, memory, recall and precision, beside datasketch and rensa.

    python benchmarks/dedup.py [--documents 50000] [--large 1000000] [--threshold 0.7] [--rounds 2]
        [--rensa PYTHON]

The documents are prompts and completions of `corpora.py`'s short rows. One in ten is a copy of one of the
thousand documents before it, with up to a quarter of its words replaced from the end; how similar the two are
as sets of word 5-grams is counted, not assumed.

| measured | against |
|---|---|
| `near_duplicates`: from texts to clusters, with normalization, verification and spilling | datasketch's own loop on the same documents, already cut into shingles: `MinHash.bulk`, and `MinHashLSH` with an insert and a query a document, nothing verified |
| the same | rensa, in its Python: digests of the same shingles as a matrix, and which rows share a band with another (it gives no pairs there, and verifies nothing); with and without cutting the shingles |
| planted pairs at or above the threshold that end in one cluster | what the S-curve of the bands predicts for their similarities, with the 95 % interval (Wilson) of what was found |
| rows in clusters with a row at or above the threshold in their cluster, by sets of n-grams in Python | all of them, after exact verification |
| `--large`, verified exactly: seconds, and peak resident memory of a process of its own | 2 GB |

Seconds are wall time, and beside it CPU time; of ours and of datasketch's, which take turns, the best of the
rounds. Ours uses all cores, datasketch one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from corpora import KINDS
from datasketch import MinHash, MinHashLSH

from lookahead_data.curation.bands import Bands
from lookahead_data.curation.minhash import signatures
from lookahead_data.curation.near import NearSettings, near_duplicates
from lookahead_data.curation.shingles import Shingling

SIZE = 5  # words of a shingle
NUM_PERM = 128
BATCH = 10_000
COPIED = 0.1
REACH = 1000
HERE = Path(__file__).parent


def documents(count: int, seed: int = 7) -> Iterator[tuple[str, int | None]]:
    """Texts, and for a copy the number of the document that it is made of."""
    chance, rows = random.Random(f"{seed} dedup"), KINDS["short"](seed)
    last: list[str] = []
    for at in range(count):
        source = None
        if last and chance.random() < COPIED:
            back = chance.randrange(len(last)) + 1
            words = last[-back].split()
            replaced = 1 + int(chance.random() * len(words) / 4)
            text = " ".join([*words[:-replaced], *(f"new{at}x{place}" for place in range(replaced))])
            source = at - back
        else:
            row = json.loads(next(rows))
            text = f"{row['prompt']} {row['completion']}"
        last = [*last[-REACH + 1 :], text] if at % REACH == 0 else [*last, text]
        yield text, source


def grams(text: str) -> set[str]:
    """The shingles of a text, as the defaults of `NearSettings` have them."""
    words = text.casefold().split()
    return (
        {" ".join(words[at : at + SIZE]) for at in range(max(1, len(words) - SIZE + 1))} if words else set()
    )


def jaccard(one: str, other: str) -> float:
    first, second = grams(one), grams(other)
    return len(first & second) / len(first | second)


def write(path: Path, count: int) -> list[tuple[int, int, float]]:
    """Write documents to a Parquet file; the planted pairs with their similarities."""
    pairs, recent, batch = [], {}, []
    schema = pa.schema([("text", pa.large_string())])
    with pq.ParquetWriter(path, schema) as writer:
        for at, (text, source) in enumerate(documents(count)):
            if source is not None:
                pairs.append((source, at, jaccard(recent[source], text)))
            recent[at] = text
            recent.pop(at - 3 * REACH, None)
            batch.append(text)
            if len(batch) == BATCH or at == count - 1:
                writer.write_table(pa.table({"text": batch}, schema=schema))
                batch = []
    return pairs


def ours(path: Path, threshold: float, verify: Any) -> tuple[float, float, pa.Table]:
    """Wall seconds, CPU seconds, and the clusters."""

    def batches() -> Iterator[tuple[Any, pa.LargeStringArray]]:
        at = 0
        for batch in pq.ParquetFile(path).iter_batches(BATCH):
            yield np.arange(at, at + len(batch)), batch.column("text")
            at += len(batch)

    settings = NearSettings(threshold, NUM_PERM, shingling=Shingling("word", SIZE), verify=verify)
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        found = near_duplicates(batches(), Path(folder), settings)
    return time.perf_counter() - wall, time.process_time() - cpu, found.clusters


def datasketch_loop(sets: list[list[bytes]], threshold: float) -> tuple[float, float, dict[str, float]]:
    """Wall seconds, CPU seconds, and the wall seconds of each step of datasketch's own way."""
    cpu = time.process_time()
    started = time.perf_counter()
    minhashes = MinHash.bulk(sets, num_perm=NUM_PERM)
    signed = time.perf_counter()
    index = MinHashLSH(threshold, NUM_PERM)
    for at, one in enumerate(minhashes):
        index.insert(at, one)
    inserted = time.perf_counter()
    for one in minhashes:
        index.query(one)
    ended = time.perf_counter()
    steps = {"bulk": signed - started, "insert": inserted - signed, "query": ended - inserted}
    return ended - started, time.process_time() - cpu, steps


def recall(
    pairs: list[tuple[int, int, float]], clusters: pa.Table, bands: Bands, threshold: float
) -> dict[str, Any]:
    """How many of the planted pairs are in one cluster, and how many should be."""
    cluster_of = dict(zip(clusters["row"].to_pylist(), clusters["cluster"].to_pylist(), strict=True))
    alike = [pair for pair in pairs if pair[2] >= threshold]
    found = sum(a in cluster_of and cluster_of[a] == cluster_of.get(b) for a, b, _ in alike)
    predicted = sum(bands.likelihood(similarity) for _, _, similarity in alike) / len(alike)
    share, n, z = found / len(alike), len(alike), 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return {
        "pairs": len(alike),
        "found": round(share, 4),
        "interval": [round(middle - half, 4), round(middle + half, 4)],
        "predicted": round(predicted, 4),
        "as_predicted_or_better": middle + half >= predicted,
    }


def precision(texts: list[str], clusters: pa.Table, threshold: float) -> float:
    """The share of the rows in clusters that are alike to another row of theirs."""
    members: dict[int, list[int]] = defaultdict(list)
    for cluster, row in zip(clusters["cluster"].to_pylist(), clusters["row"].to_pylist(), strict=True):
        members[cluster].append(row)
    right = sum(
        any(one != other and jaccard(texts[one], texts[other]) >= threshold for other in rows)
        for rows in members.values()
        for one in rows
    )
    return right / clusters.num_rows


def collisions(texts: list[str]) -> dict[str, int]:
    """Distinct n-grams, and their distinct hashes."""
    hashes = Shingling("word", SIZE)(pa.array([text.casefold() for text in texts], pa.large_string()))
    distinct: set[str] = set()
    distinct.update(*map(grams, texts))
    return {
        "n_grams": len(distinct),
        "hashes_of_64_bits": len(np.unique(hashes.hashes)),
        "hashes_of_32_bits": len(np.unique(hashes.in_32_bits())),
    }


def signatures_per_second(shingles: int = 90, count: int = 20_000) -> int:
    """Signatures of documents of so many shingles, one core: the best of five."""
    values = np.random.default_rng(0).integers(0, 2**32, shingles * count, np.uint32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        signatures(values, np.arange(count + 1) * shingles, NUM_PERM)
        best = min(best, time.perf_counter() - started)
    return round(count / best)


def large(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Many documents, in a process of its own, with its peak of resident memory."""
    path = home / "large.parquet"
    pairs = write(path, options.large)
    result: dict[str, Any] = {"documents": options.large}
    command = [sys.executable, __file__, "--alone", path, "--threshold", options.threshold]
    subprocess.run(list(map(str, command)), check=True)
    result.update(json.loads((home / "alone.json").read_text()))
    bands = Bands.of(options.threshold, NUM_PERM)
    result["recall"] = recall(pairs, pq.read_table(home / "clusters.parquet"), bands, options.threshold)
    return result


def alone(path: Path, threshold: float) -> None:
    """What the process of `large` does."""
    wall, cpu, clusters = ours(path, threshold, "exact")
    pq.write_table(clusters, path.with_name("clusters.parquet"))
    # The process's own peak; getrusage would count its parent's.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    found = {"seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "peak_MB": round(peak / 1000)}
    path.with_name("alone.json").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure near duplicates.")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rensa", help="the Python of an environment with rensa")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone, options.threshold)
        return
    with tempfile.TemporaryDirectory(prefix="lookahead-dedup-") as folder:
        print(json.dumps(measure(Path(folder), options)))


def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    path, threshold = home / "documents.parquet", options.threshold
    pairs = write(path, options.documents)
    texts = pq.read_table(path)["text"].to_pylist()
    bands = Bands.of(threshold, NUM_PERM)
    result: dict[str, Any] = {
        "documents": options.documents,
        "shingles_a_document": round(sum(len(grams(text)) for text in texts) / len(texts), 1),
        "threshold": threshold,
        "bands": [bands.b, bands.r],
        "load_average": os.getloadavg()[0],
    }
    sets = [[gram.encode() for gram in grams(text)] for text in texts]
    our_rounds, their_rounds = [], []
    for _ in range(options.rounds):
        our_rounds.append(ours(path, threshold, "estimate")[:2])
        their_rounds.append(datasketch_loop(sets, threshold))
    (wall, cpu), (their_wall, their_cpu, steps) = min(our_rounds), min(their_rounds, key=lambda one: one[0])
    exact_wall, exact_cpu, clusters = ours(path, threshold, "exact")
    result["seconds"] = {
        "ours": [round(wall, 2), round(cpu, 2)],
        "ours_exact": [round(exact_wall, 2), round(exact_cpu, 2)],
        "datasketch": [round(their_wall, 2), round(their_cpu, 2)],
        **{f"datasketch_{name}": round(seconds, 2) for name, seconds in steps.items()},
    }
    result["against_datasketch"] = round(their_wall / wall, 1)
    result["against_datasketch_cpu"] = round(their_cpu / cpu, 1)
    if options.rensa:
        (home / "texts.json").write_text(json.dumps(texts))
        command = [options.rensa, HERE / "peers" / "dedup_rensa.py", home / "texts.json"]
        command += ["--threshold", threshold, "--num-perm", NUM_PERM, "--size", SIZE]
        ran = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
        result["rensa"] = rensa = json.loads(ran.stdout.splitlines()[-1])
        result["against_rensa"] = round((rensa["digests"] + rensa["flags"]) / wall, 2)
        result["against_rensa_with_shingles"] = round(
            (rensa["shingles"] + rensa["digests"] + rensa["flags"]) / wall, 2
        )
    result["recall"] = recall(pairs, clusters, bands, threshold)
    result["precision"] = precision(texts, clusters, threshold)
    result["collisions"] = collisions(texts)
    result["signatures_of_90_shingles_per_second"] = signatures_per_second()
    if options.large:
        result["large"] = large(home, options)
    return result


if __name__ == "__main__":
    main()
