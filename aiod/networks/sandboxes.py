"""What is on record of a container's ends of networks, as a description for who makes them.

Owns which end has the gateway. Pure; must not know how anything is made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiod.native.network.description import Interface, Route, Sandbox
from aiod.networks import model
from aiod.store.networkrecords import Assigned, EndpointRecord, NetworkRecord

_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class End:
    """An end of a network that has what it needs."""

    network: NetworkRecord
    endpoint: EndpointRecord
    has: Assigned

    def address(self, version: int) -> str:
        """Its address of that family, with the prefix length; empty for none."""
        return self.has.ipv4 if version == 4 else self.has.ipv6

    def gateway(self, version: int) -> str:
        """Its gateway of that family; empty for none."""
        return model.gateway(self.network, self.address(version))


def of_gateway(ends: Iterable[End], version: int) -> End | None:
    """The end that leads elsewhere: the highest priority, and then Docker's order.

    Two families are better than one, and the network's name decides (Engine API v1.51,
    `EndpointSettings.GwPriority`).
    """
    leading = [end for end in ends if end.gateway(version)]

    def rank(end: End) -> tuple[int, int, str]:
        families = sum(bool(end.gateway(one)) for one in (4, 6))
        return -end.endpoint.settings.GwPriority, -families, end.network.name

    return min(leading, key=rank, default=None)


def describe(ends: Sequence[End], table: str) -> Sandbox:
    """All of a container's own namespace; `table` is the daemon's, in nftables."""
    linked = [end for end in ends if end.has.interface]
    routes = []
    for version, anywhere in _ANYWHERE.items():
        end = of_gateway(linked, version)
        if end is not None:
            routes.append(Route(anywhere, end.gateway(version), end.has.interface))
    bridged = any(end.network.driver == model.BRIDGE for end in linked)
    return Sandbox(
        interfaces=tuple(map(_interface, linked)),
        routes=tuple(routes),
        ports=tuple(port for end in linked for port in end.has.ports),
        table=table if bridged else "",
        resolver=any(not model.is_built_in(end.network) for end in linked),
    )


def _interface(end: End) -> Interface:
    network, has = end.network, end.has
    return Interface(
        network=network.id,
        name=has.interface,
        kind=network.driver,
        parent=network.link,
        host_name=has.host_link,
        mac=has.mac if network.driver != model.IPVLAN else "",
        addresses=(*filter(None, (has.ipv4, has.ipv6)), *_link_local(end)),
        mtu=model.mtu(network),
        mode=_mode(network),
        sysctls=_sysctls(end),
        isolated=model.is_off(network, model.ICC),
    )


def _link_local(end: End) -> list[str]:
    """Those asked for, with their prefix lengths (RFC 3927, RFC 4291 2.5.6)."""
    asked = end.endpoint.settings.IPAMConfig
    return [f"{text}/{64 if ':' in text else 16}" for text in (asked and asked.LinkLocalIPs) or ()]


def _mode(network: NetworkRecord) -> str:
    if network.driver == model.MACVLAN:
        return network.options.get(model.MACVLAN_MODE) or "bridge"
    if network.driver == model.IPVLAN:
        return network.options.get(model.IPVLAN_MODE) or "l2"
    return ""


def _sysctls(end: End) -> dict[str, str]:
    """`net.ipv4.conf.IFNAME.rp_filter=2,...` by family and name."""
    asked = (end.endpoint.settings.DriverOpts or {}).get(model.INTERFACE_SYSCTLS, "")
    found = {}
    for setting in filter(None, asked.split(",")):
        key, _, value = setting.partition("=")
        _, family, _, _, name = key.strip().split(".", 4)
        found[f"{family}/{name}"] = value
    return found
