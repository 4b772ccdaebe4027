"""The records of networks, and of containers' ends of them.

Owns their shapes only. Addresses are texts as `ipaddress` writes them; must not know SQL, nor
who chooses an address.
"""

import msgspec

from aiod.native.network.description import Port
from aiod.store.models import EndpointSettings


class PoolRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses of one network: those of `subnet`, within `ip_range` where there is one.

    `gateway` is the network's own; `auxiliary` are others' by name, never given away. `chosen`:
    nobody asked for these.
    """

    subnet: str
    ip_range: str = ""
    gateway: str = ""
    auxiliary: dict[str, str] = {}
    chosen: bool = False


class NetworkRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One network.

    `link` is its bridge, or the parent of its links; empty where it has none. `config_from` is the
    name of the network that lent its settings.
    """

    id: str
    name: str
    created_ns: int
    driver: str = "bridge"
    pools: tuple[PoolRecord, ...] = ()
    link: str = ""
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class Assigned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an end of a network has while its container runs; addresses with their prefix length.

    `host_link` is the end in the host's namespace, `interface` the one in the container's.
    `ports` are those published, at the end that has the gateway.
    """

    endpoint_id: str
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    host_link: str = ""
    interface: str = ""
    ports: tuple[Port, ...] = ()


class EndpointRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container's end of a network: what was asked, and what it has while it runs.

    `place` is its position among the container's. `network_name` finds a network that was made
    anew under its name.
    """

    container_id: str
    network_id: str
    network_name: str
    settings: EndpointSettings = EndpointSettings()
    place: int = 0
    assigned: Assigned | None = None
