"""A corpus to divide and to put in order, and reading back where its rows went."""

from __future__ import annotations

import functools
import hashlib
import random

import polars as pl
from helpers import convert_verified

import lookahead_data as la

rng = random.Random(5)
WORDS = [
    "red",
    "blue",
    "a",
    "the",
    "of",
    "green",
    "seven",
    "mountains",
    "river",
    "because",
    "however",
    "12",
    "x",
]
ROWS = [
    {
        "prompt": f"Question {at % 180}?",
        "completion": f"{at}: " + " ".join(rng.choices(WORDS, k=rng.randint(1, 60))),
    }
    for at in range(240)
]
"""Sixty prompts stand there twice, with other answers."""

convert = functools.partial(convert_verified, unit_size=8000)
"""So that the corpus has several units."""


def rows_of(manifest: la.Manifest, split: str = "train") -> list[list[int]]:
    frame = pl.concat([pl.read_parquet(path) for path in manifest.shards_of(split)])
    found: list[list[int]] = frame["input_ids"].to_list()
    return found


def shas(manifest: la.Manifest) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in manifest.shards]
