"""`aiod exec`: a further process in a running container.

Must not know how it gets there.
"""

import os
from pathlib import Path

import click
import msgspec

from aiod.cli import asking, completing, terminal, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import container, decoded
from aiod.cli.errors import CliError
from aiod.cli.keys import DetachKeys, detach_keys
from aiod.cli.session import Manner, converse
from aiod.store.models import ExecConfig


class ExecStart(msgspec.Struct, frozen=True):
    """The body of `POST /exec/{id}/start`."""

    Detach: bool
    Tty: bool
    ConsoleSize: tuple[int, int] | None = None


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Do not wait for it.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]",
              help="A variable; a mere name passes yours on (repeatable).")  # fmt: skip
@click.option("--env-file", multiple=True, type=click.Path(path_type=Path),
              help="File of variables (repeatable).")  # fmt: skip
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Whom to run as.")
@click.option("-w", "--workdir", default="", help="Directory to start in.")
@click.option("--privileged", is_flag=True, help="With all capabilities.")
@detach_keys
@click.argument("name", metavar="CONTAINER", shell_complete=completing.running)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(
    name: str, command: tuple[str, ...], detach: bool, interactive: bool,
    tty: bool, env: tuple[str, ...], env_file: tuple[Path, ...], user: str, workdir: str,
    privileged: bool, keys: DetachKeys,
) -> None:  # fmt: skip
    """Run a command in a running container."""
    size = terminal.window_size() if tty else None
    config = ExecConfig(
        AttachStdin=interactive and not detach,
        AttachStdout=not detach,
        AttachStderr=not detach,
        ConsoleSize=[size.rows, size.columns] if size else None,
        DetachKeys=keys.text,
        Tty=tty,
        Env=values.environment(env_file, env, os.environ) or None,
        Cmd=list(command),
        Privileged=privileged,
        User=user,
        WorkingDir=workdir,
    )
    manner = Manner(config.AttachStdin, tty, keys.sequence)
    manner.check()
    asking.ask(lambda ask: _execute(ask, name, config, manner, detach))


async def _execute(ask: Asking, name: str, config: ExecConfig, manner: Manner, detach: bool) -> int:
    created = await ask.client.send("POST", container(name, "exec"), None, config)
    path = f"/exec/{decoded(created, views.ExecCreated).Id}"
    size = config.ConsoleSize
    body = ExecStart(detach, config.Tty, (size[0], size[1]) if size else None)
    if detach:
        await ask.client.send("POST", f"{path}/start", None, body)
        return 0
    async with ask.client.hijack(f"{path}/start", None, body) as stream:
        if await converse(ask, stream, manner, f"{path}/resize"):
            return 0
    state = await ask.client.ask(f"{path}/json", views.ExecState)
    if state.Running or state.ExitCode is None:
        raise CliError("the connection to the process was lost; it goes on running")
    return state.ExitCode
