"""`aiod completion`: what makes a shell complete the command. Must not know the commands."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from aiod.cli import output

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; `source` it."""
    output.line(_SHELLS[shell](ctx.find_root().command, {}, "aiod", "_AIOD_COMPLETE").source())
