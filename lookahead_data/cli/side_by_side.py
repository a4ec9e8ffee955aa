"""Clusters as people see them: each row beside the one that it is held against, with what differs marked."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lookahead_data.check.clusters import Cluster, Clusters, Member
from lookahead_data.check.marks import Piece, differences, shared
from lookahead_data.display import printable

MARKED = "bold yellow"
MARKS = ("«", "»")
"""How words are marked with colours, and without."""

_TITLES = {"near_duplicates": "cluster", "duplicates": "row", "contamination": "item"}
_HEADS = {
    "near_duplicates": ("stays", "is nearly the same"),
    "duplicates": ("stays", "repeats it"),
    "contamination": ("evaluation item", "shares words with it"),
}


def show_clusters(found: Clusters, start: int) -> None:
    """Clusters, a table each.

    Args:
        start: the number of the first of them.
    """
    console = Console(highlight=False)
    coloured = console.color_system is not None and not os.environ.get("NO_COLOR")
    what = _TITLES[found.report]
    if not found.clusters:
        click.echo(f"no {what} from {start:,} on: there are {found.total:,}")
    for at, cluster in enumerate(found.clusters, start):
        rows = len(cluster.members) + cluster.more
        title = f"── {what} {at:,} of {found.total:,}: {rows:,} row{'s' * (rows != 1)} beside the first"
        console.print(Text(title, "dim"))
        console.print(_table(cluster, _HEADS[found.report], coloured=coloured))
        if cluster.more:
            console.print(Text(f"and {cluster.more:,} more", "dim"))


def _table(cluster: Cluster, heads: tuple[str, str], *, coloured: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, show_lines=True)
    for head in heads:
        table.add_column(head, ratio=1, overflow="fold")
    for member in cluster.members:
        pair = _pieces(cluster.first, member)
        rows = (cluster.first, member)
        cells = [_cell(row, pieces, coloured=coloured) for row, pieces in zip(rows, pair, strict=True)]
        table.add_row(*cells)
    return table


def _pieces(first: Member, member: Member) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """What is shown of both texts; nothing of one that is not at hand."""
    if member.overlap is not None:
        left, right = (shared(row.text or "", member.overlap) for row in (first, member))
        return left, right
    if first.text is None or member.text is None:
        return [], []
    return differences(first.text, member.text)


def _cell(row: Member, pieces: Sequence[Piece], *, coloured: bool) -> Text:
    said = [f"row {row.row + 1:,} of {printable(row.file)}"]
    if row.similarity is not None:
        said.append(f"similarity {row.similarity:.3f}")
    if row.words is not None:
        said.append(f"{row.words} words{', the whole item' if row.whole else ''}")
    cell = Text.assemble((", ".join(said), "dim"))
    for at, piece in enumerate(pieces):
        text = printable(piece.text)
        if piece.marked and not coloured:
            text = text.join(MARKS)
        cell.append(text if at else f"\n{text}", MARKED if piece.marked else "")
    return cell
