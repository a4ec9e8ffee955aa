"""`lookahead-data preview`."""

from __future__ import annotations

import json
from typing import Any

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE", help="The file to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(("jsonl", "json", "parquet")),
    help="What to write; by the file's ending if not given.",
)
@o.options(o.TOKENIZER, o.PREVIEW, o.SAFETY, o.SOURCE)
@o.config_option
@o.overwrite_option
@o.quiet_option
@o.json_option
@o.told
def preview(
    inputs: tuple[str, ...],
    output: str | None,
    kind: str | None,
    config: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Put the previews into a corpus and change nothing else, for trainers that tokenize.

    All other fields stay as they are and in order. Virtual mode needs no tokenizer.
    """
    from lookahead_data import api
    from lookahead_data.cli import show

    settings, job = o.settings_from(config, given)
    path = output or job.output
    if not path or not (inputs or job.inputs):
        raise click.UsageError("name the INPUT to change and the file to write (-o FILE).")
    with show.Watcher(quiet=quiet) as watcher:
        done = api.preview(
            inputs or job.inputs, path, settings, format=kind, overwrite=overwrite, listener=watcher
        )
    if as_json:
        click.echo(json.dumps({"output": str(path), **done.report.to_dict()}, ensure_ascii=False))
    elif not quiet:
        show.show_report(done.report, str(path))
