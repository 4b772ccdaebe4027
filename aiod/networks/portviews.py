"""Published and exposed ports as the API shows them.

Owns the shapes of `NetworkSettings.Ports` and of `Ports` of a listing (Engine API v1.51,
`PortMap`, `PortSummary`); pure.
"""

from collections.abc import Iterable, Sequence

import msgspec

from aiod.native.network.description import Port
from aiod.networks.portrequests import ContainerPort
from aiod.store.models import PortBinding


class PortSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """One port of a container; what is only exposed has no place on the host."""

    PrivatePort: int
    Type: str
    IP: str = ""
    PublicPort: int = 0


def inspected(
    exposed: Iterable[ContainerPort], ports: Iterable[Port]
) -> dict[str, list[PortBinding] | None]:
    """By the container's port, where it is on the host; null for a port that is only exposed."""
    shown: dict[ContainerPort, list[PortBinding] | None] = dict.fromkeys(exposed)
    for port in ports:
        bound = shown.setdefault(_of(port), None)
        binding = PortBinding(port.host_address, str(port.host_port))
        shown[_of(port)] = [*(bound or ()), binding]
    return {str(port): shown[port] for port in sorted(shown)}


def listed(exposed: Iterable[ContainerPort], ports: Sequence[Port]) -> list[PortSummary]:
    """A line for each binding, and for each port that is only exposed."""
    bound = [
        PortSummary(port.port, port.protocol, port.host_address, port.host_port) for port in ports
    ]
    published = {_of(port) for port in ports}
    rest = [PortSummary(one.number, one.protocol) for one in exposed if one not in published]
    return sorted([*bound, *rest], key=lambda one: (one.PrivatePort, one.Type))


def _of(port: Port) -> ContainerPort:
    return ContainerPort(port.port, port.protocol)
