"""`aiod logs`. Must not know where logs are kept."""

import time

import click

from aiod.cli import asking, completing, moments
from aiod.cli.asking import Asking
from aiod.cli.client import container
from aiod.cli.session import show
from aiod.wire.frames import Decoder


def _lines(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value != "all" and not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor all")
    return value


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("-n", "--tail", default="all", metavar="NUMBER", callback=_lines,
              help="Only the last lines.")  # fmt: skip
@click.option("--since", metavar="TIME", help="From a time on: 10m, 2025-01-31T12:00:00Z, seconds.")
@click.option("--until", metavar="TIME", help="Up to a time.")
@click.option("-t", "--timestamps", is_flag=True, help="Each line's time in front.")
@click.argument("name", metavar="CONTAINER", shell_complete=completing.containers)
def logs(
    name: str, follow: bool, tail: str, since: str | None, until: str | None, timestamps: bool
) -> None:
    """Show what a container wrote."""
    now = time.time_ns()
    query = {"stdout": "1", "stderr": "1", "tail": tail}
    query |= {"follow": "1"} if follow else {}
    query |= {"timestamps": "1"} if timestamps else {}
    query |= {"since": moments.when(since, now)} if since else {}
    query |= {"until": moments.when(until, now)} if until else {}

    async def work(ask: Asking) -> None:
        async with ask.client.stream("GET", container(name, "logs"), query) as response:
            framed = response.headers.get("content-type", "").endswith("multiplexed-stream")
            decoder = Decoder() if framed else None
            async for piece in response.pieces():
                await show(piece, decoder)

    asking.ask(work)
