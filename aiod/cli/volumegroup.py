"""`aiod volume`: the commands on volumes. Must not know what a command does."""

import click

from aiod.cli.lazy import Lazy

_COMMANDS = {
    "create": "volumes",
    "inspect": "volumes",
    "ls": "volumes",
    "prune": "volumes",
    "rm": "volumes",
}


@click.command(cls=Lazy, table=_COMMANDS)
def volume() -> None:
    """Manage volumes."""
