"""`aiod pull` and `aiod push`: images from and to registries.

Must not know registries: the engine speaks to them; the user's login goes along.
"""

import click

from aiod.cli import asking, client, completing, output, progress, references
from aiod.cli.asking import Asking
from aiod.cli.client import Query
from aiod.cli.credentials import Credentials, server_of
from aiod.cli.errors import CliError
from aiod.images.reference import Reference

_ALL = click.option("-a", "--all-tags", "all_tags", is_flag=True, help="Every tag there is.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Only the image's name, at the end.")
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="The engine's messages, as JSON lines."
)


@click.command()
@_ALL
@_QUIET
@_JSON
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]",
              help="Which of an image for several.  [this machine's]")  # fmt: skip
@click.argument("name", metavar="NAME[:TAG|@DIGEST]", shell_complete=completing.images)
def pull(name: str, all_tags: bool, quiet: bool, as_json: bool, platform: str) -> None:
    """Get an image from its registry."""
    found = references.repository(name) if all_tags else references.tagged(name)
    query = {"fromImage": found.familiar_name, "platform": platform}
    if not all_tags:
        query["tag"] = found.digest or found.tag or ""
    chosen = {key: value for key, value in query.items() if value}
    _move("/images/create", chosen, found, quiet, as_json)


@click.command()
@_ALL
@_QUIET
@_JSON
@click.argument("name", metavar="NAME[:TAG]", shell_complete=completing.images)
def push(name: str, all_tags: bool, quiet: bool, as_json: bool) -> None:
    """Send an image to its registry."""
    found = references.repository(name) if all_tags else references.tagged(name)
    if found.digest is not None:
        raise CliError("cannot push a digest reference")
    path = client.image(found.familiar_name, "push")
    _move(path, {"tag": found.tag} if found.tag else {}, found, quiet, as_json)


def _move(path: str, query: Query, found: Reference, quiet: bool, as_json: bool) -> None:
    headers = Credentials().registry_auth(server_of(found.domain))

    async def work(ask: Asking) -> None:
        async with ask.client.stream("POST", path, query, None, headers) as response:
            with progress.shown(quiet=quiet or as_json) as feed:
                async for message in progress.messages(response.lines(), as_json=as_json):
                    feed(message)
        if not as_json:
            output.line(str(found))

    asking.ask(work)
