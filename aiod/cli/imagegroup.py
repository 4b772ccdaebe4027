"""`aiod image`: the commands on images by the names that docker's has for them.

Must not know what a command does.
"""

import click

from aiod.cli.lazy import Lazy

_COMMANDS = {
    "build": "build",
    "history": "history",
    "import": "archives:import_",
    "load": "archives",
    "ls": "images:images",
    "prune": "imageprune",
    "pull": "pull",
    "push": "pull",
    "rm": "images:rmi",
    "save": "save",
    "tag": "history",
    "verify": "verify",
}


@click.command(cls=Lazy, table=_COMMANDS)
def image() -> None:
    """Manage images; most of these are there without this word, too."""
