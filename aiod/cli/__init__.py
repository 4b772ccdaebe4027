"""The `aiod` command: each subcommand is a module of this package, imported when it is asked for.

Owns the list of subcommands; must not know what one does.
"""

import importlib

import click

_COMMANDS = ("doctor", "serve")


class _Lazy(click.Group):
    """Imports a subcommand's module only when it is used: `serve` needs no client, and so on."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"aiod.cli.{cmd_name}")
        found = getattr(module, cmd_name)
        return found if isinstance(found, click.Command) else None


@click.command(cls=_Lazy)
@click.version_option(package_name="aiod")
def main() -> None:
    """A Docker-compatible container engine on asyncio."""
