"""The command line: one short module a command, over the same functions that Python users call.

Only click and the settings are imported here, so that `--help` answers at once; a command imports
what it needs when it runs.
"""

from __future__ import annotations

import click

from lookahead_data._version import __version__
from lookahead_data.cli.check import check
from lookahead_data.cli.convert import convert
from lookahead_data.cli.curate import curate
from lookahead_data.cli.demo import demo
from lookahead_data.cli.inspect import inspect
from lookahead_data.cli.preview import preview
from lookahead_data.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lookahead-data")
def main() -> None:
    """Prepare fine-tuning data that keeps a model safe.

    LookAhead Tuning (arXiv 2503.19041) lets each prompt preview the first tokens of its answer, so
    that training barely moves the model's own first tokens, where its safety lives. Start with
    `lookahead-data demo DIR`.
    """


for _command in (convert, preview, curate, inspect, verify, check, demo):
    main.add_command(_command)
