"""`aiod history` and `aiod tag`. Must not know how images are made."""

import time

import click

from aiod.cli import asking, client, completing, moments, output, references, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded

_TITLES = ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT")
_COMMAND_WIDTH = 45
_MISSING = "<missing>"


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option("--human", "-H", type=bool, is_flag=False, flag_value=True, default=True,
              metavar="BOOL", help="Sizes and times in words.  [true]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@click.argument("name", metavar="IMAGE", shell_complete=completing.images)
def history(name: str, quiet: bool, no_trunc: bool, human: bool, as_json: bool) -> None:
    """Show how an image came about, the last step first."""

    def show(body: bytes) -> None:
        layers = decoded(body, list[views.Layer])
        if quiet:
            for layer in layers:
                output.line(_identity(layer, no_trunc))
        else:
            now = time.time_ns()
            output.table(_TITLES, [_cells(layer, no_trunc, human, now) for layer in layers])

    asking.show(client.image(name, "history"), None, show, as_json=as_json)


def _identity(layer: views.Layer, no_trunc: bool) -> str:
    return layer.Id if no_trunc or layer.Id == _MISSING else output.short_id(layer.Id)


def _cells(layer: views.Layer, no_trunc: bool, human: bool, now_ns: int) -> tuple[str, ...]:
    command = layer.CreatedBy.replace("\t", " ")
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(layer.Created))
    return (
        _identity(layer, no_trunc),
        moments.ago(layer.Created, now_ns) if human else created,
        command if no_trunc else output.cut(command, _COMMAND_WIDTH),
        output.size(layer.Size) if human else str(layer.Size),
        layer.Comment,
    )


@click.command()
@click.argument("source", metavar="IMAGE", shell_complete=completing.images)
@click.argument("target", metavar="NAME[:TAG]")
def tag(source: str, target: str) -> None:
    """Give an image a further name."""
    wanted = references.tagged(target)
    if wanted.digest is not None:
        raise click.UsageError("a name with a digest cannot be given")
    query = {"repo": wanted.familiar_name, "tag": wanted.tag or ""}

    async def work(ask: Asking) -> None:
        await ask.client.send("POST", client.image(source, "tag"), query)

    asking.ask(work)
