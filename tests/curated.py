"""A corpus to curate, and what a job left out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from helpers import read_quarantine

import lookahead_data as la
from lookahead_data.columns import MESSAGE
from lookahead_data.talk import Talk

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
]


def text(seed: int, words: int = 30) -> str:
    chosen = np.random.default_rng(seed).choice(WORDS, words)
    return " ".join(chosen) + f" {seed}"


ROWS = [{"prompt": text(at), "completion": text(1000 + at)} for at in range(60)]


def convert(source: Path, folder: Path, **changes: Any) -> la.Manifest:
    return la.convert(source, folder, **({"tokenizer": "builtin", "workers": 1} | changes))


def filtered(folder: Path) -> dict[int, str]:
    return {row["row"]: row["reason"] for row in read_quarantine(folder) if row["outcome"] == "filtered"}


def talk_of(rows: list[list[dict[str, str]]]) -> Talk:
    return Talk(pa.array(rows, pa.list_(MESSAGE)))
