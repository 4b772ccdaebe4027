"""Groups of commands whose modules are imported when asked for. Must not know the commands."""

import importlib
from typing import Any

import click


class Lazy(click.Group):
    """Imports a subcommand's module only when it is used: `ps` needs no daemon, and so on."""

    def __init__(self, *args: Any, table: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in order."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of the table, from its module."""
        if cmd_name not in self._table:
            return None
        where, _, name = self._table[cmd_name].partition(":")
        module = importlib.import_module(f"aiod.cli.{where}".rstrip("."))
        found = getattr(module, name or cmd_name)
        return found if isinstance(found, click.Command) else None
