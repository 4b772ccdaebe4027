"""`aiod network connect` and `disconnect`. Must not know how a container is joined."""

from typing import Any

import click
import msgspec

from aiod.cli import asking, client, completing, values
from aiod.cli.asking import Asking
from aiod.cli.endpoints import Plain, endpoint, link
from aiod.cli.options import many
from aiod.store.models import EndpointSettings


class Connect(msgspec.Struct, frozen=True):
    """The body of connect."""

    Container: str
    EndpointConfig: EndpointSettings


class Disconnect(msgspec.Struct, frozen=True):
    """The body of disconnect."""

    Container: str
    Force: bool


_NETWORK = click.argument("network", shell_complete=completing.networks)
_CONTAINER = click.argument("container", shell_complete=completing.containers)


@click.command()
@many("--alias", metavar="NAME", text="A name on this network")
@click.option("--ip", default="", metavar="ADDRESS", help="IPv4 address.")
@click.option("--ip6", default="", metavar="ADDRESS", help="IPv6 address.")
@many(
    "--link",
    metavar="CONTAINER[:ALIAS]",
    text="Another container by a name of its own",
    shell_complete=completing.containers,
)
@many("--link-local-ip", metavar="ADDRESS", text="A link-local address")
@many("--driver-opt", metavar="NAME=VALUE", text="An option of the network's driver")
@click.option("--gw-priority", type=int, default=0, help="The highest has the default gateway.")
@_NETWORK
@_CONTAINER
def connect(network: str, container: str, **options: Any) -> None:
    """Join a container to a network."""
    plain = Plain(
        aliases=options["alias"],
        ip=options["ip"],
        ip6=options["ip6"],
        link_local=options["link_local_ip"],
        links=[link(text) for text in options["link"]],
    )
    driver = values.pairs(options["driver_opt"], "--driver-opt")
    _send(network, "connect", Connect(container, endpoint(plain, driver, options["gw_priority"])))


@click.command()
@click.option("-f", "--force", is_flag=True, help="Although the container cannot be told.")
@_NETWORK
@_CONTAINER
def disconnect(network: str, container: str, force: bool) -> None:
    """Take a container off a network."""
    _send(network, "disconnect", Disconnect(container, force))


def _send(network: str, verb: str, body: msgspec.Struct) -> None:
    async def work(ask: Asking) -> None:
        await ask.client.send("POST", client.network(network, verb), body=body)

    asking.ask(work)
