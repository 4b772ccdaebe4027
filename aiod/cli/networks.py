"""`aiod network ls`, `inspect`, `rm` and `prune`. Must not know how networks are made."""

import click

from aiod.cli import asking, client, completing, output, pruning, values, views
from aiod.cli.client import decoded
from aiod.cli.inspect import show_all
from aiod.cli.options import filtering, flag
from aiod.cli.removal import remove

_TITLES = ("NETWORK ID", "NAME", "DRIVER", "SCOPE")
_UNUSED = "This removes all networks that no container uses."
_NAMES = click.argument("names", metavar="NETWORK...", nargs=-1, required=True,
                        shell_complete=completing.networks)  # fmt: skip


@click.command()
@flag("-q", "--quiet", text="Ids only.")
@filtering("-f", example="driver=bridge or label=web")
@flag("--no-trunc", text="Cut nothing short.")
@flag("--json", "as_json", text="Everything, as JSON.")
def ls(quiet: bool, chosen: tuple[str, ...], no_trunc: bool, as_json: bool) -> None:
    """List networks."""

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

    asking.show("/networks", values.filter_query(values.filters(chosen)), show, as_json=as_json)


@click.command()
@flag("--json", "_as_json", text="The only form there is.")
@_NAMES
def inspect(names: tuple[str, ...], _as_json: bool) -> None:
    """Show everything about networks."""
    show_all(names, ("network",))


@click.command()
@flag("-f", "--force", text="One that is not there is no failure.")
@_NAMES
def rm(names: tuple[str, ...], force: bool) -> None:
    """Remove networks."""
    remove(names, client.network, None, force=force)


@click.command()
@pruning.options(example="until=24h or label=stage")
def prune(force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove networks that no container uses."""
    pruning.prune(
        "networks",
        values.filters(chosen),
        views.NetworksPruned,
        lambda pruned: pruned.NetworksDeleted,
        warning=_UNUSED,
        force=force,
        as_json=as_json,
    )
