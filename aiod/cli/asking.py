"""Runs a command's coroutine against the engine that the user named.

Owns the loop, the client and the end by a signal. Must not know what commands do.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from aiod.cli import output
from aiod.cli.address import DEFAULT, Address, TlsFiles, parse
from aiod.cli.client import Client, Query
from aiod.cli.errors import CliError, HangupError
from aiod.cli.signals import Signals

_HANGUP = 129
_AT_ONCE = 50  # targets of one command that are asked for together


class Asking:
    """What a command's coroutine gets: the engine, and the process's signals."""

    def __init__(self, client: Client, signals: Signals) -> None:
        self.client = client
        self.signals = signals


def ask(work: Callable[[Asking], Awaitable[int | None]]) -> None:
    """Run `work` to its end and leave with the status it returns (None: 0)."""
    address = _address()
    status = asyncio.run(_run(address, work))
    sys.stdout.flush()
    if status:
        sys.exit(status)


def show(
    path: str, query: Query | None, show_it: Callable[[bytes], None], *, as_json: bool
) -> None:
    """Ask a question, and print the answer: as it is, or as `show_it` does."""

    async def work(asking: Asking) -> None:
        body = await asking.client.ask_raw(path, query)
        (output.raw_json if as_json else show_it)(body)

    ask(work)


def _address() -> Address:
    given = click.get_current_context().find_root().obj or {}
    files = [given.get(name) for name in ("tls_cert", "tls_key", "tls_ca")]
    if any(files) and not all(files):
        raise CliError("--tls-cert, --tls-key and --tls-ca go together")
    tls = TlsFiles(*(Path(file) for file in files if file)) if all(files) else None
    return parse(given.get("host") or DEFAULT, tls)


async def _run(address: Address, work: Callable[[Asking], Awaitable[int | None]]) -> int:
    async def body() -> int:
        return await work(Asking(Client(address), signals)) or 0

    task = asyncio.create_task(body())
    signals = Signals(task)
    try:
        return await task
    except asyncio.CancelledError:
        if signals.status is None:
            raise
        return signals.status
    except HangupError:
        return _HANGUP
    finally:
        signals.close()


async def each(names: tuple[str, ...], work: Callable[[str], Awaitable[str | None]]) -> int:
    """Do `work` for each name, many at a time; print what it returns in the names' order.

    One that fails is told of and hinders no other; returns the command's status.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> str | CliError | None:
        async with gate:
            try:
                return await work(name)
            except CliError as error:
                return error

    status = 0
    tasks = [asyncio.create_task(one(name)) for name in names]
    try:
        for task in tasks:
            result = await task
            if isinstance(result, CliError):
                output.complain(result.message)
                status = 1
            elif result is not None:
                output.line(result)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return status
