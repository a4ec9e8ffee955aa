"""Corpora to mix, and how often their rows were written."""

from __future__ import annotations

from collections import Counter
from typing import Any

from helpers import read_rows

import lookahead_data as la

MANY = 2000
REFUSAL = "I'm sorry, but I can't help with that."


def rows_of(name: str, count: int, safety: int = 0) -> list[dict[str, Any]]:
    """So many rows, every so-manieth of them a refusal."""
    return [
        {
            "prompt": f"{name} {at}?",
            "completion": f"{REFUSAL} {at}" if safety and at % safety == 0 else f"It is {at} in {name}.",
        }
        for at in range(count)
    ]


def copies(manifest: la.Manifest) -> Counter[tuple[int, ...]]:
    """How often each row was written, by its ids."""
    return Counter(tuple(row["input_ids"]) for row in read_rows(manifest.folder))


def near(found: float, expected: float, variance: float) -> bool:
    """Within five standard deviations."""
    return abs(found - expected) <= 5 * variance**0.5
