"""`aiod system`: the engine as a whole. Must not know what a command does."""

import click

from aiod.cli.lazy import Lazy

_COMMANDS = {
    "df": "usage",
    "events": "events",
    "info": "system",
}


@click.command(cls=Lazy, table=_COMMANDS)
def system() -> None:
    """Look at the engine as a whole."""
