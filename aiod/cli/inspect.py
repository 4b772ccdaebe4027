"""`aiod inspect`: everything about containers, images, networks and volumes, as JSON.

Must not know what it says.
"""

from collections.abc import Callable

import click
import msgspec

from aiod.cli import asking, client, completing, output
from aiod.cli.asking import Asking
from aiod.cli.client import Client
from aiod.cli.errors import CliError, EngineError

_KINDS: dict[str, Callable[[str], str]] = {
    "container": lambda name: client.container(name, "json"),
    "image": lambda name: client.image(name, "json"),
    "network": client.network,
    "volume": client.volume,
}


@click.command()
@click.option("--type", "kind", type=click.Choice(list(_KINDS)), help="Look for nothing else.")
@click.option("-s", "--size", is_flag=True, help="How much it holds, too (containers).")
@click.option("--json", "_as_json", is_flag=True, help="The only form there is.")
@click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, shell_complete=completing.everything
)
def inspect(names: tuple[str, ...], kind: str | None, size: bool, _as_json: bool) -> None:
    """Show everything about containers, images, networks or volumes."""
    show_all(names, (kind,) if kind else tuple(_KINDS), size=size)


def show_all(names: tuple[str, ...], kinds: tuple[str, ...], *, size: bool = False) -> None:
    """Everything about each name, of the first of the kinds that has it, as one array."""

    async def work(ask: Asking) -> int:
        found: list[msgspec.Raw] = []
        status = 0
        for name in names:
            try:
                found.append(msgspec.Raw(await _one(ask.client, name, kinds, size)))
            except EngineError as error:
                output.complain(error.message)
                status = 1
        output.raw_json(msgspec.json.encode(found), indent=4)
        return status

    asking.ask(work)


async def _one(engine: Client, name: str, kinds: tuple[str, ...], size: bool) -> bytes:
    query = {"size": "1"} if size else {}
    for kind in kinds:
        try:
            path = _KINDS[kind](name)
        except CliError as error:
            raise EngineError(error.message, 400) from None
        try:
            return await engine.ask_raw(path, query if kind == "container" else None)
        except EngineError as error:
            if error.http_status not in (400, 404):
                raise
    raise EngineError(f"no such {kinds[0] if len(kinds) == 1 else 'object'}: {name}", 404)
