"""How a container joins networks: `--network` and the options that go with it.

Pure; every failure is a click.BadParameter in docker's words. Must not know what networks there
are.
"""

import csv
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

import click
import msgspec

from aiod.cli import values
from aiod.store.models import EndpointSettings, IpamConfig

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}")
_BUILT_IN = ("", "default", "bridge", "host", "none")
_MANY = ("alias", "link-local-ip", "driver-opt")
_ONE = ("name", "ip", "ip6", "mac-address", "gw-priority")


@dataclass(frozen=True, slots=True)
class Plain:
    """What the options beside `--network` say; it holds for the first network."""

    aliases: Sequence[str] = ()
    ip: str = ""
    ip6: str = ""
    link_local: Sequence[str] = ()
    links: Sequence[str] = ()
    mac_address: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """`NetworkMode`, and the endpoints by network where there is something to say of them."""

    mode: str
    endpoints: dict[str, EndpointSettings]


def joined(networks: Sequence[str], plain: Plain) -> Joined:
    """What all the options together ask for."""
    named = [_attachment(text) for text in networks] or [("", EndpointSettings())]
    first, settings = named[0]
    named[0] = (first, _with_plain(first, settings, plain))
    _check_together([name for name, _ in named])
    if len(named) == 1:
        if named[0][1] == EndpointSettings():
            return Joined(first, {})
        first = first or "default"
        return Joined(first, {first: named[0][1]})
    return Joined(first, dict(named))


def user_defined(network: str) -> bool:
    """Whether it is none of the modes that every engine has."""
    return network not in _BUILT_IN and not network.startswith("container:")


def endpoint(plain: Plain, driver_opts: dict[str, str], gw_priority: int) -> EndpointSettings:
    """The settings of `network connect`."""
    return EndpointSettings(
        IPAMConfig=_addresses(plain.ip, plain.ip6, plain.link_local),
        Links=list(plain.links) or None,
        MacAddress=mac_address(plain.mac_address),
        Aliases=list(plain.aliases) or None,
        DriverOpts=driver_opts or None,
        GwPriority=gw_priority,
    )


def mac_address(text: str) -> str:
    """The address in lower case with colons, or nothing for nothing."""
    if text and not _MAC.fullmatch(text):
        raise click.BadParameter(f"{text} is not a valid mac address")
    return text.lower().replace("-", ":")


def link(text: str) -> str:
    """`CONTAINER[:ALIAS]` as it is."""
    if not text or text.count(":") > 1:
        raise click.BadParameter(f"bad format for links: {text}")
    return text


def extra_host(text: str) -> str:
    """`NAME:ADDRESS`, also of `NAME=ADDRESS` and of an address in brackets."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not separator or not name:
        raise click.BadParameter(f'bad format for add-host: "{text}"')
    if address != "host-gateway":
        address = address[1:-1] if address[:1] + address[-1:] == "[]" else address
        _check_address(address, f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def name_server(text: str) -> str:
    """An address as it is."""
    return _check_address(text, f"IP address is not correctly formatted: {text}")


def _check_address(text: str, otherwise: str) -> str:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise click.BadParameter(otherwise) from None
    return text


def _attachment(text: str) -> tuple[str, EndpointSettings]:
    """A network's name alone, or the long form `name=NET,alias=A,ip=...`."""
    if "=" not in text:
        if "," in text:
            raise click.BadParameter(f"invalid field {text.partition(',')[0]}")
        return text, EndpointSettings()
    one: dict[str, str] = {}
    many: dict[str, list[str]] = {}
    for field in _fields(text):
        name, separator, value = field.partition("=")
        name = name.strip().lower()
        if not separator:
            raise click.BadParameter(f"invalid field {field}")
        if name in _MANY:
            many.setdefault(name, []).append(value)
        elif name in _ONE:
            one[name] = value
        else:
            raise click.BadParameter(f"invalid field key {name}")
    if not one.get("name"):
        raise click.BadParameter(f"network name/id is not specified: {text}")
    return one["name"], _settings(one, many)


def _fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise click.BadParameter(f"{text}: {error}") from None


def _settings(one: dict[str, str], many: dict[str, list[str]]) -> EndpointSettings:
    plain = Plain(
        aliases=many.get("alias", ()),
        ip=one.get("ip", ""),
        ip6=one.get("ip6", ""),
        link_local=many.get("link-local-ip", ()),
        mac_address=one.get("mac-address", ""),
    )
    priority = one.get("gw-priority", "0")
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", priority):
        raise click.BadParameter(f"invalid gw-priority ({priority})")
    return endpoint(plain, values.pairs(many.get("driver-opt", ()), "driver-opt"), int(priority))


def _with_plain(network: str, given: EndpointSettings, plain: Plain) -> EndpointSettings:
    """The first network's settings with those of the plain options; each may be said once."""
    if plain.aliases and not user_defined(network):
        raise click.BadParameter(
            "network-scoped aliases are only supported for user-defined networks"
        )
    had = given.IPAMConfig or IpamConfig()
    _once("--network-alias", "alias", plain.aliases, given.Aliases)
    _once("--ip", "IPv4 address", plain.ip, had.IPv4Address)
    _once("--ip6", "IPv6 address", plain.ip6, had.IPv6Address)
    _once("--link-local-ip", "link-local IP addresses", plain.link_local, had.LinkLocalIPs)
    _once("--mac-address", "MAC address", plain.mac_address, given.MacAddress)
    return msgspec.structs.replace(
        given,
        IPAMConfig=_addresses(
            plain.ip or had.IPv4Address,
            plain.ip6 or had.IPv6Address,
            plain.link_local or had.LinkLocalIPs or (),
        ),
        Aliases=list(plain.aliases) or given.Aliases,
        Links=list(plain.links) or None if user_defined(network) else None,
        MacAddress=mac_address(plain.mac_address) or given.MacAddress,
    )


def _once(option: str, what: str, plain: object, given: object) -> None:
    if plain and given:
        raise click.BadParameter(
            f"conflicting options: cannot specify both {option} and per-network {what}"
        )


def _addresses(ip: str, ip6: str, link_local: Sequence[str]) -> IpamConfig | None:
    found = IpamConfig(IPv4Address=ip, IPv6Address=ip6, LinkLocalIPs=list(link_local) or None)
    return None if found == IpamConfig() else found


def _check_together(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f'network "{name}" is specified multiple times')
    if len({user_defined(name) for name in names}) > 1:
        raise click.BadParameter(
            "conflicting options: cannot attach both user-defined and "
            "non-user-defined network-modes"
        )
