"""`aiod port`: where on the host a container's ports are. Must not know how they got there."""

import click

from aiod.cli import asking, completing, output, portlist, views
from aiod.cli.asking import Asking
from aiod.cli.client import container, decoded
from aiod.cli.errors import CliError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As the engine has them, as JSON.")
@click.argument("name", metavar="CONTAINER", shell_complete=completing.containers)
@click.argument("inside", metavar="[PORT[/PROTOCOL]]", default="")
def port(name: str, inside: str, as_json: bool) -> None:
    """Show a container's published ports, or where one of them is."""

    async def work(ask: Asking) -> None:
        body = await ask.client.ask_raw(container(name, "json"))
        ports = decoded(body, views.WithPorts).NetworkSettings.Ports or {}
        if as_json:
            output.json({_whole(inside): ports.get(_whole(inside))} if inside else ports)
            return
        for line in _places(ports, inside) if inside else portlist.lines(ports):
            output.line(line)

    asking.ask(work)


def _whole(inside: str) -> str:
    return inside if "/" in inside else f"{inside}/tcp"


def _places(ports: views.PortMap, inside: str) -> list[str]:
    found = portlist.places(ports, _whole(inside))
    if not found:
        raise CliError(f"no public port '{_whole(inside)}' published")
    return found
