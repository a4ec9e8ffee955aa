"""`python -m lookahead_data` is the command `lookahead-data`."""

from __future__ import annotations

from lookahead_data import lean
from lookahead_data.cli import main
from lookahead_data.cli.options import OWN_PROCESS


def run() -> None:
    """The command, in a process of its own."""
    lean.start()
    main(obj=OWN_PROCESS)


if __name__ == "__main__":
    run()
