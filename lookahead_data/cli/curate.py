"""`lookahead-data curate`."""

from __future__ import annotations

import json
from typing import Any

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="DIR", help="The folder to write.")
@o.options(o.SAFETY, o.CURATION, o.TOKENIZER, o.SOURCE)
@o.config_option
@o.overwrite_option
@o.quiet_option
@o.json_option
@o.told
def curate(
    inputs: tuple[str, ...],
    output: str | None,
    config: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Tell which rows of a corpus convert would leave out, and why; nothing is converted.

    Writes verdicts.parquet (file, row, reason, message), a table for each of duplicates, near duplicates and
    contamination, and summary.json. The options are those of convert, which does the same by itself.
    """
    from lookahead_data import api
    from lookahead_data.cli import show

    settings, job = o.settings_from(config, given)
    folder = output or job.output
    if not folder or not (inputs or job.inputs):
        raise click.UsageError("name the INPUT to look at and the folder to write (-o DIR).")
    with show.Watcher(quiet=quiet) as watcher:
        report = api.curate(inputs or job.inputs, folder, settings, overwrite=overwrite, listener=watcher)
    if as_json:
        click.echo(json.dumps({"output": str(folder), **report.to_dict()}, ensure_ascii=False))
    elif not quiet:
        show.show_curation(report, str(folder))
