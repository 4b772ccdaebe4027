"""Names for the shell to complete: asked of the engine, and none at all when it does not answer.

Must not know which command they are for; a completion never fails and never waits long.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TypeVar
from urllib.parse import quote

import click
import msgspec
from click.shell_completion import CompletionItem

from aiod.cli.address import DEFAULT, parse
from aiod.cli.errors import CliError

T = TypeVar("T")

_SECONDS = 2.0
_MODES = ("bridge", "host", "none")


class _Named(msgspec.Struct, frozen=True):
    Name: str


class _Container(msgspec.Struct, frozen=True):
    Names: tuple[str, ...] = ()


class _Image(msgspec.Struct, frozen=True):
    RepoTags: tuple[str, ...] | None = None


class _Volumes(msgspec.Struct, frozen=True):
    Volumes: list[_Named] | None = None


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def naming(find: "Names") -> Complete:
    """What completes the names that `find` gives."""

    def complete(
        ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _beginning(incomplete, find(ctx))

    return complete


def _networks(ctx: click.Context) -> list[str]:
    return [network.Name for network in _asked(ctx, "/networks", list[_Named], [])]


def _containers(ctx: click.Context, *statuses: str) -> list[str]:
    query = "?all=1"
    if statuses:
        query += "&filters=" + quote(msgspec.json.encode({"status": statuses}))
    found = _asked(ctx, f"/containers/json{query}", list[_Container], [])
    return [name.removeprefix("/") for one in found for name in one.Names]


def _images(ctx: click.Context) -> list[str]:
    """`base` for `base:latest`, too."""
    found = _asked(ctx, "/images/json", list[_Image], [])
    tags = [tag for one in found for tag in one.RepoTags or () if not tag.startswith("<none>")]
    return [*tags, *(tag.removesuffix(":latest") for tag in tags)]


def _volumes(ctx: click.Context) -> list[str]:
    found = _asked(ctx, "/volumes", _Volumes, _Volumes())
    return [one.Name for one in found.Volumes or ()]


def _everything(ctx: click.Context) -> list[str]:
    return [*_containers(ctx), *_images(ctx), *_networks(ctx), *_volumes(ctx)]


def _joining(ctx: click.Context) -> list[str]:
    return [f"container:{name}" for name in _containers(ctx, "running")]


Names = Callable[[click.Context], Iterable[str]]
containers = naming(_containers)
running = naming(lambda ctx: _containers(ctx, "running"))
alive = naming(lambda ctx: _containers(ctx, "running", "paused", "restarting"))
paused = naming(lambda ctx: _containers(ctx, "paused"))
resting = naming(lambda ctx: _containers(ctx, "created", "exited"))
images = naming(_images)
networks = naming(_networks)
volumes = naming(_volumes)
everything = naming(_everything)
network_modes = naming(lambda ctx: [*_MODES, *_networks(ctx), *_joining(ctx)])
namespace_modes = naming(lambda ctx: ["host", *_joining(ctx)])


def files(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`CONTAINER:`, and files of this machine."""
    return _with_files(incomplete, [f"{name}:" for name in _containers(ctx)])


def mounts(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`VOLUME:`, and files of this machine."""
    return _with_files(incomplete, [f"{name}:" for name in _volumes(ctx)])


def local_files(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files of this machine."""
    return [CompletionItem(incomplete, type="file")]


def directories(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Directories of this machine."""
    return [CompletionItem(incomplete, type="dir")]


def _with_files(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    # The shell's own come first: bash takes them for a word that nothing else begins.
    return [CompletionItem(incomplete, type="file"), *_beginning(incomplete, names)]


def _beginning(start: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted({n for n in names if n.startswith(start)})]


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
