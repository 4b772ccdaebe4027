"""What a container has of networks, in Docker's words: `NetworkSettings` and the list's `Ports`.

Owns the shapes (Engine API v1.51, `EndpointSettings`, `NetworkSettings`). Must not know how
anything is chosen.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from aiod.native.network.description import Port
from aiod.networks import model
from aiod.networks.names import dns_names
from aiod.networks.portrequests import ContainerPort, exposed
from aiod.networks.portviews import PortSummary, inspected, listed
from aiod.networks.sandboxes import End
from aiod.networks.service import NetworkService
from aiod.store.models import IpamConfig, PortBinding
from aiod.store.networkrecords import EndpointRecord
from aiod.store.records import ContainerRecord, Status

_ALIVE = frozenset({Status.RUNNING, Status.PAUSED})
_SHORT_ID = 12


class Endpoint(msgspec.Struct, frozen=True):
    """A container's end of a network: what was asked, and what it has while it runs."""

    IPAMConfig: IpamConfig | None
    Links: list[str] | None
    Aliases: list[str] | None
    MacAddress: str
    DriverOpts: dict[str, str] | None
    GwPriority: int
    NetworkID: str
    EndpointID: str = ""
    Gateway: str = ""
    IPAddress: str = ""
    IPPrefixLen: int = 0
    IPv6Gateway: str = ""
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    DNSNames: list[str] | None = None


class NetworkSettings(msgspec.Struct, frozen=True):
    """`NetworkSettings` of `inspect`; the single addresses are those on the default network."""

    Networks: dict[str, Endpoint]
    SandboxKey: str
    SandboxID: str = ""
    Ports: Mapping[str, list[PortBinding] | None] = {}
    Bridge: str = ""
    HairpinMode: bool = False
    LinkLocalIPv6Address: str = ""
    LinkLocalIPv6PrefixLen: int = 0
    SecondaryIPAddresses: None = None
    SecondaryIPv6Addresses: None = None
    EndpointID: str = ""
    Gateway: str = ""
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    IPAddress: str = ""
    IPPrefixLen: int = 0
    IPv6Gateway: str = ""
    MacAddress: str = ""


class EndpointViews:
    """The views of one daemon's containers."""

    def __init__(self, networks: NetworkService) -> None:
        self._networks = networks

    def settings(self, record: ContainerRecord) -> NetworkSettings:
        """Of `inspect`."""
        networks, alive = self.networks(record), record.state.status in _ALIVE
        default = networks.get(model.DEFAULT)
        return NetworkSettings(
            Networks=networks,
            SandboxKey=f"/proc/{record.state.pid}/ns/net" if alive else "",
            SandboxID=_sandbox_id(record) if alive and not _is_joined(record) else "",
            Ports=inspected(self._exposed(record), self._ports(record)) if alive else {},
            EndpointID=default.EndpointID if default else "",
            Gateway=default.Gateway if default else "",
            GlobalIPv6Address=default.GlobalIPv6Address if default else "",
            GlobalIPv6PrefixLen=default.GlobalIPv6PrefixLen if default else 0,
            IPAddress=default.IPAddress if default else "",
            IPPrefixLen=default.IPPrefixLen if default else 0,
            IPv6Gateway=default.IPv6Gateway if default else "",
            MacAddress=default.MacAddress if default else "",
        )

    def basis(self, record: ContainerRecord) -> tuple[object, ...]:
        """All that `settings` takes from elsewhere: while it is the same, so are those."""
        rows = self._networks.endpoints(record.id)
        known = [self._networks.is_known(row.network_id) for row in rows]
        return rows, known, self._networks.ends(record.id)

    def networks(self, record: ContainerRecord) -> dict[str, Endpoint]:
        """By their names, the first joined first."""
        has = {end.endpoint.network_id: end for end in self._networks.ends(record.id)}
        return {
            row.network_name: self._endpoint(record, row, has.get(row.network_id))
            for row in self._networks.endpoints(record.id)
        }

    def asked_mac(self, record: ContainerRecord) -> str:
        """The address asked for on the network of its mode; empty for none."""
        rows = self._networks.endpoints(record.id)
        asked = (row for row in rows if row.network_name == record.network_mode)
        return next((row.settings.MacAddress for row in asked), "")

    def ports(self, record: ContainerRecord) -> list[PortSummary]:
        """Of a row of the list."""
        if record.state.status not in _ALIVE:
            return []
        return listed(self._exposed(record), self._ports(record))

    def is_on(self, record: ContainerRecord, reference: str) -> bool:
        """Whether it is on the network of that name or id; the beginning of an id is enough."""
        return any(
            reference == row.network_name or (reference and row.network_id.startswith(reference))
            for row in self._networks.endpoints(record.id)
        )

    def _exposed(self, record: ContainerRecord) -> "Exposed":
        """Only an end of a bridge has ports to tell of."""
        bridged = any(end.network.driver == model.BRIDGE for end in self._networks.ends(record.id))
        return exposed(record.config, record.host) if bridged else []

    def _ports(self, record: ContainerRecord) -> "Ports":
        return [port for end in self._networks.ends(record.id) for port in end.has.ports]

    def _endpoint(self, record: ContainerRecord, row: EndpointRecord, end: End | None) -> Endpoint:
        asked = row.settings
        bare = Endpoint(
            IPAMConfig=asked.IPAMConfig,
            Links=asked.Links,
            Aliases=asked.Aliases,
            MacAddress=asked.MacAddress,
            DriverOpts=asked.DriverOpts,
            GwPriority=asked.GwPriority,
            NetworkID=row.network_id if self._networks.is_known(row.network_id) else "",
            DNSNames=_dns_names(record, row),
        )
        return _with_addresses(bare, end) if end else bare


Ports = list[Port]
Exposed = list[ContainerPort]


def _with_addresses(bare: Endpoint, end: End) -> Endpoint:
    ipv4, _, length4 = end.has.ipv4.partition("/")
    ipv6, _, length6 = end.has.ipv6.partition("/")
    return msgspec.structs.replace(
        bare,
        EndpointID=end.has.endpoint_id,
        MacAddress=end.has.mac,
        Gateway=end.gateway(4),
        IPAddress=ipv4,
        IPPrefixLen=int(length4 or 0),
        IPv6Gateway=end.gateway(6),
        GlobalIPv6Address=ipv6,
        GlobalIPv6PrefixLen=int(length6 or 0),
    )


def _dns_names(record: ContainerRecord, row: EndpointRecord) -> list[str] | None:
    if row.network_name in model.BUILT_IN:
        return None
    return dns_names(record.name, record.id, record.hostname, row.settings.Aliases or ())


def _sandbox_id(record: ContainerRecord) -> str:
    """The same for one run."""
    return hashlib.sha256(f"{record.id}/{record.state.started_ns}".encode()).hexdigest()


def _is_joined(record: ContainerRecord) -> bool:
    return record.network_mode.startswith("container:")
