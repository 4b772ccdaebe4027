"""`aiod build`: an image from a Dockerfile and its context.

Must not know the Dockerfile's language, nor where a context comes from (see `buildcontext`).
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from aiod.cli import asking, completing, progress, transfer, values, views
from aiod.cli.asking import Asking
from aiod.cli.buildcontext import opened
from aiod.cli.credentials import Credentials
from aiod.cli.errors import CliError
from aiod.cli.http import Response

_FLAGS = {"no_cache": "nocache", "pull": "pull", "force_rm": "forcerm", "quiet": "q"}
_TEXTS = {"target": "target", "network": "networkmode", "platform": "platform"}


class _Identity(msgspec.Struct, frozen=True):
    """What a build's `aux` message brings."""

    ID: str = ""


@click.command()
@click.option("-t", "--tag", multiple=True, metavar="NAME[:TAG]", help="A name (repeatable).")
@click.option("-f", "--file", metavar="FILE", help="The Dockerfile; - for standard input.")
@click.option("--build-arg", multiple=True, metavar="NAME[=VALUE]",
              help="For an ARG; a mere name passes yours on (repeatable).")  # fmt: skip
@click.option("-l", "--label", multiple=True, metavar="NAME=VALUE", help="A label (repeatable).")
@click.option("--target", default="", metavar="STAGE", help="The stage to build.")
@click.option(
    "--network",
    default="",
    metavar="NETWORK",
    help="For its commands.",
    shell_complete=completing.network_modes,
)
@click.option("--platform", default="", help="Refused unless it is this machine's.")
@click.option("--add-host", multiple=True, metavar="NAME:ADDRESS",
              help="A line of /etc/hosts for its commands (repeatable).")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Do every step anew.")
@click.option("--pull", is_flag=True, help="Look for newer base images.")
@click.option("--rm/--no-rm", default=True, help="Remove the steps' containers.  [on]")
@click.option("--force-rm", is_flag=True, help="Also those of a step that failed.")
@click.option("--iidfile", type=click.Path(path_type=Path), help="Write the image's id there.")
@click.option("-q", "--quiet", is_flag=True, help="Only the image's id, at the end.")
@click.option("--json", "as_json", is_flag=True, help="The engine's messages, as JSON lines.")
@click.argument("source", metavar="DIRECTORY|-", shell_complete=completing.directories)
def build(
    source: str, file: str | None, iidfile: Path | None, as_json: bool, **options: Any
) -> None:
    """Build an image from a Dockerfile.

    On a pipe (-) the context is an archive, or a Dockerfile alone.
    """
    query = _query(options)
    headers = Credentials().registry_config()

    async def work(ask: Asking) -> None:
        context = await opened(source, file)
        chosen = [*query, ("dockerfile", context.dockerfile)]
        async with contextlib.AsyncExitStack() as stack:
            with transfer.bar("context", None, options["quiet"] or as_json) as advance:
                body = _counted(context.pieces, advance)
                response = await stack.enter_async_context(
                    ask.client.stream("POST", "/build", chosen, body, headers)
                )
            identity = await _followed(response, as_json)
        if iidfile is not None:
            _write_identity(iidfile, identity)

    asking.ask(work)


def _query(options: dict[str, Any]) -> list[tuple[str, str]]:
    found = [("t", name) for name in options["tag"]]
    found += [("rm", "1" if options["rm"] else "0"), ("version", "1")]
    found += [(parameter, "1") for name, parameter in _FLAGS.items() if options[name]]
    found += [(key, options[name]) for name, key in _TEXTS.items() if options[name]]
    arguments = _arguments(options["build_arg"])
    for key, value in (("buildargs", arguments), ("labels", values.labels(options["label"]))):
        if value:
            found.append((key, msgspec.json.encode(value).decode()))
    if options["add_host"]:
        found.append(("extrahosts", ",".join(options["add_host"])))
    return found


def _arguments(settings: Iterable[str]) -> dict[str, str | None]:
    """A mere name has the client's own value, or none."""
    found: dict[str, str | None] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not name:
            raise click.BadParameter(f"--build-arg: {setting!r} is not NAME=VALUE")
        found[name] = value if separator else os.environ.get(name)
    return found


async def _counted(pieces: AsyncIterator[bytes], advance: transfer.Advance) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
        advance(len(piece))


async def _followed(response: Response, as_json: bool) -> str:
    """Show the build; the image's id."""
    identity = ""
    with progress.shown(quiet=as_json) as feed:
        async for message in progress.messages(response.lines(), as_json=as_json):
            feed(message)
            identity = _identity(message) or identity
    return identity


def _write_identity(file: Path, identity: str) -> None:
    if not identity:
        raise CliError("the engine did not say the image's id")
    file.write_text(identity)


def _identity(message: views.Progress) -> str:
    try:
        return msgspec.json.decode(message.aux, type=_Identity).ID
    except msgspec.MsgspecError:
        return message.stream.strip() if message.stream.startswith("sha256:") else ""
