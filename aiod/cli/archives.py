"""`aiod load` and `aiod import`: archives on their way to the engine.

Owns reading the file or the pipe, and which of the messages that come back are worth a line.
Must not know what is in an archive.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import click

from aiod.cli import asking, completing, progress, terminal, transfer
from aiod.cli.asking import Asking
from aiod.cli.client import Query
from aiod.cli.errors import CliError
from aiod.cli.http import Response
from aiod.cli.transfer import Advance

_MINUS = "-"


@click.command()
@click.option("-i", "--input", "source", default=_MINUS, metavar="FILE",
              help="Instead of standard input.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="The engine's messages, as JSON lines.")
def load(source: str, quiet: bool, as_json: bool) -> None:
    """Load images from an archive of `docker save` or an OCI layout."""
    query = {"quiet": "1"} if quiet and not as_json else {}
    _upload(source, "/images/load", query, "load", quiet or as_json, as_json)


@click.command("import")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
              help="Dockerfile instruction to apply (repeatable).")  # fmt: skip
@click.option("-m", "--message", default="", help="For the image's history.")
@click.option("--platform", default="", help="Refused unless it is this machine's.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="The engine's messages, as JSON lines.")
@click.argument("source", metavar="FILE|-", shell_complete=completing.local_files)
@click.argument("name", metavar="[REPOSITORY[:TAG]]", required=False, default="")
def import_(
    source: str, name: str, changes: tuple[str, ...], message: str, platform: str, quiet: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Make an image of a root file system's tar."""
    if "://" in source:
        raise CliError("import: a URL is not supported by aiod yet; use a file or -")
    query = [("fromSrc", _MINUS), *(("changes", change) for change in changes)]
    repository, tag = _split(name)
    named = (("repo", repository), ("tag", tag), ("message", message), ("platform", platform))
    query += [(key, value) for key, value in named if value]
    _upload(source, "/images/create", query, "import", quiet or as_json, as_json)


def _split(name: str) -> tuple[str, str]:
    repository, separator, tag = name.rpartition(":")
    if not separator or "/" in tag:
        return name, ""
    return repository, tag


def _upload(
    source: str, path: str, query: Query, what: str, quiet: bool,
    as_json: bool,
) -> None:  # fmt: skip
    if source == _MINUS and terminal.is_terminal(terminal.STDIN):
        raise CliError(f"{what}: the archive is expected from a pipe or a file, not a terminal")

    async def work(ask: Asking) -> None:
        with _opened(source) as descriptor:
            async with contextlib.AsyncExitStack() as stack:
                size = os.fstat(descriptor).st_size or None
                with transfer.bar(what, size, quiet) as advance:
                    body = _pieces(descriptor, advance)
                    response = await stack.enter_async_context(
                        ask.client.stream("POST", path, query, body)
                    )
                await _show(response, quiet, as_json)

    asking.ask(work)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[int]:
    if source == _MINUS:
        yield terminal.STDIN
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"{source}: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _pieces(descriptor: int, advance: Advance) -> AsyncIterator[bytes]:
    while piece := await terminal.read(descriptor):
        yield piece
        advance(len(piece))


async def _show(response: Response, quiet: bool, as_json: bool) -> None:
    """The layers' progress on a terminal, and what is left to say at the end anywhere."""
    layers = terminal.is_terminal(terminal.STDERR) and not quiet
    with progress.shown(quiet=as_json) as feed:
        async for message in progress.messages(response.lines(), as_json=as_json):
            if layers or not message.id:
                feed(message)
