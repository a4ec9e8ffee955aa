"""`lookahead-data demo`."""

from __future__ import annotations

import click

from lookahead_data.cli import options as o


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("-n", "--rows", type=click.IntRange(1), default=2, show_default=True, help="Rows to show.")
@o.overwrite_option
@o.quiet_option
@o.told
def demo(folder: str, rows: int, overwrite: bool, quiet: bool) -> None:
    """Do the whole thing on a small corpus and tokenizer that ship with the package.

    Writes DIR/corpus.jsonl and converts it to DIR/train. Needs no network.
    """
    from pathlib import Path

    from lookahead_data import api
    from lookahead_data.check import inspect as check
    from lookahead_data.cli import show
    from lookahead_data.demo import write_corpus

    corpus = write_corpus(Path(folder))
    train = Path(folder, "train")
    with show.Watcher(quiet=quiet) as watcher:
        manifest = api.convert(corpus, train, tokenizer="builtin", overwrite=overwrite, listener=watcher)
    show.show_manifest(manifest)
    click.echo()
    show.show_rows(check.inspect(train, rows=rows)[0])
    click.echo(
        f"\nTry next:\n"
        f"  lookahead-data inspect {train} -n 5 --ids\n"
        f"  lookahead-data inspect {corpus} --tokenizer builtin --mode virtual\n"
        f"  lookahead-data convert YOUR.jsonl -o OUT --tokenizer YOUR/MODEL\n"
        f"In Python: datasets.load_dataset({str(train)!r})"
    )
