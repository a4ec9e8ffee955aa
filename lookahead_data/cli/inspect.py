"""`lookahead-data inspect`."""

from __future__ import annotations

import json
from typing import Any

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("source", nargs=-1, metavar="DIR|INPUT...")
@click.option("-n", "--rows", type=click.IntRange(1), default=3, show_default=True, help="How many rows.")
@click.option("--start", type=click.IntRange(0), default=0, show_default=True, help="From which row on.")
@click.option("--ids", is_flag=True, help="Show token ids and labels too.")
@o.options(o.TOKENIZER, o.PREVIEW, o.SOURCE, o.MODEL)
@o.config_option
@o.json_option
@o.told
def inspect(
    source: tuple[str, ...],
    rows: int,
    start: int,
    ids: bool,
    config: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show rows of a finished folder, or of raw input as it would become.

    Context, supervised text and preview have different colours, or marks where there are none.
    """
    from lookahead_data.check import inspect as check
    from lookahead_data.cli import show

    settings, job = o.settings_from(config, given)
    if not (source or job.inputs):
        raise click.UsageError("name a finished folder, or the INPUT to look at.")
    seen, rejects = check.inspect(source or job.inputs, settings, rows=rows, start=start)
    if as_json:
        click.echo(json.dumps(show.rows_as_json(seen), ensure_ascii=False))
    else:
        show.show_rows(seen, ids=ids)
    for reject in rejects:
        click.echo(f"row {reject.row} would be left out: {reject.reason}: {reject.message}", err=True)
