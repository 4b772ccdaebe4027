"""Published ports in words, as `ps` and `port` show them. Pure; must not know who asks."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiod.cli import views
from aiod.store.models import PortBinding


@dataclass(frozen=True, slots=True)
class _Run:
    """Ports one after the other with the same host address, from `first` on."""

    first: views.Port
    length: int

    def takes(self, port: views.Port) -> bool:
        first, next_inside = self.first, self.first.PrivatePort + self.length
        if (port.IP, port.Type, port.PrivatePort) != (first.IP, first.Type, next_inside):
            return False
        # As docker has it: what is elsewhere on the host is shown on its own.
        return port.PublicPort in (0, port.PrivatePort) and first.PublicPort in (
            0,
            first.PrivatePort,
        )

    def __str__(self) -> str:
        last = self.first.PrivatePort + self.length - 1
        ports = str(self.first.PrivatePort)
        if self.length > 1:
            ports += f"-{last}"
        inside = f"{ports}/{self.first.Type}"
        if not self.first.PublicPort:
            return inside
        outside = str(self.first.PublicPort) if self.length == 1 else ports
        return f"{_host(self.first.IP)}:{outside}->{inside}"


def column(ports: Iterable[views.Port]) -> str:
    """All of a container's, neighbours together: `0.0.0.0:80->80/tcp, 90-92/udp`."""
    runs: list[_Run] = []
    for port in sorted(ports, key=_order):
        for index, run in enumerate(runs):
            if run.takes(port):
                runs[index] = _Run(run.first, run.length + 1)
                break
        else:
            runs.append(_Run(port, 1))
    return ", ".join(map(str, runs))


def lines(ports: Mapping[str, Sequence[PortBinding] | None]) -> list[str]:
    """`80/tcp -> 0.0.0.0:8080` for each place on the host."""
    return [
        f"{port} -> {place}" for port in sorted(ports, key=_inside) for place in places(ports, port)
    ]


def places(ports: Mapping[str, Sequence[PortBinding] | None], port: str) -> list[str]:
    """Where on the host one port is: `0.0.0.0:8080` each."""
    return [f"{_host(binding.HostIp)}:{binding.HostPort}" for binding in ports.get(port) or ()]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _inside(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return (int(number) if number.isdigit() else 0, protocol)


def _order(port: views.Port) -> tuple[int, int, int, str, int]:
    try:
        address = ipaddress.ip_address(port.IP) if port.IP else None
    except ValueError:
        address = None
    version, number = (address.version, int(address)) if address else (0, 0)
    return (port.PrivatePort, version, number, port.Type, port.PublicPort)
