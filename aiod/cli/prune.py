"""`aiod image prune`: images that nobody needs. Must not know which those are."""

import click

from aiod.cli import asking, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.consent import agreed
from aiod.cli.options import filtering

_DANGLING = "This removes all images that no name leads to."
_UNUSED = "This removes all images that no container uses."


@click.command()
@click.option("-a", "--all", "everything", is_flag=True,
              help="All that no container uses, not only those without a name.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Without asking.")
@filtering(example="until=24h or label=stage")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
def prune(everything: bool, force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove images that are not used."""
    filters = values.filters(chosen)
    filters.setdefault("dangling", ["false" if everything else "true"])
    if not (force or agreed(_UNUSED if everything else _DANGLING)):
        return
    query = values.filter_query(filters)

    async def work(ask: Asking) -> None:
        body = await ask.client.send("POST", "/images/prune", query)
        if as_json:
            output.raw_json(body)
        else:
            _show(decoded(body, views.Pruned))

    asking.ask(work)


def _show(pruned: views.Pruned) -> None:
    for removal in pruned.ImagesDeleted or ():
        output.line(removal.text)
    output.line(f"Total reclaimed space: {output.size(pruned.SpaceReclaimed)}")
