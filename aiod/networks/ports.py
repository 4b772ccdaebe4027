"""Which ports of the host are given to which container.

Owns the choice, in memory, and dockerd's words for what cannot be had. Whether a port is really
free the kernel says, when a shim binds it: a port of another program is found here only where one
is to be chosen. Nothing here waits, so whoever starts next sees what is taken.
"""

import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from aiod.errors import InternalError
from aiod.native.network.description import Port
from aiod.networks.portrequests import PortRequest

_ANY4, _ANY6 = "0.0.0.0", "::"
_EPHEMERAL = (32768, 60999)
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

Key = tuple[str, str, int]
"""Protocol, the host's address and port."""


class HostPorts:
    """The published ports of all containers; `ephemeral` is what any is chosen from.

    `ipv6` tells whether the host speaks it, so that a port without an address is bound there too.
    """

    def __init__(self, ephemeral: tuple[int, int] = _EPHEMERAL, *, ipv6: bool = True) -> None:
        self._first, self._last = ephemeral
        self._next = self._first
        self._ipv6 = ipv6
        self._taken: set[Key] = set()

    @classmethod
    def of_host(cls) -> "HostPorts":
        """With the host's own settings; reads files."""
        return cls(_ephemeral_range(), ipv6=Path("/proc/sys/net/ipv6/bindv6only").exists())

    def hold(self, ports: Iterable[Port]) -> None:
        """They have been given away before."""
        self._taken.update(map(_key, ports))

    def give_back(self, ports: Iterable[Port]) -> None:
        """They are free again."""
        self._taken.difference_update(map(_key, ports))

    def choose(
        self, requests: Iterable[PortRequest], addresses: tuple[str, str], default: str = ""
    ) -> list[Port]:
        """Ports that are taken from now on; `addresses` are the container's, IPv4 and IPv6, of
        which one may be empty, and `default` where a port is bound that names no address.

        Raises InternalError in dockerd's words, and then none is taken.
        """
        found: list[Port] = []
        try:
            for request in requests:
                ports = self._choose(request, addresses, default)
                self.hold(ports)
                found += ports
        except InternalError:
            self.give_back(found)
            raise
        return found

    def _choose(self, request: PortRequest, addresses: tuple[str, str], default: str) -> list[Port]:
        hosts = self._host_addresses(request.host_address or default)
        for number in self._candidates(request):
            if self._is_free(request.port.protocol, hosts, number, sure=request.is_open):
                return [_port(request, host, number, addresses) for host in hosts]
        if request.is_open:
            raise InternalError("all ports are allocated")
        at = hosts[0] if ":" not in hosts[0] else f"[{hosts[0]}]"
        raise InternalError(f"Bind for {at}:{request.first} failed: port is already allocated")

    def _host_addresses(self, asked: str) -> list[str]:
        if asked:
            return [asked]
        return [_ANY4, _ANY6] if self._ipv6 else [_ANY4]

    def _candidates(self, request: PortRequest) -> Iterator[int]:
        """In turn, so that a port that was just given back is not given away at once."""
        if request.first:
            yield from range(request.first, request.last + 1)
            return
        size = self._last - self._first + 1
        start = self._next - self._first
        for step in range(size):
            number = self._first + (start + step) % size
            self._next = number + 1
            yield number

    def _is_free(self, protocol: str, hosts: Sequence[str], number: int, *, sure: bool) -> bool:
        """Whether nobody of ours has it; `sure` if other programs are to be looked for too."""
        if any((protocol, host, number) in self._taken for host in hosts):
            return False
        return not sure or all(_can_bind(protocol, host, number) for host in hosts)


def endpoint_failure(name: str, endpoint_id: str, reason: str) -> InternalError:
    """What a start answers that cannot have its ports: dockerd's words."""
    return InternalError(
        "driver failed programming external connectivity on endpoint "
        f"{name} ({endpoint_id}): {reason}"
    )


def _key(port: Port) -> Key:
    return port.protocol, port.host_address, port.host_port


def _port(request: PortRequest, host: str, number: int, addresses: Collection[str]) -> Port:
    """Of the container's address of the same family, if it has one."""
    six = ":" in host
    address = min(filter(None, addresses), key=lambda one: (":" in one) != six)
    return Port(request.port.protocol, host, number, address, request.port.number)


def _can_bind(protocol: str, host: str, number: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError:
            return False
    return True


def _ephemeral_range() -> tuple[int, int]:
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return _EPHEMERAL
    return int(first), int(last)
