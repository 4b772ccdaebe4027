"""What a container's network namespace is to have: `network.json` of the run directory.

Owns the shapes; pure. Whoever writes one has chosen every name, address and port; whoever
carries it out chooses nothing. Fields are only ever added, each with a default: shims and
daemons of different releases read the same file.

Addresses are texts as `ipaddress` writes them, those of `addresses` with their prefix length.
"""

import msgspec


class Interface(msgspec.Struct, frozen=True):
    """One end of a network in the container.

    `kind` is `bridge` (a veth pair whose host end is `host_name`, enslaved to `parent`),
    `macvlan` or `ipvlan` (of `parent`, in `mode`; no parent: a link that leads nowhere). An `mtu`
    of 0 is the kernel's choice. `sysctls` are settings of the link, each by its family and name
    (`ipv4/rp_filter`). An `isolated` one reaches no other isolated one of its bridge.
    """

    network: str
    name: str
    kind: str = "bridge"
    parent: str = ""
    host_name: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    mode: str = ""
    sysctls: dict[str, str] = {}
    isolated: bool = False


class Route(msgspec.Struct, frozen=True):
    """A route of the namespace; without a gateway it is on the link itself."""

    destination: str
    gateway: str
    interface: str


class Port(msgspec.Struct, frozen=True):
    """A published port: what comes to the host's address and port is the container's.

    `host_address` is `0.0.0.0` or `::` for every one of the host's; the container's address may
    be of the other family, which only the proxy can reach.
    """

    protocol: str
    host_address: str
    host_port: int
    address: str
    port: int


class Sandbox(msgspec.Struct, frozen=True):
    """All of a container's own network namespace.

    `table` is the daemon's nftables table, empty for none; `resolver` says that names are
    answered at 127.0.0.11, from the file of that name in the run directory. `sysctls` are
    settings of the whole namespace, by their full names, made when all links are there.
    """

    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    ports: tuple[Port, ...] = ()
    table: str = ""
    resolver: bool = False
    sysctls: dict[str, str] = {}
