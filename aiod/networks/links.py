"""Docker's links: private names of other containers.

Owns how a link is written, and what one on the default network gives: a line of `/etc/hosts` and
variables. On other networks a link is a name that only its container can look up. Pure; must
not know how a container is found.
"""

import posixpath
from dataclasses import dataclass

from aiod.errors import InvalidParameterError
from aiod.networks.hostfiles import HostLine

_NOT_PASSED_ON = ("HOME", "PATH")


@dataclass(frozen=True, slots=True)
class Link:
    """A container, as it was said, and the name that another has for it."""

    target: str
    alias: str


def parse(text: str) -> Link:
    """`TARGET[:ALIAS]`, or `/TARGET:/CONTAINER/ALIAS` as an inspection shows it.

    Raises InvalidParameterError.
    """
    target, separator, alias = text.partition(":")
    if not text:
        raise InvalidParameterError("empty string specified for links")
    if ":" in alias or not target or (separator and not alias) or any(map(str.isspace, text)):
        raise InvalidParameterError(f"bad format for links: {text}")
    if not separator:
        return Link(target, target)
    if target.startswith("/"):
        return Link(target[1:], posixpath.basename(alias))
    return Link(target, alias)


@dataclass(frozen=True, slots=True)
class Linked:
    """What a link leads to: a container that runs on the default network.

    `ports` are those it exposes, as `PORT/PROTOCOL`; `env` is its configuration's.
    """

    alias: str
    name: str
    hostname: str
    address: str
    ports: tuple[str, ...]
    env: tuple[str, ...]


def host_line(linked: Linked) -> HostLine:
    """What `/etc/hosts` says of it."""
    names = (linked.alias, linked.hostname, linked.name)
    return HostLine(linked.address, tuple(dict.fromkeys(names)))


def variables(linked: Linked, container: str) -> list[str]:
    """The environment that a link gives to `container`, by its name."""
    prefix = linked.alias.upper().replace("-", "_")
    ports = sorted(map(_port, linked.ports))
    found = []
    if ports:
        found.append(f"{prefix}_PORT={_url(linked.address, *ports[0])}")
    for number, protocol in ports:
        one = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found += [
            f"{one}={_url(linked.address, number, protocol)}",
            f"{one}_ADDR={linked.address}",
            f"{one}_PORT={number}",
            f"{one}_PROTO={protocol}",
        ]
    found.append(f"{prefix}_NAME=/{container}/{linked.alias}")
    for line in linked.env:
        name, separator, _ = line.partition("=")
        if separator and name not in _NOT_PASSED_ON:
            found.append(f"{prefix}_ENV_{line}")
    return found


def _port(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number), protocol or "tcp"


def _url(address: str, number: int, protocol: str) -> str:
    return f"{protocol}://{address}:{number}"
