"""Clusters of near duplicates: connected components of the pairs that are similar enough."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from lookahead_data.arrays import Ints
from lookahead_data.curation.similarity import Similarities

SCHEMA = pa.schema(
    [
        ("cluster", pa.int64()),
        ("row", pa.int64()),
        ("survivor", pa.int64()),
        ("similarity", pa.float64()),
    ]
)
"""One line for each row in a cluster, its survivor among them: `similarity` is that to the survivor. It may be
below the threshold, where a row belongs by way of others."""


class Components:
    """Which texts hang together, as links become known."""

    def __init__(self, texts: int) -> None:
        self.labels: Ints = np.arange(texts)
        """The first text of each text's component, shape (texts,)."""

    def apart(self, left: Ints, right: Ints) -> tuple[Ints, Ints]:
        """The pairs that do not hang together yet: no others need be compared."""
        new = self.labels[left] != self.labels[right]
        return left[new], right[new]

    def link(self, left: Ints, right: Ints) -> None:
        """Join the components of each pair."""
        if not len(left):
            return
        ends = np.concatenate([self.labels[left], self.labels[right]])
        nodes, places = np.unique(ends, return_inverse=True)
        half = len(left)
        # Links that come again are added up: true and true are true, where a number might come round to 0.
        links = csr_array(
            (np.ones(half, np.bool_), (places[:half], places[half:])), shape=(len(nodes), len(nodes))
        )
        count, found = connected_components(links, directed=False)
        first = np.full(count, len(self.labels))
        np.minimum.at(first, found, nodes)
        new = np.arange(len(self.labels))
        new[nodes] = first[found]
        self.labels = new[self.labels]


def clusters(
    components: Components,
    rows: Ints,
    similarity: Callable[[Ints, Ints], Similarities],
    lengths: Ints | None = None,
) -> pa.Table:
    """The components of two texts or more.

    Args:
        rows: the texts' row numbers, shape (texts,).
        similarity: of pairs of texts.
        lengths: of the texts; the longest of a cluster survives, of several the first. None: the first does.

    Returns:
        `SCHEMA`; clusters are numbered from 0 in the order of their first rows, and rows ascend in each.
    """
    counts = np.bincount(components.labels, minlength=len(rows))
    members = np.flatnonzero(counts[components.labels] > 1)
    members = members[np.argsort(components.labels[members], kind="stable")]
    firsts, places = np.unique(components.labels[members], return_inverse=True)
    survivors = firsts
    if lengths is not None:
        order = np.lexsort((members, -lengths[members], places))
        survivors = members[order[np.searchsorted(places, np.arange(len(firsts)))]]
    kept = survivors[places]
    columns = [places, rows[members], rows[kept], similarity(members, kept)]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)
