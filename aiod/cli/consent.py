"""Asking before something is taken away for good. Must not know what that is."""

import click

from aiod.cli import terminal
from aiod.cli.errors import CliError


def agreed(warning: str) -> bool:
    """Whether the user, told of it, wants to go on; CliError without a terminal to ask on."""
    if not terminal.is_terminal(terminal.STDIN):
        raise CliError("there is no terminal to ask on: use --force")
    return click.confirm(f"{warning} Go on?", err=True)
