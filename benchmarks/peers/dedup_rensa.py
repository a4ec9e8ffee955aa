"""Near duplicates with rensa (Rust), by its quickest documented way: a matrix of digests, flags of rows.

    python dedup_rensa.py TEXTS.json [--threshold 0.7] [--num-perm 128] [--size 5]

Bands: the divisor of `num_perm` whose S-curve is steepest nearest to the threshold, since rensa cuts a digest
without a rest. The last line is JSON: seconds, and how many rows were flagged.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from rensa import RMinHash, RMinHashLSH


def grams(text: str, size: int) -> set[str]:
    words = text.casefold().split()
    return (
        {" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))} if words else set()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Find near duplicates with rensa.")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--num-perm", type=int, default=128)
    parser.add_argument("--size", type=int, default=5)
    options = parser.parse_args()
    texts = json.loads(options.texts.read_text())
    divisors = [b for b in range(2, options.num_perm + 1) if options.num_perm % b == 0]
    bands = min(divisors, key=lambda b: abs((1 / b) ** (b / options.num_perm) - options.threshold))

    started = time.perf_counter()
    sets = [sorted(grams(text, options.size)) for text in texts]
    cut = time.perf_counter()
    digests = RMinHash.digest_matrix_from_token_sets(sets, options.num_perm, 42)
    signed = time.perf_counter()
    index = RMinHashLSH(options.threshold, options.num_perm, bands)
    flags = index.query_duplicate_flags_matrix_one_shot(digests)
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "bands": [bands, options.num_perm // bands],
                "shingles": round(cut - started, 3),
                "digests": round(signed - cut, 3),
                "flags": round(ended - signed, 3),
                "flagged": sum(flags),
            }
        )
    )


if __name__ == "__main__":
    main()
