"""`lookahead-data inspect`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from lookahead_data.cli import options as o
from lookahead_data.display import printable, printable_json

if TYPE_CHECKING:
    from lookahead_data.check.clusters import Report


@click.command()
@click.argument("source", nargs=-1, metavar="DIR|INPUT...")
@click.option(
    "-n", "--rows", type=click.IntRange(1), default=3, show_default=True, help="How many rows or clusters."
)
@click.option("--start", type=click.IntRange(0), default=0, show_default=True, help="From which one on.")
@click.option(
    "--clusters",
    "report",
    flag_value="near_duplicates",
    help="Show clusters of near duplicates instead, each beside the row that stays.",
)
@click.option(
    "--duplicates", "report", flag_value="duplicates", help="Show duplicates, beside the first of them."
)
@click.option(
    "--contamination",
    "report",
    flag_value="contamination",
    help="Show evaluation items, and the rows that share words with them.",
)
@click.option("--ids", is_flag=True, help="Show token ids and labels too.")
@o.options(o.TOKENIZER, o.PREVIEW, o.SAFETY, o.SOURCE, o.MODEL)
@o.config_option
@o.json_option
@o.told
def inspect(
    source: tuple[str, ...],
    rows: int,
    start: int,
    report: Report | None,
    ids: bool,
    config: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show rows of a finished folder, or of raw input as it would become.

    Context, supervised text and preview have different colours, or marks where there are none. With --clusters,
    --duplicates or --contamination: what convert, or curate, has found in a corpus, with words that differ (or,
    of an evaluation item, are shared) marked.
    """
    if report is not None:
        _show_report(source, report, rows, start, as_json=as_json)
        return
    from lookahead_data.check import inspect as check
    from lookahead_data.cli import show

    settings, job = o.settings_from(config, given)
    if not (source or job.inputs):
        raise click.UsageError("name a finished folder, or the INPUT to look at.")
    seen, rejects = check.inspect(
        source or job.inputs, settings, rows=rows, start=start, listener=show.Watcher(quiet=as_json)
    )
    if as_json:
        click.echo(printable_json(json.dumps(show.rows_as_json(seen), ensure_ascii=False)))
    else:
        show.show_rows(seen, ids=ids)
    for reject in rejects:
        told = f"row {reject.row + 1} would be left out: {reject.reason}: {reject.message}"
        click.echo(printable(told), err=True)


def _show_report(source: tuple[str, ...], report: Report, rows: int, start: int, *, as_json: bool) -> None:
    from lookahead_data.check.clusters import inspect_clusters
    from lookahead_data.cli.side_by_side import show_clusters

    if len(source) != 1:
        raise click.UsageError("name one folder, of a convert or curate command.")
    found = inspect_clusters(source[0], report, clusters=rows, start=start)
    if as_json:
        click.echo(printable_json(json.dumps(found.to_dicts(), ensure_ascii=False)))
    else:
        show_clusters(found, start)
    for problem in found.problems:
        click.echo(printable(problem), err=True)
