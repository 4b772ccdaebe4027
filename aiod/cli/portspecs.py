"""What `--publish` and `--expose` mean: docker's forms of ports as the API's fields.

Pure; every failure is a click.BadParameter in docker's words. Must not know which ports are free.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import click

from aiod.store.models import PortBinding

Bindings = dict[str, list[PortBinding]]

_LARGEST = 0xFFFF
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class _Spec:
    """The three parts of `[[IP:][HOST]:]CONTAINER`."""

    address: str
    host: str
    inside: str


@dataclass(frozen=True, slots=True)
class _Span:
    """Ports from `first` to `last`."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def published(settings: Iterable[str]) -> Bindings:
    """`PORT/PROTOCOL` of the container, and where on the host each is to be."""
    found: Bindings = {}
    for setting in settings:
        for port, binding in _published(_short_form(setting)):
            found.setdefault(port, []).append(binding)
    return found


def exposed(settings: Iterable[str]) -> list[str]:
    """`PORT/PROTOCOL` of each port in `PORT[-PORT][/PROTOCOL]`."""
    return [port for setting in settings for port in _exposed(setting)]


def _exposed(text: str) -> list[str]:
    if ":" in text:
        raise click.BadParameter(f"invalid port format for --expose: {text}")
    ports, protocol = _protocol_of(text)
    span = _span(ports)
    if span is None:
        raise click.BadParameter(f"invalid range format for --expose: {text}")
    return [f"{span.first + index}/{protocol}" for index in range(span.length)]


def _short_form(text: str) -> str:
    """`target=80,published=8080,protocol=udp` in the form `8080:80/udp`."""
    if "=" not in text:
        return text
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for field in text.split(","):
        name, separator, value = field.partition("=")
        if not separator:
            raise click.BadParameter(
                f"invalid publish opts format (should be name=value but got '{field}')"
            )
        if name not in fields:
            raise click.BadParameter(f"invalid publish opts: unknown name '{name}'")
        fields[name] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _published(text: str) -> list[tuple[str, PortBinding]]:
    spec = _parts(text)
    address = _address(spec.address)
    if not spec.inside:
        raise click.BadParameter(f"no port specified: {text}<empty>")
    ports, protocol = _protocol_of(spec.inside)
    inside = _span(ports)
    if inside is None:
        raise click.BadParameter(f"invalid containerPort: {ports}")
    hosts = _host_ports(spec.host, inside)
    return [
        (f"{inside.first + index}/{protocol}", PortBinding(HostIp=address, HostPort=hosts[index]))
        for index in range(inside.length)
    ]


def _parts(text: str) -> _Spec:
    """Cut from the right, so that an IPv6 address may keep its colons."""
    before, _, inside = text.rpartition(":")
    address, _, host = before.rpartition(":")
    return _Spec(address, host, inside)


def _address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if bare:
            ipaddress.ip_address(bare)
    except ValueError:
        raise click.BadParameter(f"invalid IP address: {bare}") from None
    return bare


def _protocol_of(text: str) -> tuple[str, str]:
    ports, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise click.BadParameter(f"invalid proto: {protocol}")
    return ports, protocol


def _host_ports(text: str, inside: _Span) -> list[str]:
    """The host's port for each one inside: as many, or a range to choose one from, or any."""
    if not text:
        return [""] * inside.length
    host = _span(text)
    if host is None:
        raise click.BadParameter(f"invalid hostPort: {text}")
    if inside.length == 1:
        return [str(host)]
    if host.length != inside.length:
        raise click.BadParameter(
            f"invalid ranges specified for container and host Ports: {inside} and {host}"
        )
    return [str(host.first + index) for index in range(inside.length)]


def _span(text: str) -> _Span | None:
    first, separator, last = text.partition("-")
    last = last if separator else first
    if not all(number.isascii() and number.isdigit() for number in (first, last)):
        return None
    span = _Span(int(first), int(last))
    return span if span.first <= span.last <= _LARGEST else None
