"""`aiod events`. Must not know who records them."""

import time

import click

from aiod.cli import asking, moments, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.options import filtering


@click.command()
@click.option("--since", metavar="TIME", help="From a time on: 10m, 2025-01-31T12:00:00Z, seconds.")
@click.option("--until", metavar="TIME", help="Up to a time, and then end.")
@filtering("-f", example="container=web or event=die")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(since: str | None, until: str | None, chosen: tuple[str, ...], as_json: bool) -> None:
    """Show what happens, as it happens or since a time."""
    now = time.time_ns()
    query = {"since": moments.when(since, now)} if since else {}
    query |= {"until": moments.when(until, now)} if until else {}
    query |= values.filter_query(values.filters(chosen))

    async def work(ask: Asking) -> None:
        async with ask.client.stream("GET", "/events", query) as response:
            async for line in response.lines():
                output.line(line.decode() if as_json else told(decoded(line, views.Event)))

    asking.ask(work)


def told(event: views.Event) -> str:
    """An event on one line, as docker's command has it."""
    attributes = ", ".join(
        f"{key}={value}" for key, value in sorted(event.Actor.Attributes.items())
    )
    about = f"{event.Actor.ID} ({attributes})" if attributes else event.Actor.ID
    return output.printable(f"{moments.local(event.time_ns)} {event.Type} {event.Action} {about}")
