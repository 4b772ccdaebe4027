"""Gives a container's network namespace what its description says.

Owns the order of the steps: the host's part first (`attach`), then the part inside (`configure`,
by a thread that is in the namespace). Every link made here is gone with the namespace, so whoever
ends that undoes all of it. Must not know who chose names and addresses. Raises NativeError, which
names the step that failed.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence

import msgspec

from aiod.native.errors import NativeError
from aiod.native.network import messages, namespace, sysctl
from aiod.native.network.description import Interface, Route, Sandbox
from aiod.native.network.netlink import Request, Socket

_LOOPBACK = "lo"


def apply(wanted: Sandbox, descriptor: int) -> None:
    """All of it, from the host's namespace, by a process that ends when this fails.

    It may be in the wrong namespace then.
    """
    if wanted.interfaces:
        attach(wanted.interfaces, descriptor)
    here = namespace.open_of(os.getpid())
    try:
        namespace.enter(descriptor)
        configure(wanted)
        namespace.enter(here)
    finally:
        os.close(here)


def attach(interfaces: Sequence[Interface], descriptor: int) -> None:
    """Make the links in the namespace of a descriptor; they are down there yet."""
    with Socket() as kernel:
        kernel.commit([_new_link(one, descriptor) for one in interfaces])
        isolated = [one.host_name for one in interfaces if one.isolated and one.host_name]
        kernel.commit([messages.isolate(index_of(name), name) for name in isolated])


def configure(wanted: Sandbox) -> None:
    """Bring the links up, with their addresses and routes, in the calling thread's namespace."""
    with Socket() as kernel:
        kernel.commit([messages.raise_link(_LOOPBACK)])
        join(kernel, wanted.interfaces, wanted.routes)
    for key, value in wanted.sysctls.items():
        sysctl.write(sysctl.path_of(key), value)


def join(kernel: Socket, interfaces: Iterable[Interface], routes: Iterable[Route]) -> None:
    """Set up links that were made in the namespace of `kernel`, which is the calling thread's."""
    requests: list[Request] = []
    for one in interfaces:
        _settle(one)
        index = index_of(one.name)
        requests += [
            messages.add_address(index, one.name, ipaddress.ip_interface(address))
            for address in one.addresses
        ]
        requests.append(messages.raise_link(one.name))
    kernel.commit([*requests, *map(add_route, routes)])


def add_route(route: Route) -> Request:
    """The request that adds a route in the calling thread's namespace."""
    index = index_of(route.interface)
    destination = ipaddress.ip_network(route.destination)
    return messages.add_route(index, route.interface, destination, route.gateway)


def delete_route(route: Route) -> Request:
    """The request that takes a route away in the calling thread's namespace."""
    index = index_of(route.interface)
    destination = ipaddress.ip_network(route.destination)
    return messages.delete_route(index, route.interface, destination, route.gateway)


def index_of(name: str) -> int:
    """The index of a link in the calling thread's namespace. Raises NativeError."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise NativeError(f'find the link "{name}"', error.errno or 19) from error


def warm() -> None:
    """In a template: have made what the first use of a message, a struct or a table makes."""
    inner = messages.Inner(0, "eth0", "02:42:ac:11:00:02", 1500)
    messages.new_veth("veth0", 1, inner), messages.raise_link("eth0")
    for text in ("172.17.0.2/16", "fd00::2/64"):
        address = ipaddress.ip_interface(text)
        messages.add_address(1, "eth0", address)
        messages.add_route(1, "eth0", ipaddress.ip_network(address.network), str(address.ip))
    sample = Sandbox((Interface("n", "eth0"),), (Route("0.0.0.0/0", "172.17.0.1", "eth0"),))
    decode(msgspec.json.encode(sample))


def decode(data: bytes) -> Sandbox:
    """A description from the text of its file. Raises MsgspecError."""
    return msgspec.json.decode(data, type=Sandbox)


def _new_link(one: Interface, descriptor: int) -> Request:
    inner = messages.Inner(descriptor, one.name, one.mac, one.mtu)
    parent = index_of(one.parent)
    if one.kind == "macvlan":
        return messages.new_macvlan(parent, one.mode, inner)
    if one.kind == "ipvlan":
        return messages.new_ipvlan(parent, one.mode, inner)
    return messages.new_veth(one.host_name, parent, inner)


def _settle(one: Interface) -> None:
    """A link's own settings, before it comes up: without an address it does not speak IPv6."""
    if not any(":" in address for address in one.addresses):
        sysctl.write_if_other(sysctl.interface_path("ipv6", one.name, "disable_ipv6"), "1")
    for key, value in one.sysctls.items():
        family, _, name = key.partition("/")
        sysctl.write(sysctl.interface_path(family, one.name, name), value)
