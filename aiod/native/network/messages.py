"""The rtnetlink messages that networks need, and what answers say: bytes in and out, pure.

Owns each message's attributes and what it is called when it fails. Source: rtnetlink(7),
`linux/if_link.h`. Marshalled by pyroute2's message classes.
"""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiod.native.network import wire
from aiod.native.network.netlink import (
    ACK,
    CREATE,
    DUMP,
    EXCL,
    EXISTS,
    GONE,
    HEADER,
    REPLACE,
    REQUEST,
    Request,
)

_NEW_LINK, _DEL_LINK, _GET_LINK, _SET_LINK = 16, 17, 18, 19
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_UP = 0x1  # IFF_UP
_NO_DAD = 0x2  # IFA_F_NODAD
_INET, _INET6 = 2, 10
_MAIN, _BOOT, _UNICAST = 254, 3, 1
_LINK_SCOPE = 253
_SKIP_STATISTICS = 0x8  # RTEXT_FILTER_SKIP_STATS
_BRIDGE = 7  # AF_BRIDGE
_PROTOCOL_INFO, _PORT_ISOLATED = 12 | 0x8000, 33  # IFLA_PROTINFO, IFLA_BRPORT_ISOLATED

Attributes = list[tuple[str, Any]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel has it; `master` is the index of its bridge, 0 for none."""

    index: int
    name: str
    kind: str = ""
    alias: str = ""
    master: int = 0
    mac: str = ""
    mtu: int = 0
    up: bool = False


def _message(made: Any, kind: int, flags: int, fields: Mapping[str, int], attrs: Attributes) -> Any:
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = attrs
    made["header"]["type"] = kind
    made["header"]["flags"] = REQUEST | flags
    made.encode()
    return bytes(made.data)


def _link(kind: int, flags: int, attrs: Attributes, index: int = 0, up: bool | None = None) -> Any:
    fields = {"index": index, "flags": _UP if up else 0, "change": 0 if up is None else _UP}
    return _message(wire.ifinfmsg(), kind, ACK | flags, fields, attrs)


def _common(name: str, mac: str, mtu: int) -> Attributes:
    attrs: Attributes = [("IFLA_IFNAME", name)]
    if mac:
        attrs.append(("IFLA_ADDRESS", mac))
    if mtu:
        attrs.append(("IFLA_MTU", mtu))
    return attrs


def _info(kind: str, data: Attributes | None = None) -> tuple[str, Any]:
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    if data is not None:
        info.append(("IFLA_INFO_DATA", {"attrs": data}))
    return "IFLA_LINKINFO", {"attrs": info}


def new_bridge(name: str, mac: str = "", mtu: int = 0) -> Request:
    """Make a bridge, which is down."""
    data = _link(_NEW_LINK, CREATE | EXCL, [*_common(name, mac, mtu), _info("bridge")])
    return Request(f'make the bridge "{name}"', data)


def new_dummy(name: str) -> Request:
    """Make a link that leads nowhere, and bring it up."""
    data = _link(_NEW_LINK, CREATE | EXCL, [*_common(name, "", 0), _info("dummy")], up=True)
    return Request(f'make the dummy link "{name}"', data)


def new_vlan(name: str, parent: int, tag: int) -> Request:
    """Make the link of one VLAN (802.1Q) of `parent`, and bring it up."""
    info = _info("vlan", [("IFLA_VLAN_ID", tag)])
    attrs = [*_common(name, "", 0), ("IFLA_LINK", parent), info]
    data = _link(_NEW_LINK, CREATE | EXCL, attrs, up=True)
    return Request(f'make the VLAN link "{name}"', data)


@dataclass(frozen=True, slots=True)
class Inner:
    """A link to be made in a namespace, `namespace` being a descriptor of that."""

    namespace: int
    name: str
    mac: str = ""
    mtu: int = 0


def new_veth(host_name: str, bridge: int, inner: Inner) -> Request:
    """Make a veth pair: an end on the bridge of that index, up, and one in the namespace, down."""
    peer = [("IFLA_NET_NS_FD", inner.namespace), *_common(inner.name, inner.mac, inner.mtu)]
    attrs = [
        *_common(host_name, "", inner.mtu),
        ("IFLA_MASTER", bridge),
        _info("veth", [("VETH_INFO_PEER", {"attrs": peer})]),
    ]
    data = _link(_NEW_LINK, CREATE | EXCL, attrs, up=True)
    return Request(f'make the veth pair "{host_name}" and "{inner.name}"', data)


def isolate(index: int, name: str) -> Request:
    """Have the bridge carry nothing between this port and others that are isolated, too.

    Unlike a rule of ours for it, that needs no br_netfilter (bridge(8), `isolated`).
    """
    option = struct.pack("=HHB3x", 5, _PORT_ISOLATED, 1)
    nested = struct.pack("=HH", 4 + len(option), _PROTOCOL_INFO) + option
    body = struct.pack("=BxHiII", _BRIDGE, 0, index, 0, 0) + nested
    head = HEADER.pack(HEADER.size + len(body), _SET_LINK, REQUEST | ACK, 0, 0)
    return Request(f'isolate "{name}"', head + body)


def new_macvlan(parent: int, mode: str, inner: Inner) -> Request:
    """Make a macvlan link of the link of index `parent` in the namespace, down."""
    return _new_upper("macvlan", [("IFLA_MACVLAN_MODE", mode or "bridge")], parent, inner)


_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}


def new_ipvlan(parent: int, mode: str, inner: Inner) -> Request:
    """Make an ipvlan link of the link of index `parent` in the namespace, down."""
    return _new_upper("ipvlan", [("IFLA_IPVLAN_MODE", _IPVLAN_MODES[mode or "l2"])], parent, inner)


def _new_upper(kind: str, data: Attributes, parent: int, inner: Inner) -> Request:
    attrs = [
        *_common(inner.name, inner.mac if kind == "macvlan" else "", inner.mtu),
        ("IFLA_LINK", parent),
        ("IFLA_NET_NS_FD", inner.namespace),
        _info(kind, data),
    ]
    made = _link(_NEW_LINK, CREATE | EXCL, attrs)
    return Request(f'make the {kind} link "{inner.name}"', made)


def name_link(name: str, alias: str) -> Request:
    """Give a link its alias."""
    data = _link(_SET_LINK, 0, [("IFLA_IFNAME", name), ("IFLA_IFALIAS", alias)])
    return Request(f'set the alias of "{name}"', data)


def raise_link(name: str) -> Request:
    """Bring a link up."""
    return Request(f'bring "{name}" up', _link(_SET_LINK, 0, [("IFLA_IFNAME", name)], up=True))


def delete_link(name: str) -> Request:
    """Take a link away; it may be gone already."""
    data = _link(_DEL_LINK, 0, [("IFLA_IFNAME", name)])
    return Request(f'remove the link "{name}"', data, GONE)


def add_address(index: int, name: str, address: Interface) -> Request:
    """Give the link of that index an address, at once in use; it may have it already."""
    local = str(address.ip)
    attrs: Attributes = [("IFA_LOCAL", local), ("IFA_ADDRESS", local)]
    if address.version == 4 and address.network.prefixlen < 31:
        attrs.append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    if address.version == 6:
        attrs.append(("IFA_FLAGS", _NO_DAD))
    fields = {
        "family": _INET if address.version == 4 else _INET6,
        "prefixlen": address.network.prefixlen,
        "index": index,
    }
    data = _message(wire.ifaddrmsg(), _NEW_ADDRESS, ACK | CREATE | EXCL, fields, attrs)
    return Request(f'add the address {address} to "{name}"', data, EXISTS)


def add_route(index: int, name: str, destination: Network, gateway: str) -> Request:
    """Add a route by the link of that index, in place of an equal one."""
    return _route(_NEW_ROUTE, CREATE | REPLACE, "add", index, name, destination, gateway)


def delete_route(index: int, name: str, destination: Network, gateway: str) -> Request:
    """Take a route away; it may be gone already."""
    made = _route(_DEL_ROUTE, 0, "remove", index, name, destination, gateway)
    return Request(made.step, made.data, (3, *GONE))  # ESRCH: there is none


def _route(
    kind: int, flags: int, verb: str, index: int, name: str, destination: Network, gateway: str
) -> Request:
    attrs: Attributes = [("RTA_OIF", index)]
    if destination.prefixlen:
        attrs.append(("RTA_DST", str(destination.network_address)))
    if gateway:
        attrs.append(("RTA_GATEWAY", gateway))
    fields = {
        "family": _INET if destination.version == 4 else _INET6,
        "dst_len": destination.prefixlen,
        "table": _MAIN,
        "proto": _BOOT,
        "scope": 0 if gateway else _LINK_SCOPE,
        "type": _UNICAST,
    }
    data = _message(wire.rtmsg(), kind, ACK | flags, fields, attrs)
    way = f"via {gateway}" if gateway else f'by "{name}"'
    return Request(f"{verb} the route to {destination} {way}", data)


def get_link(name: str) -> Request:
    """Ask for one link."""
    attrs: Attributes = [("IFLA_IFNAME", name), ("IFLA_EXT_MASK", _SKIP_STATISTICS)]
    return Request(f'find the link "{name}"', _link(_GET_LINK, 0, attrs))


def list_links() -> Request:
    """Ask for all links."""
    attrs: Attributes = [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
    return Request("list links", _message(wire.ifinfmsg(), _GET_LINK, DUMP, {}, attrs))


def list_addresses() -> Request:
    """Ask for all addresses."""
    return Request("list addresses", _message(wire.ifaddrmsg(), _GET_ADDRESS, DUMP, {}, []))


def list_routes() -> Request:
    """Ask for all routes."""
    return Request("list routes", _message(wire.rtmsg(), _GET_ROUTE, DUMP, {}, []))


def read_link(data: bytes) -> Link:
    """A link of the answer to `get_link` or `list_links`."""
    told = wire.ifinfmsg(data)
    told.decode()
    info = told.get_attr("IFLA_LINKINFO")
    return Link(
        told["index"],
        told.get_attr("IFLA_IFNAME") or "",
        (info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        told.get_attr("IFLA_IFALIAS") or "",
        told.get_attr("IFLA_MASTER") or 0,
        told.get_attr("IFLA_ADDRESS") or "",
        told.get_attr("IFLA_MTU") or 0,
        bool(told["flags"] & _UP),
    )


def read_address(data: bytes) -> tuple[int, Interface]:
    """The index of a link and an address of it, of the answer to `list_addresses`."""
    told = wire.ifaddrmsg(data)
    told.decode()
    local = told.get_attr("IFA_LOCAL") or told.get_attr("IFA_ADDRESS")
    return told["index"], ipaddress.ip_interface(f"{local}/{told['prefixlen']}")


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """A route of the main table as the kernel has it; `index` is of its link, 0 for none."""

    destination: Network
    gateway: str
    index: int


def read_route(data: bytes) -> KnownRoute | None:
    """A route of the answer to `list_routes`; None for one that is not of the main table."""
    told = wire.rtmsg(data)
    told.decode()
    if told["table"] != _MAIN or told["type"] != _UNICAST:
        return None
    everything = "0.0.0.0" if told["family"] == _INET else "::"
    destination = ipaddress.ip_network(
        f"{told.get_attr('RTA_DST') or everything}/{told['dst_len']}"
    )
    return KnownRoute(
        destination, told.get_attr("RTA_GATEWAY") or "", told.get_attr("RTA_OIF") or 0
    )
