"""The text of our nftables table, for nft(8).

Owns which chains, maps and sets there are and what the rules say; pure. Must not know how a text
gets to the kernel. The rules never change: networks and published ports are elements.

What is published comes from other hosts by way of `prerouting`, from this one by `output`. What
comes from our own bridges is not translated: it reaches the proxy that listens on the host, so
that a container has its own published ports and those on other networks, as have the loopback and
link-local addresses, which cannot be routed. Between bridges, and from outside to a port that is
not published, nothing is forwarded.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aiod.native.network.description import Port

ANY = frozenset({"0.0.0.0", "::"})
PROTOCOLS = {"tcp": 6, "udp": 17}

_TABLE = """\
table inet {table} {{
	map published4 {{
		type inet_proto . inet_service : ipv4_addr . inet_service
	}}
	map published4_at {{
		type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
	}}
	map published6 {{
		type inet_proto . inet_service : ipv6_addr . inet_service
	}}
	map published6_at {{
		type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service
	}}
	map within {{
		type ifname . ifname : verdict
	}}
	set bridges {{
		type ifname
	}}
	set internal {{
		type ifname
	}}
	set open {{
		type ifname
	}}
	set masquerade4 {{
		type ipv4_addr
		flags interval
	}}
	set masquerade6 {{
		type ipv6_addr
		flags interval
	}}
	chain published {{
		dnat ip to meta l4proto . ip daddr . th dport map @published4_at
		dnat ip to meta l4proto . th dport map @published4
		dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6_at
		dnat ip6 to meta l4proto . th dport map @published6
	}}
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		iifname @bridges return
		ip6 saddr fe80::/10 return
		fib daddr type local jump published
	}}
	chain output {{
		type nat hook output priority -100; policy accept;
		ip daddr 127.0.0.0/8 return
		ip6 daddr {{ ::1, fe80::/10 }} return
		fib daddr type local jump published
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname @bridges return
		ip saddr @masquerade4 masquerade
		ip6 saddr @masquerade6 masquerade
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname . oifname vmap @within
		iifname @internal drop
		oifname @internal drop
		oifname != @bridges accept
		iifname @bridges drop
		ct status dnat accept
		oifname @open accept
		drop
	}}
}}
"""


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """What the rules are to know of one network on a bridge.

    What comes from `masqueraded` networks (with their prefix lengths) leaves under the host's
    address; an `internal` network has no way out nor in; with `apart` its containers do not reach
    each other; an `open` one is reached from outside at every port (`nat-unprotected`).
    """

    bridge: str
    masqueraded: tuple[str, ...] = ()
    internal: bool = False
    apart: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """One element of a map of published ports; of an address only where it is bound to one."""

    map: str
    protocol: str
    host_address: str
    host_port: int
    address: str
    port: int

    @property
    def text(self) -> str:
        """The element as nft(8) reads it."""
        at = f"{self.host_address} . " if self.host_address else ""
        return f"{self.protocol} . {at}{self.host_port} : {self.address} . {self.port}"


def mapping_of(port: Port) -> Mapping | None:
    """The element of a published port; None for one that only the proxy can serve.

    That is one on a loopback or link-local address, or with a container of the other family.
    """
    there, here = ipaddress.ip_address(port.address), ipaddress.ip_address(port.host_address)
    if there.version != here.version or here.is_loopback or here.is_link_local:
        return None
    anywhere = port.host_address in ANY
    name = f"published{here.version}" + ("" if anywhere else "_at")
    at = "" if anywhere else str(here)
    return Mapping(name, port.protocol, at, port.host_port, str(there), port.port)


def whole(table: str, networks: Iterable[NetworkRules], ports: Iterable[Port]) -> str:
    """The table with all its elements, in place of whatever was there under its name."""
    replace = f"table inet {table}\ndelete table inet {table}\n"
    lines = [*_elements_of_ports(table, ports), *_elements_of_networks(table, networks)]
    return replace + _TABLE.format(table=table) + "".join(f"add {line}\n" for line in lines)


def added(table: str, network: NetworkRules) -> str:
    """Commands that add one network's elements."""
    return "".join(f"add {line}\n" for line in _elements_of_networks(table, (network,)))


def removed(table: str, network: NetworkRules) -> str:
    """Commands that take one network's elements away."""
    return "".join(f"delete {line}\n" for line in _elements_of_networks(table, (network,)))


def _elements_of_ports(table: str, ports: Iterable[Port]) -> Iterator[str]:
    mappings = {mapping for port in ports if (mapping := mapping_of(port)) is not None}
    for mapping in sorted(mappings, key=lambda one: (one.map, one.text)):
        yield f"element inet {table} {mapping.map} {{ {mapping.text} }}"


def _elements_of_networks(table: str, networks: Iterable[NetworkRules]) -> Iterator[str]:
    for network in networks:
        for name, element in _of_network(network):
            yield f"element inet {table} {name} {{ {element} }}"


def _of_network(network: NetworkRules) -> Iterator[tuple[str, str]]:
    bridge = f'"{network.bridge}"'
    yield "bridges", bridge
    yield "within", f"{bridge} . {bridge} : {'drop' if network.apart else 'accept'}"
    if network.internal:
        yield "internal", bridge
    if network.open:
        yield "open", bridge
    for subnet in network.masqueraded:
        version = ipaddress.ip_network(subnet).version
        yield f"masquerade{version}", subnet
