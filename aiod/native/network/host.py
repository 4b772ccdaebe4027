"""The links of networks in the host's own namespace: bridges, parents, and what is left of them.

Owns how they are made, told from others' and taken away. A link that we made has the alias that
its maker gave it, and only such links are ever removed. Idempotent: what is there already is
completed. Must not know which networks there should be. Raises NativeError; blocking.
"""

import ipaddress
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from errno import EEXIST, ENODEV
from pathlib import Path

from aiod.native.errors import NativeError
from aiod.native.network import messages, sysctl
from aiod.native.network.messages import Link, Network
from aiod.native.network.netlink import Request, Socket
from aiod.native.network.sandbox import index_of

_INTERFACES = Path("/proc/sys/net/ipv6/conf")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge to be there; `addresses` are the host's on it, `alias` says whose it is."""

    name: str
    alias: str
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()


def ensure_bridge(wanted: Bridge) -> None:
    """Make it, or complete the one that is there; another's is used, and stays another's."""
    with Socket() as kernel:
        found = _find(kernel, wanted.name)
        if found is None:
            kernel.commit(
                [
                    messages.new_bridge(wanted.name, wanted.mac, wanted.mtu),
                    messages.name_link(wanted.name, wanted.alias),
                ]
            )
        elif found.kind != "bridge":
            raise NativeError(f'make the bridge "{wanted.name}"', EEXIST, "it is no bridge")
        _settle(wanted)
        index = index_of(wanted.name)
        kernel.commit(
            [
                *_addresses(index, wanted.name, wanted.addresses),
                messages.raise_link(wanted.name),
            ]
        )


def _addresses(index: int, name: str, texts: Iterable[str]) -> list[Request]:
    return [messages.add_address(index, name, ipaddress.ip_interface(text)) for text in texts]


def _settle(wanted: Bridge) -> None:
    """A host that forwards, and a bridge that takes no advertisement of a router behind it."""
    sysctl.write_if_other("/proc/sys/net/ipv4/ip_forward", "1")
    if any(":" in address for address in wanted.addresses):
        sysctl.write_if_other(sysctl.interface_path("ipv6", wanted.name, "disable_ipv6"), "0")
        forward_ipv6()
    sysctl.write_if_other(sysctl.interface_path("ipv6", wanted.name, "accept_ra"), "0")


def forward_ipv6() -> None:
    """Have the host forward IPv6, without losing what it learns from routers.

    A link that forwards ignores advertisements unless `accept_ra` is 2 (ip-sysctl.rst).
    """
    if sysctl.read("/proc/sys/net/ipv6/conf/all/forwarding") == "1":
        return
    for directory in _INTERFACES.iterdir():
        if directory.name not in ("all", "lo") and sysctl.read(f"{directory}/accept_ra") == "1":
            sysctl.write(f"{directory}/accept_ra", "2")
    for name in ("default", "all"):
        sysctl.write(sysctl.interface_path("ipv6", name, "forwarding"), "1")


def ensure_parent(name: str, alias: str, below: str = "", tag: int = 0) -> None:
    """Have a parent for macvlan and ipvlan links: the VLAN `tag` of the link `below`.

    Without one, a link that leads nowhere. One that is there already is used as it is.
    """
    with Socket() as kernel:
        if _find(kernel, name) is not None:
            return
        made = messages.new_vlan(name, index_of(below), tag) if below else messages.new_dummy(name)
        kernel.commit([made])
        kernel.commit([messages.name_link(name, alias)])


def remove(name: str, alias: str) -> None:
    """Take a link away, if it has that alias, and what is left on it.

    The ends of containers go with their namespaces, which the kernel may not have done yet.
    """
    with Socket() as kernel:
        found = _find(kernel, name)
        if found is None or found.alias != alias:
            return
        left = [link.name for link in _links(kernel) if link.master == found.index]
        kernel.commit([messages.delete_link(one) for one in (*left, name)])


def sweep(ours: Callable[[str], bool], known: Set[str], used: Set[str]) -> list[str]:
    """Take away the links that nobody needs; their names.

    `ours` tells an alias of ours, `known` are the aliases of networks that exist, and `used` the
    names of the links of containers that run: what else is on a bridge of ours is left over.
    """
    with Socket() as kernel:
        links = _links(kernel)
        bridges = {link.index for link in links if link.kind == "bridge" and ours(link.alias)}
        stale = [link for link in links if link.master in bridges and link.name not in used]
        stale += [link for link in links if ours(link.alias) and link.alias not in known]
        kernel.commit([messages.delete_link(link.name) for link in stale])
    return [link.name for link in stale]


def links() -> list[Link]:
    """All links of the host."""
    with Socket() as kernel:
        return _links(kernel)


def subnets() -> set[Network]:
    """What the host's links and routes reach, default routes aside."""
    with Socket() as kernel:
        found = {
            messages.read_address(data)[1].network
            for data in kernel.dump(messages.list_addresses())
        }
        for data in kernel.dump(messages.list_routes()):
            route = messages.read_route(data)
            if route is not None and route.destination.prefixlen:
                found.add(route.destination)
    return found


def _links(kernel: Socket) -> list[Link]:
    return [messages.read_link(data) for data in kernel.dump(messages.list_links())]


def _find(kernel: Socket, name: str) -> Link | None:
    try:
        return messages.read_link(kernel.dump(messages.get_link(name))[0])
    except NativeError as error:
        if error.errno != ENODEV:
            raise
        return None
