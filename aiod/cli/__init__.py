"""The `aiod` command: each subcommand is in a module of this package.

Owns the list of subcommands and how any of them ends: its status, and one line on standard
error for a failure. Must not know what a subcommand does.
"""

import sys
from collections.abc import Callable
from typing import Any

import click

from aiod.cli.errors import CliError, OutputGoneError
from aiod.cli.lazy import Lazy

# Each command's module, and its name there if that is another.
_COMMANDS = {
    "attach": "attach",
    "build": "build",
    "commit": "changes",
    "completion": "completion",
    "container": "containergroup",
    "cp": "copying",
    "create": "run",
    "diff": "changes",
    "doctor": "doctor",
    "events": "events",
    "exec": "exec:execute",
    "export": "changes",
    "history": "history",
    "image": "imagegroup:image",
    "images": "images",
    "import": "archives:import_",
    "info": "system",
    "inspect": "inspect",
    "kill": "states",
    "load": "archives",
    "login": "login",
    "logout": "login",
    "logs": "logs",
    "network": "networkgroup",
    "pause": "states",
    "port": "port",
    "ps": "ps",
    "pull": "pull",
    "push": "pull",
    "rename": "states",
    "restart": "states",
    "rm": "states",
    "rmi": "images",
    "run": "run",
    "runtime": "runtime",
    "save": "save",
    "search": "search",
    "serve": "serve",
    "start": "attach",
    "stats": "stats",
    "stop": "states",
    "system": "systemgroup",
    "tag": "history",
    "top": "ps",
    "unpause": "states",
    "update": "update",
    "version": "system",
    "volume": "volumegroup",
    "wait": "states",
}
# Words after `images` that are no name to list.
_OF_IMAGES = frozenset({"prune", "verify"})
_HOST = "The engine: unix:///PATH or tcp://HOST:PORT.  [unix:///run/aiod/aiod.sock]"
_USAGE = 125  # as docker's command leaves with for options it does not know


class _Aiod(Lazy):
    """The command itself: how it finds subcommands, and how any of them ends."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`images prune` is `image prune`; any other word after `images` is a name to list."""
        if args[0] == "images" and len(args) > 1 and args[1] in _OF_IMAGES:
            args = ["image", *args[1:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a broken pipe gets a type of its own, as click has its own ideas about those."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise OutputGoneError from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, say what failed on one line, and leave with the right status."""
        sys.exit(_ended(lambda: self.main(prog_name="aiod", standalone_mode=False)))


def _ended(run: Callable[[], object]) -> int:
    from aiod.cli import output, terminal

    try:
        status = run()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        output.complain(error.format_message() + hint)
        return _USAGE
    except click.ClickException as error:
        output.complain(error.format_message())
        return error.exit_code
    except CliError as error:
        output.complain(error.message)
        return error.status
    except OutputGoneError:
        terminal.discard_output()
        return 141
    except (KeyboardInterrupt, click.Abort):
        return 130
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1


@click.command(cls=_Aiod, table=_COMMANDS)
@click.option("--host", "-H", envvar="AIOD_HOST", metavar="ADDRESS", help=_HOST)
@click.option("--tls-cert", metavar="FILE", help="The client's certificate, for tcp://.")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@click.option("--tls-ca", metavar="FILE", help="Who signs the server's certificate.")
@click.version_option(package_name="aiod")
@click.pass_context
def main(ctx: click.Context, /, **connection: str | None) -> None:
    """A Docker-compatible container engine on asyncio."""
    ctx.obj = connection
