"""`aiod network`: the commands on networks. Must not know what a command does."""

import click

from aiod.cli.lazy import Lazy

_COMMANDS = {
    "connect": "networkjoin",
    "create": "networkcreate",
    "disconnect": "networkjoin",
    "inspect": "networks",
    "ls": "networks",
    "prune": "networks",
    "rm": "networks",
}


@click.command(cls=Lazy, table=_COMMANDS)
def network() -> None:
    """Manage networks."""
