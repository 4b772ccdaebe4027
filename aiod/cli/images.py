"""`aiod images` and `aiod rmi`. Must not know how images are stored."""

import time
from collections.abc import Iterator

import click

from aiod.cli import asking, client, completing, moments, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import Query, decoded
from aiod.cli.options import filtering

_TITLES = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")
_NONE = "<none>"


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Intermediate ones, too.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@filtering("-f", example="reference=web* or dangling=true")
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@click.argument("name", required=False, shell_complete=completing.images)
def images(
    name: str | None, everything: bool, quiet: bool, chosen: tuple[str, ...], no_trunc: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """List images."""
    query = _query(name, everything, chosen)

    def show(body: bytes) -> None:
        rows = decoded(body, list[views.ImageRow])
        if quiet:
            for identity in dict.fromkeys(row.Id for row in rows):
                output.line(identity if no_trunc else output.short_id(identity))
        else:
            now = time.time_ns()
            cells = [cells for row in rows for cells in _lines(row, name, no_trunc, now)]
            output.table(_TITLES, cells)

    asking.show("/images/json", query, show, as_json=as_json)


def _query(name: str | None, everything: bool, chosen: tuple[str, ...]) -> Query:
    filters = values.filters(chosen)
    if name:
        filters.setdefault("reference", []).append(name)
    query = {"all": "1"} if everything else {}
    return query | values.filter_query(filters)


def _lines(
    row: views.ImageRow, name: str | None, no_trunc: bool, now_ns: int
) -> Iterator[tuple[str, ...]]:
    """One line for each of an image's names."""
    identity = row.Id if no_trunc else output.short_id(row.Id)
    for tagged in row.RepoTags or (f"{_NONE}:{_NONE}",):
        repository, _, tag = tagged.rpartition(":")
        if name in (None, repository, tagged) or not row.RepoTags or "*" in str(name):
            age = moments.ago(row.Created, now_ns)
            yield (repository, tag, identity, age, output.size(row.Size))


@click.command()
@click.option("-f", "--force", is_flag=True, help="Although stopped containers use it.")
@click.option("--no-prune", is_flag=True, help="Keep parents without a name.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON lines.")
@click.argument(
    "names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=completing.images
)
def rmi(names: tuple[str, ...], force: bool, no_prune: bool, as_json: bool) -> None:
    """Remove images, or names of images."""
    query = ({"force": "1"} if force else {}) | ({"noprune": "1"} if no_prune else {})

    async def work(ask: Asking) -> int:
        async def one(name: str) -> str:
            body = await ask.client.send("DELETE", client.image(name), query)
            if as_json:
                return body.decode().strip()
            return "\n".join(removal.text for removal in decoded(body, list[views.Removal]))

        return await asking.each(names, one)

    asking.ask(work)
