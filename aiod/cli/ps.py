"""`aiod ps` and `aiod top`: what runs.

Must not know how the engine knows.
"""

import time

import click

from aiod.cli import asking, completing, moments, output, portlist, values, views
from aiod.cli.client import Query, container, decoded
from aiod.cli.options import filtering

_TITLES = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
_COMMAND_WIDTH = 20


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Those that do not run, too.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@filtering("-f", example="name=web or status=exited")
@click.option("-n", "--last", type=click.IntRange(min=1), help="The newest few, in any state.")
@click.option("-l", "--latest", is_flag=True, help="The newest, in any state.")
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def ps(
    everything: bool, quiet: bool, chosen: tuple[str, ...], last: int | None, latest: bool,
    no_trunc: bool, as_json: bool,
) -> None:  # fmt: skip
    """List containers."""
    query = _query(everything, chosen, 1 if latest else last)

    def show(body: bytes) -> None:
        rows = decoded(body, list[views.ContainerRow])
        if quiet:
            for row in rows:
                output.line(row.Id if no_trunc else output.short_id(row.Id))
        else:
            now = time.time_ns()
            output.table(_TITLES, [_cells(row, no_trunc, now) for row in rows])

    asking.show("/containers/json", query, show, as_json=as_json)


def _query(everything: bool, chosen: tuple[str, ...], last: int | None) -> Query:
    query = {"all": "1"} if everything else {}
    if last is not None:
        query["limit"] = str(last)
    return query | values.filter_query(values.filters(chosen))


def _cells(row: views.ContainerRow, no_trunc: bool, now_ns: int) -> tuple[str, ...]:
    command = row.Command if no_trunc else output.cut(row.Command, _COMMAND_WIDTH)
    return (
        row.Id if no_trunc else output.short_id(row.Id),
        row.Image if no_trunc else _image(row.Image),
        f'"{command}"',
        moments.ago(row.Created, now_ns),
        row.Status,
        portlist.column(row.Ports),
        ",".join(name.removeprefix("/") for name in row.Names),
    )


def _image(name: str) -> str:
    return output.short_id(name) if name.startswith("sha256:") else name


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("name", metavar="CONTAINER", shell_complete=completing.running)
@click.argument("ps_options", nargs=-1, type=click.UNPROCESSED)
def top(name: str, ps_options: tuple[str, ...], as_json: bool) -> None:
    """Show a container's processes; further arguments are ps(1)'s."""
    query = {"ps_args": " ".join(ps_options)} if ps_options else {}

    def show(body: bytes) -> None:
        found = decoded(body, views.Top)
        output.table(found.Titles, found.Processes or ())

    asking.show(container(name, "top"), query, show, as_json=as_json)
