"""Commands that change containers by name: stop, restart, kill, rm, pause, rename and so on.

Each prints the names it did; one that fails hinders no other. Must not know more than routes.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from aiod.cli import asking, completing, views
from aiod.cli.asking import Asking
from aiod.cli.client import Client, Query, container, decoded
from aiod.cli.errors import CliError
from aiod.cli.removal import remove

F = TypeVar("F", bound=Callable[..., Any])


def _names(complete: completing.Complete) -> Callable[[F], F]:
    return click.argument(
        "names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete
    )


def _each(names: tuple[str, ...], work: Callable[[Client, str], Awaitable[str | None]]) -> None:
    async def all_of_them(ask: Asking) -> int:
        return await asking.each(names, lambda name: work(ask.client, name))

    asking.ask(all_of_them)


def _post(names: tuple[str, ...], verb: str, query: Query | None = None) -> None:
    async def one(client: Client, name: str) -> str:
        await client.send("POST", container(name, verb), query)
        return name

    _each(names, one)


def _ending(timeout: int | None, signal: str | None) -> dict[str, str]:
    query = {} if timeout is None else {"t": str(timeout)}
    return query | ({"signal": signal} if signal else {})


_TIMEOUT = click.option("-t", "--time", "--timeout", "timeout", type=int, metavar="SECONDS",
                        help="Until it is killed; -1 waits for ever.")  # fmt: skip
_SIGNAL = click.option("-s", "--signal", help="What to send first.")


@click.command()
@_TIMEOUT
@_SIGNAL
@_names(completing.alive)
def stop(names: tuple[str, ...], timeout: int | None, signal: str | None) -> None:
    """Ask containers to end, and kill those that do not."""
    _post(names, "stop", _ending(timeout, signal))


@click.command()
@_TIMEOUT
@_SIGNAL
@_names(completing.containers)
def restart(names: tuple[str, ...], timeout: int | None, signal: str | None) -> None:
    """Stop containers and start them again."""
    _post(names, "restart", _ending(timeout, signal))


@click.command()
@click.option("-s", "--signal", default="KILL", help="Name or number.  [KILL]")
@_names(completing.alive)
def kill(names: tuple[str, ...], signal: str) -> None:
    """Send a signal to containers."""
    _post(names, "kill", {"signal": signal})


@click.command()
@_names(completing.running)
def pause(names: tuple[str, ...]) -> None:
    """Freeze every process of containers."""
    _post(names, "pause")


@click.command()
@_names(completing.paused)
def unpause(names: tuple[str, ...]) -> None:
    """Let paused containers go on."""
    _post(names, "unpause")


@click.command()
@click.option("-f", "--force", is_flag=True, help="Kill it if it runs.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its unnamed volumes too.")
@_names(completing.containers)
def rm(names: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove containers."""
    query = ({"force": "1"} if force else {}) | ({"v": "1"} if volumes else {})
    remove(names, container, query, force=force)


@click.command()
@click.argument("name", metavar="CONTAINER", shell_complete=completing.containers)
@click.argument("new")
def rename(name: str, new: str) -> None:
    """Give a container another name."""

    async def work(ask: Asking) -> None:
        await ask.client.send("POST", container(name, "rename"), {"name": new})

    asking.ask(work)


@click.command()
@_names(completing.containers)
def wait(names: tuple[str, ...]) -> None:
    """Wait until containers end; print their exit codes."""

    async def one(client: Client, name: str) -> str:
        waited = decoded(await client.send("POST", container(name, "wait")), views.Waited)
        if waited.Error is not None and waited.Error.Message:
            raise CliError(waited.Error.Message)
        return str(waited.StatusCode)

    _each(names, one)
