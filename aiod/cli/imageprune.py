"""`aiod image prune`: images that nobody needs. Must not know which those are."""

import click

from aiod.cli import pruning, values, views
from aiod.cli.options import flag

_DANGLING = "This removes all images that no name leads to."
_UNUSED = "This removes all images that no container uses."


@click.command()
@flag("-a", "--all", "everything", text="All that no container uses, not only nameless ones.")
@pruning.options(example="until=24h or label=stage")
def prune(everything: bool, force: bool, chosen: tuple[str, ...], as_json: bool) -> None:
    """Remove images that are not used."""
    filters = values.filters(chosen)
    filters.setdefault("dangling", ["false" if everything else "true"])
    pruning.prune(
        "images",
        filters,
        views.ImagesPruned,
        lambda pruned: [removal.text for removal in pruned.ImagesDeleted or ()],
        warning=_UNUSED if everything else _DANGLING,
        force=force,
        as_json=as_json,
    )
