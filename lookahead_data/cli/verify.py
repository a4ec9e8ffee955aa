"""`lookahead-data verify`."""

from __future__ import annotations

import json
import sys

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--deep",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Convert so many rows again from the inputs too, and compare.",
)
@click.option("-t", "--tokenizer", metavar="T", help="Where the tokenizer is, if it was moved since.")
@click.option(
    "--trust-code",
    is_flag=True,
    help="Let --deep import the safety function that the folder names.",
)
@click.option(
    "--digest",
    metavar="SHA256",
    help="The SHA-256 that manifest.json must have, as convert printed it; it covers every file of the folder.",
)
@o.quiet_option
@o.json_option
@o.told
def verify(
    folder: str,
    deep: int,
    tokenizer: str | None,
    trust_code: bool,
    digest: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read back all of a finished folder and hold it against its manifest.

    The exit status is 0 if all is right, and 1 if anything is wrong; the first bad row is named.
    """
    from lookahead_data.check import verify as check
    from lookahead_data.cli import show

    with show.Watcher(quiet=quiet, doing="verifying") as watcher:
        found = check.verify(
            folder,
            deep=deep,
            tokenizer=tokenizer,
            trust_code=trust_code,
            digest=digest,
            listener=watcher,
        )
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    elif not (quiet and found.ok):
        show.show_verification(found)
    if not found.ok:
        sys.exit(1)
