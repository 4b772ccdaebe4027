"""`aiod network create`. Must not know how a network is made."""

from typing import Any

import click
import msgspec

from aiod.cli import asking, completing, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.networkpools import Pool, pools
from aiod.cli.options import many


class Ipam(msgspec.Struct, frozen=True, omit_defaults=True):
    """`IPAM`: who gives addresses, and from where."""

    Driver: str = "default"
    Options: dict[str, str] = {}
    Config: list[Pool] = []


class NetworkBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `POST /networks/create`."""

    Name: str
    Driver: str = ""
    Scope: str = ""
    IPAM: Ipam = Ipam()
    EnableIPv4: bool | None = None
    EnableIPv6: bool | None = None
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigOnly: bool = False
    ConfigFrom: dict[str, str] = {}
    Options: dict[str, str] = {}
    Labels: dict[str, str] = {}


@click.command()
@click.option("-d", "--driver", default="bridge", help="bridge, macvlan or ipvlan.  [bridge]")
@many("--subnet", metavar="ADDRESS/LENGTH", text="A pool of addresses")
@many("--gateway", metavar="ADDRESS", text="The gateway of a pool")
@many("--ip-range", metavar="ADDRESS/LENGTH", text="The part of a pool to give from")
@many("--aux-address", metavar="NAME=ADDRESS", text="An address of a pool not to give")
@click.option("--ipv4/--no-ipv4", "ipv4", default=None, help="IPv4 addresses.  [on]")
@click.option("--ipv6/--no-ipv6", "ipv6", default=None, help="IPv6 addresses, too.  [off]")
@click.option("--internal", is_flag=True, help="No way out of it.")
@click.option("--attachable", is_flag=True, help="For containers not of a service.")
@click.option("--ingress", is_flag=True, help="The routing mesh of a swarm.")
@click.option("--scope", default="", help="local.")
@click.option("--config-only", is_flag=True, help="Settings for other networks.")
@click.option(
    "--config-from",
    default="",
    metavar="NETWORK",
    help="Whose settings to take.",
    shell_complete=completing.networks,
)
@click.option("--ipam-driver", default="default", help="Who gives addresses.  [default]")
@many("--ipam-opt", metavar="NAME=VALUE", text="An option of that driver")
@many("-o", "--opt", metavar="NAME=VALUE", text="An option of the network's driver")
@many("-l", "--label", metavar="NAME=VALUE", text="A label")
@click.option("--json", "as_json", is_flag=True, help="Id and warning as JSON.")
@click.argument("name")
def create(as_json: bool, **options: Any) -> None:
    """Make a network; print its id."""
    body = wanted(options)

    async def work(ask: Asking) -> None:
        answer = await ask.client.send("POST", "/networks/create", body=body)
        if as_json:
            output.raw_json(answer)
            return
        made = decoded(answer, views.NetworkCreated)
        if made.Warning:
            output.warn(made.Warning)
        output.line(made.Id)

    asking.ask(work)


def wanted(options: dict[str, Any]) -> NetworkBody:
    """The network as the options describe it; click.BadParameter for what they cannot mean."""
    auxiliary = values.pairs(options["aux_address"], "--aux-address")
    config = pools(options["subnet"], options["ip_range"], options["gateway"], auxiliary)
    ipam_options = values.pairs(options["ipam_opt"], "--ipam-opt")
    source = options["config_from"]
    return NetworkBody(
        Name=options["name"],
        Driver=options["driver"],
        Scope=options["scope"],
        IPAM=Ipam(options["ipam_driver"], ipam_options, config),
        EnableIPv4=options["ipv4"],
        EnableIPv6=options["ipv6"],
        Internal=options["internal"],
        Attachable=options["attachable"],
        Ingress=options["ingress"],
        ConfigOnly=options["config_only"],
        ConfigFrom={"Network": source} if source else {},
        Options=values.labels(options["opt"]),
        Labels=values.labels(options["label"]),
    )
