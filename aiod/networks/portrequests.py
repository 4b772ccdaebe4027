"""What a container's `PortBindings`, `ExposedPorts` and `PublishAllPorts` ask for.

Owns the grammar of ports and what is refused at create, in dockerd's words; pure. Must not know
which host ports are free. Unlike dockerd's, a binding publishes its port although `ExposedPorts`
does not name that, and a protocol or address that is none is refused at once and not, or never, at
the start.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aiod.errors import InvalidParameterError
from aiod.native.network.ruleset import ANY, PROTOCOLS
from aiod.store.models import ContainerConfig, HostConfig, PortBinding

_LARGEST = 0xFFFF
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})\Z")
_UNSUPPORTED = "sctp"
DEFAULT_PROTOCOL = "tcp"


@dataclass(frozen=True, order=True, slots=True)
class ContainerPort:
    """A port of the container."""

    number: int
    protocol: str = DEFAULT_PROTOCOL

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A container's port that is to be reached by the host's.

    `host_address` is empty for all of the host's; of `first` to `last` one is chosen, of 0 any.
    """

    port: ContainerPort
    host_address: str = ""
    first: int = 0
    last: int = 0

    @property
    def is_open(self) -> bool:
        """Whether one port is as good as another."""
        return self.first != self.last or self.first == 0


def requested(config: ContainerConfig, host: HostConfig) -> tuple[PortRequest, ...]:
    """All that is to be published, what leaves no choice first. Raises InvalidParameterError."""
    bindings = host.PortBindings or {}
    found = [
        _request(container_port(text), one) for text, many in bindings.items() for one in many or ()
    ]
    if host.PublishAllPorts:
        bound = {request.port for request in found}
        rest = [port for port in exposed(config, host) if port not in bound]
        found += [PortRequest(_publishable(port)) for port in rest]
    return tuple(sorted(found, key=lambda one: (one.is_open, one.first == 0)))


def exposed(config: ContainerConfig, host: HostConfig) -> list[ContainerPort]:
    """Every port that is spoken of, in order. Raises InvalidParameterError."""
    named = {port for text in config.ExposedPorts or () for port in _exposed(text)}
    return sorted(named | {container_port(text) for text in host.PortBindings or ()})


def container_port(text: str) -> ContainerPort:
    """From `80` or `80/tcp`. Raises InvalidParameterError."""
    number, protocol = _parts(text)
    return _publishable(ContainerPort(_container_number(number), protocol))


def _exposed(text: str) -> Iterable[ContainerPort]:
    """From `80/tcp`, or `80-90/tcp`."""
    words, protocol = _parts(text)
    found = _RANGE.match(words)
    first, last = found.groups() if found else (words, words)
    ports = range(_container_number(first), _container_number(last) + 1)
    if not ports:
        raise _invalid(text)
    return (ContainerPort(number, protocol) for number in ports)


def _parts(text: str) -> tuple[str, str]:
    number, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else DEFAULT_PROTOCOL
    if protocol not in (*PROTOCOLS, _UNSUPPORTED):
        raise InvalidParameterError(f"invalid port specification: {text!r}: unknown protocol")
    return number, protocol


def _publishable(port: ContainerPort) -> ContainerPort:
    if port.protocol == _UNSUPPORTED:
        raise InvalidParameterError(f"{port}: publishing {_UNSUPPORTED} is not supported by aiod")
    return port


def _container_number(text: str) -> int:
    number = _number(text)
    if number == 0:
        raise _invalid(text)
    return number


def _number(text: str) -> int:
    if not _NUMBER.match(text) or int(text) > _LARGEST:
        raise _invalid(text)
    return int(text)


def _invalid(text: str) -> InvalidParameterError:
    return InvalidParameterError(f'invalid port specification: "{text}"')


def _request(port: ContainerPort, binding: PortBinding) -> PortRequest:
    first, last = _host_range(binding.HostPort)
    return PortRequest(port, _host_address(binding.HostIp), first, last)


def _host_range(text: str) -> tuple[int, int]:
    """The host's ports to choose from; (0, 0) for any. Docker's clients may add a protocol."""
    words = text.partition("/")[0]
    if not words:
        return 0, 0
    found = _RANGE.match(words)
    first, last = found.groups() if found else (words, words)
    try:
        numbers = _number(first), _number(last)
    except InvalidParameterError as error:
        raise _invalid(words) from error
    if numbers[0] > numbers[1]:
        raise _invalid(words)
    return numbers


def _host_address(text: str) -> str:
    if not text or text in ANY:
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InvalidParameterError(f"invalid IP address: {text}") from error
