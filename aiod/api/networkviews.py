"""A network in Docker's words (Engine API v1.51, `Network`). Pure functions of records."""

import msgspec

from aiod.networks.selection import SCOPE
from aiod.store.networkrecords import Assigned, NetworkRecord, PoolRecord
from aiod.wire.times import rfc3339


class PoolView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses of one family."""

    Subnet: str = ""
    IPRange: str = ""
    Gateway: str = ""
    AuxiliaryAddresses: dict[str, str] | None = None


class IpamView(msgspec.Struct, frozen=True):
    """Who gives addresses away, and of which pools."""

    Driver: str
    Options: dict[str, str] | None
    Config: list[PoolView]


class Lender(msgspec.Struct, frozen=True):
    """The name of the network that lends its settings."""

    Network: str


class ContainerView(msgspec.Struct, frozen=True):
    """Who is on a network."""

    Name: str
    EndpointID: str
    MacAddress: str = ""
    IPv4Address: str = ""
    IPv6Address: str = ""


class NetworkView(msgspec.Struct, frozen=True):
    """A network; `Services` are there only in an answer with `verbose`."""

    Name: str
    Id: str
    Created: str
    Scope: str
    Driver: str
    EnableIPv4: bool
    EnableIPv6: bool
    IPAM: IpamView
    Internal: bool
    Attachable: bool
    Ingress: bool
    ConfigFrom: Lender
    ConfigOnly: bool
    Containers: dict[str, ContainerView]
    Options: dict[str, str]
    Labels: dict[str, str]
    Services: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def view(
    network: NetworkRecord, containers: dict[str, ContainerView], *, verbose: bool = False
) -> NetworkView:
    """A record in Docker's words; `containers` are by their ids."""
    return NetworkView(
        Name=network.name,
        Id=network.id,
        Created=rfc3339(network.created_ns),
        Scope=SCOPE,
        Driver=network.driver,
        EnableIPv4=network.enable_ipv4,
        EnableIPv6=network.enable_ipv6,
        IPAM=IpamView(
            network.ipam_driver, network.ipam_options, [_pool(pool) for pool in network.pools]
        ),
        Internal=network.internal,
        Attachable=network.attachable,
        Ingress=False,
        ConfigFrom=Lender(network.config_from),
        ConfigOnly=network.config_only,
        Containers=containers,
        Options=network.options,
        Labels=network.labels,
        Services={} if verbose else msgspec.UNSET,
    )


def _pool(pool: PoolRecord) -> PoolView:
    return PoolView(pool.subnet, pool.ip_range, pool.gateway, pool.auxiliary or None)


def container(name: str, has: Assigned) -> ContainerView:
    """One that is on a network."""
    return ContainerView(name, has.endpoint_id, has.mac, has.ipv4, has.ipv6)
