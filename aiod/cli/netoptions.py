"""The options of `run` and `create` on networks, ports and names, as parts of a create's body.

Owns the options' names; what their values mean is told by `portspecs` and `endpoints`.
"""

from collections.abc import Iterable
from typing import Any

import click

from aiod.cli import completing, portspecs
from aiod.cli.endpoints import Joined, Plain, extra_host, joined, link, name_server
from aiod.cli.options import many
from aiod.store.models import Empty

OPTIONS = (
    many("--network", "--net", metavar="NETWORK",
          text="bridge, none, host, container:NAME, a network's name, or "
               "name=NETWORK[,alias=A][,ip=A][,ip6=A][,mac-address=M][,driver-opt=N=V]",
          shell_complete=completing.network_modes),
    many("--network-alias", "--net-alias", metavar="NAME", text="A name on the first network"),
    click.option("--ip", default="", metavar="ADDRESS", help="IPv4 address on that network."),
    click.option("--ip6", default="", metavar="ADDRESS", help="IPv6 address on it."),
    many("--link-local-ip", metavar="ADDRESS", text="A link-local address on it"),
    click.option("--mac-address", default="", metavar="MAC", help="Link address on it."),
    many("--link", metavar="CONTAINER[:ALIAS]", text="Another container by a name of its own",
         shell_complete=completing.containers),
    many("-p", "--publish", metavar="[[IP:][HOST]:]PORT[/PROTOCOL]",
          text="A port, or a range, on the host"),
    click.option("-P", "--publish-all", is_flag=True, help="Every exposed port on the host."),
    many("--expose", metavar="PORT[-PORT][/PROTOCOL]", text="A port that it serves"),
    many("--dns", metavar="ADDRESS", text="A name server"),
    many("--dns-option", "--dns-opt", metavar="OPTION", text="An option of resolv.conf"),
    many("--dns-search", metavar="DOMAIN", text="A domain to look in"),
    many("--add-host", metavar="NAME:ADDRESS", text="A line of /etc/hosts"),
    click.option("--hostname", "-h", default="", help="Its host name."),
    click.option("--domainname", default="", help="Its NIS domain name."),
)  # fmt: skip


def network(options: dict[str, Any]) -> Joined:
    """The networks to join."""
    plain = Plain(
        aliases=options["network_alias"],
        ip=options["ip"],
        ip6=options["ip6"],
        link_local=options["link_local_ip"],
        links=_links(options),
        mac_address=options["mac_address"],
    )
    return joined(options["network"], plain)


def config(options: dict[str, Any]) -> dict[str, Any]:
    """Members of `Config`."""
    found = {"Hostname": options["hostname"], "Domainname": options["domainname"]}
    ports: Empty = {port: {} for port in _exposed(options)}
    return found | ({"ExposedPorts": ports} if ports else {})


def host(options: dict[str, Any]) -> dict[str, Any]:
    """Members of `HostConfig`, but for `NetworkMode`."""
    return {
        "PortBindings": portspecs.published(options["publish"]) or None,
        "PublishAllPorts": options["publish_all"],
        "Links": _links(options) or None,
        "Dns": [name_server(text) for text in options["dns"]] or None,
        "DnsOptions": list(options["dns_option"]) or None,
        "DnsSearch": list(options["dns_search"]) or None,
        "ExtraHosts": [extra_host(text) for text in options["add_host"]] or None,
    }


def _links(options: dict[str, Any]) -> list[str]:
    return [link(text) for text in options["link"]]


def _exposed(options: dict[str, Any]) -> Iterable[str]:
    return (*portspecs.published(options["publish"]), *portspecs.exposed(options["expose"]))
