"""`aiod diff`, `commit` and `export`: what a container has written.

Must not know how it is told.
"""

import click
import msgspec

from aiod.cli import asking, client, completing, output, save, terminal
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.errors import CliError
from aiod.cli.options import flag, many
from aiod.cli.references import parsed

_KINDS = ("C", "A", "D")
_NAME = click.argument("name", metavar="CONTAINER", shell_complete=completing.containers)


class Change(msgspec.Struct, frozen=True):
    """A path and what became of it."""

    Path: str
    Kind: int


class Committed(msgspec.Struct, frozen=True):
    """The answer of a commit."""

    Id: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_NAME
def diff(name: str, as_json: bool) -> None:
    """What a container has changed of its image: A added, C changed, D deleted."""

    def show(body: bytes) -> None:
        if body.strip() == b"null":  # dockerd's word for nothing
            return
        for change in decoded(body, list[Change]):
            output.line(f"{_KINDS[change.Kind]} {output.printable(change.Path)}")

    asking.show(client.container(name, "changes"), None, show, as_json=as_json)


@click.command()
@click.option("-a", "--author", default="", help="Who makes the image.")
@many("-c", "--change", metavar="INSTRUCTION", text="Dockerfile instruction to apply")
@click.option("-m", "--message", default="", help="For the image's history.")
@click.option("--pause/--no-pause", "-p/", default=True, help="Freeze it meanwhile.  [--pause]")
@_NAME
@click.argument("image", metavar="[REPOSITORY[:TAG]]", default="")
def commit(
    name: str, image: str, author: str, change: tuple[str, ...], message: str, pause: bool
) -> None:
    """Make an image of what a container has written; print its id."""
    repository, tag = _name(image)
    said = {"repo": repository, "tag": tag, "author": author, "comment": message}
    query = [("container", name), ("pause", "1" if pause else "0")]
    query += [(key, value) for key, value in said.items() if value]
    query += [("changes", instruction) for instruction in change]

    async def work(ask: Asking) -> None:
        body = await ask.client.send("POST", "/commit", query)
        output.line(decoded(body, Committed).Id)

    asking.ask(work)


def _name(image: str) -> tuple[str, str]:
    if not image:
        return "", ""
    found = parsed(image)
    if found.digest is not None:
        raise CliError(f"{image!r}: an image's name here has no digest")
    return found.familiar_name, found.tag or ""


@click.command()
@click.option("-o", "--output", "target", metavar="FILE", help="Instead of standard output.")
@flag("-q", "--quiet", text="No progress.")
@_NAME
def export(name: str, target: str | None, quiet: bool) -> None:
    """Write a container's whole root into a tar, without what is mounted there."""
    if target is None and terminal.is_terminal(terminal.STDOUT):
        raise CliError("export: the archive goes to a file (-o) or a pipe, not to a terminal")
    save.download(client.container(name, "export"), [], target, "export", quiet)
