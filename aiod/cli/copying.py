"""`aiod cp`: files between a container and here.

Owns docker's rules of where things go; a tar from a container is as hostile as the container
may be, and is extracted so that nothing in it leads out of its target. Must not know routes
beyond the archive's.
"""

import base64
import os
import posixpath
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from aiod.cli import asking, completing, terminal
from aiod.cli.asking import Asking
from aiod.cli.client import Client, container
from aiod.cli.errors import CliError, EngineError
from aiod.cli.http import Response

_HEADER = "x-docker-container-path-stat"
_DIRECTORY, _LINK = 1 << 31, 1 << 27  # of Go's file modes


class PathStat(msgspec.Struct, frozen=True, rename="camel"):
    """What the engine says of a path."""

    name: str
    mode: int
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is one itself."""
        return bool(self.mode & _DIRECTORY)


@dataclass(frozen=True, slots=True)
class Place:
    """A path here, or in a container."""

    container: str
    path: str


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Keep owners.")
@click.option("-L", "--follow-link", "follow", is_flag=True, help="What SOURCE, a link, leads to.")
@click.option("-q", "--quiet", is_flag=True, help="There is no progress to leave out.")
@click.argument("source", metavar="CONTAINER:PATH|PATH|-", shell_complete=completing.files)
@click.argument("target", metavar="CONTAINER:PATH|PATH|-", shell_complete=completing.files)
def cp(source: str, target: str, archive: bool, follow: bool, quiet: bool) -> None:
    """Copy files between a container and here; `-` is a tar on a pipe."""
    origin, place = _parsed(source), _parsed(target)
    if origin.container and place.container:
        raise CliError("copying between containers is not supported")
    if not (origin.container or place.container):
        raise CliError("must specify at least one container source")

    async def work(ask: Asking) -> None:
        if origin.container:
            await _take(ask.client, origin, place.path, keep_owners=archive, follow=follow)
        else:
            await _give(ask.client, origin.path, place, keep_owners=archive, follow=follow)

    asking.ask(work)


def _parsed(text: str) -> Place:
    """As docker: `./a:b` and `/a:b` are paths here."""
    if text.startswith(("/", ".")):
        return Place("", text)
    name, colon, path = text.partition(":")
    return Place(name, path or "/") if colon and name else Place("", text)


def _stat_of(response: Response) -> PathStat:
    try:
        text = base64.b64decode(response.headers.get(_HEADER, ""))
        return msgspec.json.decode(text, type=PathStat)
    except (ValueError, msgspec.DecodeError) as error:
        raise CliError(f"the engine's answer is not understood: {error}") from None


# from a container


async def _take(
    client: Client, origin: Place, target: str, *, keep_owners: bool, follow: bool
) -> None:
    path = origin.path
    if follow:
        async with client.stream("HEAD", _archive(origin), {"path": path}) as response:
            path = _stat_of(response).link_target or path
    async with client.stream("GET", _archive(origin), {"path": path}) as response:
        found = _stat_of(response)
        if target == "-":
            if terminal.is_terminal(terminal.STDOUT):
                raise CliError("cp: the archive goes to a pipe, not to a terminal")
            async for piece in response.pieces():
                await terminal.write(terminal.STDOUT, piece)
            return
        directory, name = _place(origin.path, target, found)
        await _unpack(response, directory, found.name, name, keep_owners=keep_owners)


def _place(source: str, target: str, found: PathStat) -> tuple[Path, str]:
    """The directory to extract to, and the name there; "" to leave names as they are."""
    place = Path(target)
    contents = source.endswith("/.") or found.name == "/"
    if place.is_dir():
        return place, "" if contents else posixpath.basename(source.rstrip("/"))
    if found.is_directory and place.exists():
        raise CliError(f"cannot copy directory to {target}: it is no directory")
    if found.is_directory and contents:
        _make(place)
        return place, ""
    if target.endswith("/") and not found.is_directory:
        raise CliError(f"{target}: no such directory")
    if not place.parent.is_dir():
        raise CliError(f"{place.parent}: no such directory")
    return place.parent, place.name


def _make(place: Path) -> None:
    try:
        place.mkdir()
    except OSError as error:
        raise CliError(f"{place}: {error.strerror}") from None


async def _unpack(
    response: Response, directory: Path, old: str, new: str, *, keep_owners: bool
) -> None:
    from aiod.containers.files import writing
    from aiod.errors import AiodError
    from aiod.images.compression import Limits
    from aiod.images.handing import consumed

    owner = None if keep_owners else (os.getuid(), os.getgid())
    renamed = (os.fsencode(old), os.fsencode(new)) if new else None
    manner = writing.Manner(owner, keep_kinds=True, renamed=renamed)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await consumed(
            response.pieces(),
            lambda source, stop: writing.extract(source, root, "/", manner, Limits(), stop),
        )
    except AiodError as error:
        raise CliError(f"{directory}: {error.message}") from None
    finally:
        os.close(root)


# to a container


async def _give(
    client: Client, source: str, place: Place, *, keep_owners: bool, follow: bool
) -> None:
    query = {"noOverwriteDirNonDir": "true"}
    if source == "-":
        if terminal.is_terminal(terminal.STDIN):
            raise CliError("cp: the archive is expected from a pipe, not a terminal")
        await client.send("PUT", _archive(place), {"path": place.path, **query}, _standard_input())
        return
    here = _here(source, follow=follow)
    directory, name = await _target(client, here, place)
    body = _packed(here.path, name, keep_owners=keep_owners)
    async with aclosing(body):
        await client.send("PUT", _archive(place), {"path": directory, **query}, body)


@dataclass(frozen=True, slots=True)
class Here:
    """What is to be copied: where, under which name, and whether only what is in it."""

    path: str
    name: str
    is_directory: bool
    contents: bool


def _here(source: str, *, follow: bool) -> Here:
    path = os.path.realpath(source) if follow else source.rstrip("/") or "/"
    try:
        is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        raise CliError(f"{source}: {error.strerror}") from None
    contents = is_directory and (source.endswith(("/.", "/..")) or source in (".", "..", "/"))
    return Here(path, os.path.basename(os.path.abspath(source)), is_directory, contents)


async def _standard_input() -> AsyncGenerator[bytes, None]:
    while piece := await terminal.read(terminal.STDIN):
        yield piece


async def _target(client: Client, here: Here, place: Place) -> tuple[str, str]:
    """The directory in the container, and the name there; "." for only what is in `here`."""
    found = await _look(client, place)
    if found is not None and found.link_target:
        place = Place(place.container, found.link_target)
        found = await _look(client, place)
    if found is not None and found.is_directory:
        return place.path, "." if here.contents else here.name
    if found is not None and here.is_directory:
        raise CliError(f"cannot copy directory to {place.path}: it is no directory")
    if found is None and place.path.endswith("/") and not here.is_directory:
        raise CliError(f"{place.path}: no such directory in {place.container}")
    above, name = posixpath.split(place.path.rstrip("/"))
    return above or "/", name


async def _look(client: Client, place: Place) -> PathStat | None:
    try:
        async with client.stream("HEAD", _archive(place), {"path": place.path}) as response:
            return _stat_of(response)
    except EngineError as error:
        if error.http_status == 404:
            # The container may be what is not there: that is told in words.
            await client.send("GET", container(place.container, "json"))
            return None
        raise


def _archive(place: Place) -> str:
    return container(place.container, "archive")


async def _packed(origin: str, name: str, *, keep_owners: bool) -> AsyncGenerator[bytes, None]:
    from aiod.containers.files import reading
    from aiod.errors import AiodError
    from aiod.images.handing import produced

    owner = None if keep_owners else (0, 0)
    wanted = os.fsencode(name)
    try:
        async with aclosing(
            produced(lambda out, gone: reading.write_one(origin, wanted, owner, out, gone))
        ) as pieces:
            async for piece in pieces:
                yield piece
    except (AiodError, OSError) as error:
        raise CliError(f"{origin}: {error}") from None
