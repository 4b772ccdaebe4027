"""`aiod attach` and `aiod start`: joining the streams of a container that is there.

Must not know how a container is made.
"""

import contextlib

import click

from aiod.cli import asking, completing, views
from aiod.cli.asking import Asking
from aiod.cli.client import container
from aiod.cli.errors import CliError
from aiod.cli.keys import DetachKeys, detach_keys
from aiod.cli.run import attach_query, exit_code
from aiod.cli.session import Manner, converse, signals_forwarded

_PROXY = click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.  [on]")


@click.command()
@click.option("--no-stdin", is_flag=True, help="Pass no input on.")
@_PROXY
@detach_keys
@click.argument("name", metavar="CONTAINER", shell_complete=completing.running)
def attach(name: str, no_stdin: bool, sig_proxy: bool, keys: DetachKeys) -> None:
    """Join the streams of a running container."""

    async def work(ask: Asking) -> int:
        found = await ask.client.ask(container(name, "json"), views.Container)
        _check_running(found.State)
        stdin = found.Config.OpenStdin and not no_stdin
        manner = Manner(stdin, found.Config.Tty, keys.sequence)
        return await _join(ask, found, manner, keys, sig_proxy, "not-running", start=False)

    asking.ask(work)


@click.command()
@click.option("-a", "--attach", "attached", is_flag=True, help="Join its output; pass signals on.")
@click.option("-i", "--interactive", is_flag=True, help="Join its input too.")
@detach_keys
@click.argument(
    "names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=completing.resting
)
def start(names: tuple[str, ...], attached: bool, interactive: bool, keys: DetachKeys) -> None:
    """Start containers that exist."""

    async def one(ask: Asking, name: str) -> str:
        await ask.client.send("POST", container(name, "start"))
        return name

    async def joined(ask: Asking) -> int:
        found = await ask.client.ask(container(names[0], "json"), views.Container)
        stdin = interactive and found.Config.OpenStdin
        manner = Manner(stdin, found.Config.Tty, keys.sequence)
        return await _join(ask, found, manner, keys, attached, "next-exit", start=True)

    if not (attached or interactive):
        asking.ask(lambda ask: asking.each(names, lambda name: one(ask, name)))
        return
    if len(names) > 1:
        raise click.UsageError("only one container can be joined at a time")
    asking.ask(joined)


def _check_running(state: views.RunState) -> None:
    if state.Paused:
        raise CliError("cannot attach to a paused container: unpause it first")
    if not state.Running:
        raise CliError("cannot attach to a stopped container: start it first")
    if state.Restarting:
        raise CliError("cannot attach to a restarting container: wait until it runs")


async def _join(
    ask: Asking,
    found: views.Container,
    manner: Manner,
    keys: DetachKeys,
    sig_proxy: bool,
    condition: str,
    *,
    start: bool,
) -> int:
    manner.check()
    client, identity = ask.client, found.Id
    async with contextlib.AsyncExitStack() as stack:
        stream = await stack.enter_async_context(
            client.hijack(container(identity, "attach"), attach_query(manner.stdin) | keys.query)
        )
        waiting = await stack.enter_async_context(
            client.stream("POST", container(identity, "wait"), {"condition": condition})
        )
        if start:
            await client.send("POST", container(identity, "start"))
        if sig_proxy and not manner.tty:
            await stack.enter_async_context(signals_forwarded(ask, identity))
        if await converse(ask, stream, manner, container(identity, "resize")):
            return 0
        return await exit_code(waiting)
