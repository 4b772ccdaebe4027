"""`aiod container prune`: containers that do not run. Must not know which those are."""

import click

from aiod.cli import asking, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.consent import agreed
from aiod.cli.options import filtering

_STOPPED = "This removes all containers that do not run."


@click.command()
@click.option("-f", "--force", is_flag=True, help="Without asking.")
@filtering(example="until=24h or label=stage")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
def prune(force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove containers that do not run."""
    filters = values.filters(chosen)
    if not (force or agreed(_STOPPED)):
        return
    query = values.filter_query(filters)

    async def work(ask: Asking) -> None:
        body = await ask.client.send("POST", "/containers/prune", query)
        if as_json:
            output.raw_json(body)
        else:
            _show(decoded(body, views.ContainersPruned))

    asking.ask(work)


def _show(pruned: views.ContainersPruned) -> None:
    for identity in pruned.ContainersDeleted or ():
        output.line(identity)
    output.line(f"Total reclaimed space: {output.size(pruned.SpaceReclaimed)}")
