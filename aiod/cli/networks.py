"""`aiod network ls`, `inspect`, `rm` and `prune`. Must not know how networks are made."""

import click
import msgspec

from aiod.cli import asking, client, completing, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.consent import agreed
from aiod.cli.errors import EngineError
from aiod.cli.inspect import show_all

_TITLES = ("NETWORK ID", "NAME", "DRIVER", "SCOPE")
_UNUSED = "This removes all networks that no container uses."
_NAMES = click.argument("names", metavar="NETWORK...", nargs=-1, required=True,
                        shell_complete=completing.networks)  # fmt: skip


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@click.option("-f", "--filter", "chosen", multiple=True, metavar="NAME=VALUE",
              help="Such as driver=bridge or label=web (repeatable).")  # fmt: skip
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def ls(quiet: bool, chosen: tuple[str, ...], no_trunc: bool, as_json: bool) -> None:
    """List networks."""
    filters = values.filters(chosen)
    query = {"filters": msgspec.json.encode(filters).decode()} if filters else {}

    def show(body: bytes) -> None:
        rows = sorted(decoded(body, list[views.NetworkRow]), key=lambda row: row.Name)
        cells = [
            (row.Id if no_trunc else output.short_id(row.Id), row.Name, row.Driver, row.Scope)
            for row in rows
        ]
        if not quiet:
            output.table(_TITLES, cells)
            return
        for identity, *_ in cells:
            output.line(identity)

    asking.show("/networks", query, show, as_json=as_json)


@click.command()
@click.option("--json", "_as_json", is_flag=True, help="The only form there is.")
@_NAMES
def inspect(names: tuple[str, ...], _as_json: bool) -> None:
    """Show everything about networks."""
    show_all(names, ("network",))


@click.command()
@click.option("-f", "--force", is_flag=True, help="One that is not there is no failure.")
@_NAMES
def rm(names: tuple[str, ...], force: bool) -> None:
    """Remove networks."""

    async def work(ask: Asking) -> int:
        async def one(name: str) -> str | None:
            try:
                await ask.client.send("DELETE", client.network(name))
            except EngineError as error:
                if force and error.http_status == 404:
                    return None
                raise
            return name

        return await asking.each(names, one)

    asking.ask(work)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Without asking.")
@click.option("--filter", "chosen", multiple=True, metavar="NAME=VALUE",
              help="Such as until=24h or label=stage (repeatable).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
def prune(force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove networks that no container uses."""
    filters = values.filters(chosen)
    if not (force or agreed(_UNUSED)):
        return
    query = {"filters": msgspec.json.encode(filters).decode()} if filters else {}

    async def work(ask: Asking) -> None:
        body = await ask.client.send("POST", "/networks/prune", query)
        if as_json:
            output.raw_json(body)
            return
        for name in decoded(body, views.NetworksPruned).NetworksDeleted or ():
            output.line(name)

    asking.ask(work)
