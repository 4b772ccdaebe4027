"""The text files that a shim's network thread reads (`src/net*.c`), as they are written.

Owns the formats of `ports` and `resolver` of a run directory and of the networks' tables of
names; pure. A line is one thing, its words parted by single spaces; a reader passes over lines
that begin with a word it does not know, so that releases can add some. Addresses are texts
as `ipaddress` writes them.
"""

from collections.abc import Iterable

import msgspec

from aiod.native.network.description import Port

PORTS_FILE = "ports"
RESOLVER_FILE = "resolver"
OUTCOME_FILE = "net"


def ports_text(ports: Iterable[Port]) -> str:
    """One published port a line: protocol, host's address and port, container's the same."""
    return "".join(
        f"{port.protocol} {port.host_address} {port.host_port} {port.address} {port.port}\n"
        for port in ports
    )


def outcome(text: str) -> tuple[int, str]:
    """What a shim says of a reload (`net` of its directory): an errno, 0 for none, and a step."""
    number, _, step = text.strip().partition(" ")
    return int(number), step


class Server(msgspec.Struct, frozen=True):
    """Whom names are asked of that no network of the container has.

    `inside`: from the container's own network, not from the host's.
    """

    address: str
    inside: bool = False


class Scope(msgspec.Struct, frozen=True):
    """One network that names are looked up in: the path of its table, and the private names that
    the container has in it, each for a name of the table."""

    table: str
    links: tuple[tuple[str, str], ...] = ()


class Resolver(msgspec.Struct, frozen=True):
    """What one container's names are answered from; networks and servers in their order."""

    scopes: tuple[Scope, ...] = ()
    servers: tuple[Server, ...] = ()


class Holder(msgspec.Struct, frozen=True):
    """One end of a network: its addresses, and its names, of which the first is its own."""

    addresses: tuple[str, ...]
    names: tuple[str, ...]


def resolver_text(resolver: Resolver) -> str:
    """The file `resolver` of a run directory."""
    lines = []
    for scope in resolver.scopes:
        lines.append(f"network {scope.table}")
        lines += (f"link {name} {target}" for name, target in _sayable(scope.links))
    for server in resolver.servers:
        lines.append(f"server {'own' if server.inside else 'host'} {server.address}")
    return "".join(f"{line}\n" for line in lines)


def table_text(network: str, holders: Iterable[Holder]) -> str:
    """The table of one network, by its name."""
    lines = [f"network {network}"]
    for holder in holders:
        names = " ".join(name for name in holder.names if is_sayable(name))
        if names and holder.addresses:
            lines.append(f"end {','.join(holder.addresses)} {names}")
    return "".join(f"{line}\n" for line in lines)


def is_sayable(name: str) -> bool:
    """Whether it can be asked for: a question has at most 255 bytes, and a line no others."""
    return 0 < len(name) < 255 and all("!" <= character <= "~" for character in name)


def _sayable(links: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [link for link in links if all(map(is_sayable, link))]
