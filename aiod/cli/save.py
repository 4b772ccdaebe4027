"""`aiod save`: images on their way into an archive.

Owns the file, which is whole or not there, and the bar. Must not know what is in an archive.
"""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import click

from aiod.cli import asking, client, completing, terminal, transfer
from aiod.cli.asking import Asking
from aiod.cli.client import Query
from aiod.cli.errors import CliError

Write = Callable[[bytes], Awaitable[None]]


@click.command()
@click.option("-o", "--output", "target", metavar="FILE", help="Instead of standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.argument(
    "names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=completing.images
)
def save(names: tuple[str, ...], target: str | None, quiet: bool) -> None:
    """Write images into an archive that `load` of any engine takes."""
    if target is None and terminal.is_terminal(terminal.STDOUT):
        raise CliError("save: the archive goes to a file (-o) or a pipe, not to a terminal")
    if len(names) == 1:
        path, query = client.image(names[0], "get"), []
    else:
        path, query = "/images/get", [("names", name) for name in names]

    download(path, query, target, "save", quiet)


def download(path: str, query: Query, target: str | None, what: str, quiet: bool) -> None:
    """Ask for an archive, and write it to the file `target`, or to standard output."""

    async def work(ask: Asking) -> None:
        async with ask.client.stream("GET", path, query) as response:
            with _target(target) as write, transfer.bar(what, None, quiet) as advance:
                await _copied(response.pieces(), write, advance)

    asking.ask(work)


async def _copied(pieces: AsyncIterator[bytes], write: Write, advance: transfer.Advance) -> None:
    async for piece in pieces:
        await write(piece)
        advance(len(piece))


@contextlib.contextmanager
def _target(target: str | None) -> Iterator[Write]:
    if target is None:
        yield lambda piece: terminal.write(terminal.STDOUT, piece)
    elif _is_plain(target):
        with _renamed(Path(target)) as write:
            yield write
    else:
        with open(target, "wb", buffering=0) as file:
            yield lambda piece: terminal.write(file.fileno(), piece)


def _is_plain(target: str) -> bool:
    """Whether a file is to be made or replaced there; not so a device or a pipe."""
    path = Path(target)
    return path.is_file() or not path.exists()


@contextlib.contextmanager
def _renamed(target: Path) -> Iterator[Write]:
    """A file that gets its name when it is whole."""
    mask = os.umask(0)
    os.umask(mask)
    try:
        made, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise CliError(f"{target}: {error.strerror}") from None
    try:
        with os.fdopen(made, "wb") as file:

            async def write(piece: bytes) -> None:
                file.write(piece)

            yield write
            os.fchmod(file.fileno(), 0o666 & ~mask)
        os.rename(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
