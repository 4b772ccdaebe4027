"""`aiod container prune`: containers that do not run. Must not know which those are."""

import click

from aiod.cli import pruning, values, views

_STOPPED = "This removes all containers that do not run."


@click.command()
@pruning.options(example="until=24h or label=stage")
def prune(force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove containers that do not run."""
    pruning.prune(
        "containers",
        values.filters(chosen),
        views.ContainersPruned,
        lambda pruned: pruned.ContainersDeleted,
        warning=_STOPPED,
        force=force,
        as_json=as_json,
    )
