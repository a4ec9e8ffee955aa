"""`lookahead-data check`."""

from __future__ import annotations

import json
import sys

import click

from lookahead_data.cli import options as o
from lookahead_data.trainers import NAMES


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--for", "trainer", type=click.Choice(NAMES), required=True, help="What will train on it.")
@click.option("-t", "--tokenizer", metavar="T", help="Where the tokenizer is, if it was moved since.")
@o.quiet_option
@o.json_option
@o.told
def check(folder: str, trainer: str, tokenizer: str | None, quiet: bool, as_json: bool) -> None:
    """Check whether a trainer can train on a finished folder, and print the settings for it.

    The settings are a file of that trainer: YAML for axolotl and llama-factory, Python for the others.
    Where the folder does not fit, the command that makes one that does is printed instead, and the exit
    status is 1.
    """
    from lookahead_data.cli import show
    from lookahead_data.trainers.check import check_for

    with show.Watcher(quiet=quiet, doing="checking") as watcher:
        found = check_for(folder, trainer, tokenizer=tokenizer, listener=watcher)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        show.show_check(found)
    if not found.ok:
        sys.exit(1)
