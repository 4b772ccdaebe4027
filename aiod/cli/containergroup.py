"""`aiod container`: the commands on containers by the names that docker's has for them.

Must not know what a command does.
"""

import click

from aiod.cli.lazy import Lazy

_COMMANDS = {
    "attach": "attach",
    "commit": "changes",
    "cp": "copying",
    "create": "run",
    "diff": "changes",
    "exec": "exec:execute",
    "export": "changes",
    "kill": "states",
    "logs": "logs",
    "ls": "ps:ps",
    "pause": "states",
    "port": "port",
    "prune": "containerprune",
    "rename": "states",
    "restart": "states",
    "rm": "states",
    "run": "run",
    "start": "attach",
    "stats": "stats",
    "stop": "states",
    "top": "ps",
    "unpause": "states",
    "update": "update",
    "wait": "states",
}


@click.command(cls=Lazy, table=_COMMANDS)
def container() -> None:
    """Manage containers; most of these are there without this word, too."""
