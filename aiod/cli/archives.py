"""`aiod load` and `aiod import`: archives on their way to the engine.

Owns reading the file or the pipe, the bar that shows how far it is (on a terminal only), and
the messages that come back. Must not know what is in an archive.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator

import click

from aiod.cli import asking, output, terminal, views
from aiod.cli.asking import Asking
from aiod.cli.client import Query, decoded
from aiod.cli.errors import CliError

_MINUS = "-"
Advance = Callable[[int], None]


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
@click.argument("source", metavar="FILE|-")
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
        with _opened(source) as descriptor, _bar(descriptor, what, quiet) as advance:
            body = _pieces(descriptor, advance)
            async with ask.client.stream("POST", path, query, body) as response:
                lines = [line async for line in _messages(response.lines(), as_json)]
        for line in lines:
            output.line(line)

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


@contextlib.contextmanager
def _bar(descriptor: int, what: str, quiet: bool) -> Iterator[Advance]:
    """A bar on standard error; nothing at all unless that is a terminal."""
    if quiet or not terminal.is_terminal(terminal.STDERR):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=os.fstat(descriptor).st_size or None)
        yield lambda count: progress.advance(task, count)


async def _messages(lines: AsyncIterator[bytes], as_json: bool) -> AsyncIterator[str]:
    """What is left to say at the end; CliError for the engine's refusal."""
    async for line in lines:
        message = decoded(line, views.Progress)
        if message.error:
            raise CliError(message.error)
        if as_json:
            yield line.decode()
        elif text := message.stream.strip() or _final(message):
            yield text


def _final(message: views.Progress) -> str:
    """An import's answer is the new image's id as its status; other statuses are progress."""
    return message.status if message.status.startswith("sha256:") else ""
