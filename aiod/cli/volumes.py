"""`aiod volume create`, `ls`, `inspect`, `rm` and `prune`. Must not know where volumes are."""

import click
import msgspec

from aiod.cli import asking, client, completing, output, pruning, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.inspect import show_all
from aiod.cli.options import filtering, flag, many
from aiod.cli.removal import remove

_TITLES = ("DRIVER", "VOLUME NAME")
_ANONYMOUS = "This removes all volumes without a name that no container uses."
_UNUSED = "This removes all volumes that no container uses."
_NAMES = click.argument("names", metavar="VOLUME...", nargs=-1, required=True,
                        shell_complete=completing.volumes)  # fmt: skip


class VolumeBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `POST /volumes/create`."""

    Name: str = ""
    Driver: str = ""
    DriverOpts: dict[str, str] = {}
    Labels: dict[str, str] = {}


@click.command()
@click.option("-d", "--driver", default="local", help="The driver.  [local]")
@many("-o", "--opt", metavar="NAME=VALUE", text="An option of the driver")
@many("-l", "--label", metavar="NAME=VALUE", text="A label")
@click.option("--json", "as_json", is_flag=True, help="Everything about it, as JSON.")
@click.argument("name", default="")
def create(
    name: str, driver: str, opt: tuple[str, ...], label: tuple[str, ...], as_json: bool
) -> None:
    """Make a volume; print its name."""
    body = VolumeBody(name, driver, values.labels(opt), values.labels(label))

    async def work(ask: Asking) -> None:
        answer = await ask.client.send("POST", "/volumes/create", body=body)
        if as_json:
            output.raw_json(answer)
        else:
            output.line(decoded(answer, views.VolumeRow).Name)

    asking.ask(work)


@click.command()
@flag("-q", "--quiet", text="Names only.")
@filtering("-f", example="dangling=true or label=web")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def ls(quiet: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """List volumes."""

    def show(body: bytes) -> None:
        found = decoded(body, views.Volumes).Volumes or ()
        rows = sorted(found, key=lambda row: row.Name)
        if not quiet:
            output.table(_TITLES, [(row.Driver, row.Name) for row in rows])
            return
        for row in rows:
            output.line(row.Name)

    asking.show("/volumes", values.filter_query(values.filters(chosen)), show, as_json=as_json)


@click.command()
@click.option("--json", "_as_json", is_flag=True, help="The only form there is.")
@_NAMES
def inspect(names: tuple[str, ...], _as_json: bool) -> None:
    """Show everything about volumes."""
    show_all(names, ("volume",))


@click.command()
@flag("-f", "--force", text="One that is not there is no failure.")
@_NAMES
def rm(names: tuple[str, ...], force: bool) -> None:
    """Remove volumes and all that they hold."""
    remove(names, client.volume, {"force": "1"} if force else {}, force=force)


@click.command()
@flag("-a", "--all", "everything", text="Those with a name, too.")
@pruning.options(example="label=stage")
def prune(everything: bool, force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove volumes that no container uses."""
    filters = values.filters(chosen)
    if everything:
        filters.setdefault("all", ["true"])
    pruning.prune(
        "volumes",
        filters,
        views.VolumesPruned,
        lambda pruned: pruned.VolumesDeleted,
        warning=_UNUSED if everything else _ANONYMOUS,
        force=force,
        as_json=as_json,
    )
