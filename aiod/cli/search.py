"""`aiod search`. Must not know who is searched."""

import click

from aiod.cli import asking, output, values, views
from aiod.cli.client import decoded

_TITLES = ("NAME", "DESCRIPTION", "STARS", "OFFICIAL")
_DESCRIPTION_WIDTH = 45


@click.command()
@click.option("--limit", type=click.IntRange(1, 100), help="Most results.")
@click.option("-f", "--filter", "chosen", multiple=True, metavar="NAME=VALUE",
              help="Such as stars=3 or is-official=true (repeatable).")  # fmt: skip
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("term")
def search(
    term: str, limit: int | None, chosen: tuple[str, ...], no_trunc: bool, as_json: bool
) -> None:
    """Search for images by name."""
    query = {"term": term}
    if limit is not None:
        query["limit"] = str(limit)
    query |= values.filter_query(values.filters(chosen))

    def show(body: bytes) -> None:
        found = decoded(body, list[views.SearchResult])
        output.table(_TITLES, [_cells(result, no_trunc) for result in found])

    asking.show("/images/search", query, show, as_json=as_json)


def _cells(result: views.SearchResult, no_trunc: bool) -> tuple[str, ...]:
    words = " ".join(result.description.split())
    return (
        result.name,
        words if no_trunc else output.cut(words, _DESCRIPTION_WIDTH),
        str(result.star_count),
        "[OK]" if result.is_official else "",
    )
