"""`lookahead-data convert`."""

from __future__ import annotations

import json
from typing import Any

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="DIR", help="The folder to write.")
@o.options(o.TOKENIZER, o.PREVIEW, o.SOURCE, o.SAFETY, o.CURATION, o.ARRANGEMENT, o.MODEL, o.RESULT)
@click.option("--workers", type=click.IntRange(1), help="Processes that convert.  [default: one a core]")
@click.option("--strict", is_flag=True, help="Stop at the first row at fault; none goes to quarantine.")
@click.option(
    "--max-quarantine",
    metavar="N|P%",
    help="End with status 3 if more rows, or a larger share of them, are in quarantine.",
)
@o.config_option
@o.overwrite_option
@o.quiet_option
@o.json_option
@o.told
def convert(
    inputs: tuple[str, ...],
    output: str | None,
    config: str | None,
    workers: int | None,
    strict: bool,
    max_quarantine: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Convert a corpus to training-ready Parquet: previews put in, tokenized, labelled.

    INPUT is any number of files, folders and glob patterns: JSON Lines, a JSON array, CSV, TSV (these
    also as .gz or .zst), Parquet, Arrow.
    """
    from lookahead_data import api
    from lookahead_data.cli import show

    settings, job = o.settings_from(config, given)
    folder = output or job.output
    if not folder or not (inputs or job.inputs):
        raise click.UsageError("name the INPUT to convert and the folder to write (-o DIR).")
    with show.Watcher(quiet=quiet) as watcher:
        manifest = api.convert(
            inputs or job.inputs,
            folder,
            settings,
            overwrite=overwrite,
            workers=workers,
            strict=strict,
            max_quarantine=max_quarantine,
            listener=watcher,
        )
    if as_json:
        click.echo(
            json.dumps(
                {"output": str(folder), "digest": manifest.digest, **manifest.totals}, ensure_ascii=False
            )
        )
    elif not quiet:
        show.show_manifest(manifest)
