"""The text files that a shim's network thread reads (`src/net*.c`), as they are written.

Owns the formats of `ports` and `resolver` of a run directory and of the networks' tables of
names; pure. A line is one thing, its words parted by single spaces; a reader passes over lines
that begin with a word it does not know, so that releases can add some. Addresses are texts
as `ipaddress` writes them.
"""

from collections.abc import Iterable

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
