"""Names for the shell to complete: asked of the engine, and none at all when it does not answer.

Must not know which command they are for; a completion never fails and never waits long.
"""

import asyncio
import os
from collections.abc import Iterable
from typing import TypeVar

import click
import msgspec

from aiod.cli.address import DEFAULT, parse
from aiod.cli.errors import CliError

T = TypeVar("T")

_SECONDS = 2.0
_MODES = ("bridge", "host", "none", "container:")


class _Named(msgspec.Struct, frozen=True):
    Name: str


class _Container(msgspec.Struct, frozen=True):
    Names: tuple[str, ...] = ()


class _Volumes(msgspec.Struct, frozen=True):
    Volumes: list[_Named] | None = None


def networks(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks."""
    return _beginning(incomplete, _networks(ctx))


def containers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of containers, running or not."""
    return _beginning(incomplete, _containers(ctx))


def network_modes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """What `--network` takes: modes, networks and `container:NAME`."""
    prefix, separator, _ = incomplete.partition("container:")
    if separator and not prefix:
        return _beginning(incomplete, [f"container:{name}" for name in _containers(ctx)])
    return _beginning(incomplete, [*_MODES, *_networks(ctx)])


def volumes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of volumes."""
    found = _asked(ctx, "/volumes", _Volumes, _Volumes())
    return _beginning(incomplete, [one.Name for one in found.Volumes or ()])


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(start)})


def _networks(ctx: click.Context) -> list[str]:
    return [network.Name for network in _asked(ctx, "/networks", list[_Named], [])]


def _containers(ctx: click.Context) -> list[str]:
    found = _asked(ctx, "/containers/json?all=1", list[_Container], [])
    return [name.removeprefix("/") for one in found for name in one.Names]


def _asked(ctx: click.Context, path: str, kind: type[T], otherwise: T) -> T:
    from aiod.cli.client import Client

    given = ctx.find_root().params.get("host") or os.environ.get("AIOD_HOST") or DEFAULT

    async def ask() -> T:
        async with asyncio.timeout(_SECONDS):
            return await Client(parse(given, None)).ask(path, kind)

    try:
        return asyncio.run(ask())
    except (CliError, OSError, TimeoutError):
        return otherwise
