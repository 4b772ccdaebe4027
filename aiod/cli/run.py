"""`aiod run` and `aiod create`.

Owns the order: create, join the streams, register the wait, start, talk, report the code.
Must not know what options mean (see `createoptions`).
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import click

from aiod.cli import asking, output, views
from aiod.cli.asking import Asking
from aiod.cli.client import container, decoded
from aiod.cli.createoptions import Wanted, create_options, wanted
from aiod.cli.errors import CliError, EngineError
from aiod.cli.http import Response
from aiod.cli.keys import DetachKeys, detach_keys
from aiod.cli.session import Manner, converse, signals_forwarded

_NOT_FOUND, _NOT_EXECUTABLE, _ENGINE = 127, 126, 125
_ARGUMENTS: dict[str, Any] = {"allow_interspersed_args": False}


@dataclass(frozen=True, slots=True)
class _Way:
    """How a run goes on once the container is there."""

    keys: DetachKeys
    sig_proxy: bool


@click.command(context_settings=_ARGUMENTS)
@click.option("-d", "--detach", is_flag=True, help="Do not wait for it; print its id.")
@click.option("--json", "as_json", is_flag=True, help="With -d: id and warnings as JSON.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.  [on]")
@detach_keys
@create_options
def run(detach: bool, as_json: bool, sig_proxy: bool, keys: DetachKeys, **options: Any) -> None:
    """Run a command in a new container.

    No image means the built-in `base`; no command then means a shell.
    """
    if as_json and not detach:
        raise click.UsageError("--json needs -d: without it the output is the container's")
    plan = wanted(options, attached=not detach)
    if detach:
        asking.ask(lambda ask: _engine_errors(_detached(ask, plan, as_json)))
        return
    way = _Way(keys, sig_proxy)
    manner = Manner(plan.body.OpenStdin, plan.body.Tty, keys.sequence)
    manner.check()
    asking.ask(lambda ask: _engine_errors(_attached(ask, plan, manner, way)))


@click.command(context_settings=_ARGUMENTS)
@click.option("--json", "as_json", is_flag=True, help="Id and warnings as JSON.")
@create_options
def create(as_json: bool, **options: Any) -> None:
    """Make a container without starting it; print its id."""
    plan = wanted(options, attached=True)

    async def work(ask: Asking) -> int:
        _announce(await _create(ask, plan, quiet=as_json), as_json)
        return 0

    asking.ask(work)


async def _engine_errors(work: Any) -> int:
    """What is not the container's own end has the status 125."""
    try:
        status: int = await work
    except CliError as error:
        raise CliError(error.message, _ENGINE if error.status == 1 else error.status) from None
    return status


async def _create(ask: Asking, plan: Wanted, *, quiet: bool = False) -> views.Created:
    answer = await ask.client.send("POST", "/containers/create", plan.query, plan.body)
    created = decoded(answer, views.Created)
    for warning in () if quiet else created.Warnings or ():
        output.warn(warning)
    return created


def _announce(created: views.Created, as_json: bool) -> None:
    if as_json:
        output.json({"Id": created.Id, "Warnings": created.Warnings or ()})
    else:
        output.line(created.Id)


async def _detached(ask: Asking, plan: Wanted, as_json: bool) -> int:
    created = await _create(ask, plan, quiet=as_json)
    await _start(ask, created.Id, plan)
    _announce(created, as_json)
    return 0


async def _start(ask: Asking, container_id: str, plan: Wanted) -> None:
    """Start it; one that will never have run is not left behind if it was to be removed."""
    try:
        await ask.client.send("POST", container(container_id, "start"))
    except BaseException as error:
        if plan.body.HostConfig.AutoRemove:
            with contextlib.suppress(CliError):
                await ask.client.send("DELETE", container(container_id), {"force": "1", "v": "1"})
        if isinstance(error, EngineError):
            raise CliError(error.message, start_status(error.message)) from None
        raise


def start_status(message: str) -> int:
    """127 for a command that is not there, 126 for one that cannot be executed, else 125."""
    words = message.lower()
    if "executable file not found" in words or "no such file or directory" in words:
        return _NOT_FOUND
    if "permission denied" in words or "is a directory" in words or "exec format error" in words:
        return _NOT_EXECUTABLE
    return _ENGINE


async def _attached(ask: Asking, plan: Wanted, manner: Manner, way: _Way) -> int:
    created = await _create(ask, plan)
    # The wait is registered, and the streams are joined, before anything can happen.
    condition = "removed" if plan.body.HostConfig.AutoRemove else "next-exit"
    query = attach_query(manner.stdin) | way.keys.query
    async with contextlib.AsyncExitStack() as stack:
        client = ask.client
        stream = await stack.enter_async_context(
            client.hijack(container(created.Id, "attach"), query)
        )
        waiting = await stack.enter_async_context(
            client.stream("POST", container(created.Id, "wait"), {"condition": condition})
        )
        await _start(ask, created.Id, plan)
        if way.sig_proxy:
            await stack.enter_async_context(signals_forwarded(ask, created.Id))
        if await converse(ask, stream, manner, container(created.Id, "resize")):
            return 0
        return await exit_code(waiting)


def attach_query(stdin: bool) -> dict[str, str]:
    """The parameters of an attach to all that there is."""
    query = {"stream": "1", "stdout": "1", "stderr": "1"}
    return query | ({"stdin": "1"} if stdin else {})


async def exit_code(waiting: Response) -> int:
    """The code that a wait's answer brings; CliError with its reason if it brings none."""
    waited = decoded(await waiting.read(), views.Waited)
    if waited.Error is not None and waited.Error.Message:
        raise CliError(waited.Error.Message, _ENGINE)
    return waited.StatusCode
