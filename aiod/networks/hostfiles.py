"""The texts of a container's `/etc/hosts` and `/etc/resolv.conf`, and whom its names are asked of.

Owns what the files say, which is what dockerd writes; pure. Must not know where they are, nor
which networks there are: `Ends` is all it takes of those.
"""

import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiod.errors import InvalidParameterError
from aiod.native.network.texts import Server
from aiod.store.models import HostConfig

RESOLVER = "127.0.0.11"
HOST_GATEWAY = "host-gateway"
_FALLBACK = ("8.8.8.8", "8.8.4.4")
_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


@dataclass(frozen=True, slots=True)
class HostLine:
    """One address and the names that it has for a container."""

    address: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """What a container's files say of its networks.

    `addresses` are its own, without prefix length, network by network; `links` are those of the
    default network; `resolver` says that its names are answered at 127.0.0.11; `gateway` is the
    host's address for `host-gateway`; `asks_others` is false where no network leads outside.
    """

    addresses: tuple[str, ...] = ()
    links: tuple[HostLine, ...] = ()
    resolver: bool = False
    gateway: str = ""
    asks_others: bool = True


# ---- hosts ----


def own_names(hostname: str, domainname: str) -> tuple[str, ...]:
    """The names that a container's own addresses have: the full one first."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    short = full.partition(".")[0]
    return (full,) if short == full else (full, short)


def hosts(host: HostConfig, names: tuple[str, ...], ends: Ends, of_host: str) -> str:
    """`/etc/hosts` at a start; `of_host` is the host's, which holds in its network.

    Raises InvalidParameterError where `host-gateway` has no address.
    """
    if host.NetworkMode == "host" and not host.ExtraHosts and of_host:
        return of_host
    lines = [HostLine(_meant(address, ends), (name,)) for name, address in extra_hosts(host)]
    lines += ends.links
    return _LOCAL + host_lines(lines) + host_lines(own_lines(names, ends.addresses))


def own_lines(names: tuple[str, ...], addresses: Iterable[str]) -> list[HostLine]:
    """What is said of a container's own addresses."""
    return [HostLine(address, names) for address in addresses]


def host_lines(lines: Iterable[HostLine]) -> str:
    """Lines as they are in the file."""
    return "".join(f"{line.address}\t{' '.join(line.names)}\n" for line in lines)


def changed_hosts(text: str, gone: Iterable[str], come: Iterable[HostLine]) -> str:
    """The file of a container that runs, without the lines of some addresses and with new ones;
    what somebody else has written in it stays."""
    lost = set(gone)
    kept = [line for line in text.splitlines(keepends=True) if _address_of(line) not in lost]
    body = "".join(kept)
    if body and not body.endswith("\n"):
        body += "\n"
    return body + host_lines(come)


def moved_hosts(text: str, line: HostLine) -> str:
    """The file of a container that runs, in which a line of these names has another address."""
    lines = text.splitlines(keepends=True)
    return "".join(
        host_lines((line,)) if tuple(one.split()[1:]) == line.names else one for one in lines
    )


def _address_of(line: str) -> str:
    return next(iter(line.split()), "")


def extra_hosts(host: HostConfig) -> list[tuple[str, str]]:
    """Names and addresses of `ExtraHosts`. Raises InvalidParameterError, in dockerd's words."""
    found = []
    for text in host.ExtraHosts or ():
        name, separator, address = text.partition(":")
        if not separator or not name or any(character.isspace() for character in name):
            raise InvalidParameterError(f'bad format for add-host: "{text}"')
        address = address.removeprefix("[").removesuffix("]")
        if address != HOST_GATEWAY and not _is_address(address):
            raise InvalidParameterError(f'invalid IP address in add-host: "{address}"')
        found.append((name, address))
    return found


def _meant(address: str, ends: Ends) -> str:
    if address != HOST_GATEWAY:
        return address
    if not ends.gateway:
        raise InvalidParameterError("unable to derive the IP value for host-gateway")
    return ends.gateway


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# ---- resolv.conf ----


@dataclass(frozen=True, slots=True)
class Settings:
    """What a resolv.conf(5) says; of several `search` or `options` the last is in force."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def settings_of(text: str) -> Settings:
    """Read a resolv.conf(5); what is not understood is passed over."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = tuple(itertools.takewhile(lambda word: word[0] not in "#;", line.split()))
        if words[:1] == ("nameserver",) and len(words) > 1:
            servers.append(words[1])
        elif words[:1] in (("search",), ("domain",)):
            search = words[1:]
        elif words[:1] == ("options",):
            options = words[1:]
    return Settings(tuple(servers), search, options)


def resolv_conf(host: HostConfig, ends: Ends, of_host: str) -> str:
    """`/etc/resolv.conf` at a start, from the host's."""
    if ends.resolver:
        return _inner(host, settings_of(of_host))
    if host.NetworkMode == "host" and not is_asked(host):
        return of_host
    reachable = host.NetworkMode == "host"
    if is_asked(host):
        found = asked(host, settings_of(of_host))
        servers = found.servers if reachable else _not_local(found.servers)
        return _written(Settings(servers or _FALLBACK, found.search, found.options))
    return _filtered(of_host)


def is_asked(host: HostConfig) -> bool:
    """Whether anything of it was asked for."""
    return any((host.Dns, host.DnsSearch, host.DnsOptions))


def asked(host: HostConfig, of_host: Settings) -> Settings:
    """What was asked for, and the host's for what was not; a search of `.` is for none."""
    search = tuple(host.DnsSearch or of_host.search)
    return Settings(
        tuple(host.Dns or of_host.servers),
        () if search == (".",) else search,
        tuple(host.DnsOptions or of_host.options),
    )


def _inner(host: HostConfig, of_host: Settings) -> str:
    """With the resolver: any name may be one of the networks, and so is asked for as it is."""
    found = asked(host, of_host)
    options = found.options
    if not any(option.startswith("ndots:") for option in options):
        options = (*options, "ndots:0")
    return _written(Settings((RESOLVER,), found.search, options))


def _written(settings: Settings) -> str:
    search = f"search {' '.join(settings.search)}\n" if settings.search else ""
    servers = "".join(f"nameserver {server}\n" for server in settings.servers)
    options = f"options {' '.join(settings.options)}\n" if settings.options else ""
    return search + servers + options


def _filtered(text: str) -> str:
    """The host's, but for servers on its loopback, which is not the container's."""
    kept = "".join(line for line in text.splitlines(keepends=True) if not _is_local_server(line))
    if settings_of(kept).servers:
        return kept
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + "".join(f"nameserver {server}\n" for server in _FALLBACK)


def _is_local_server(line: str) -> bool:
    servers = settings_of(line).servers
    return bool(servers) and not _not_local(servers)


def _not_local(servers: Sequence[str]) -> tuple[str, ...]:
    return tuple(server for server in servers if not is_loopback(server))


def is_loopback(server: str) -> bool:
    """Whether a server's address is one of the host's loopback."""
    bare = server.partition("%")[0]
    return _is_address(bare) and ipaddress.ip_address(bare).is_loopback


def servers(host: HostConfig, ends: Ends, of_host: str) -> tuple[Server, ...]:
    """Whom the resolver asks for names that no network has.

    Those asked for are meant as the container sees them; the host's as the host does.
    """
    if not ends.asks_others:
        return ()
    inside = bool(host.Dns)
    found = tuple(host.Dns or settings_of(of_host).servers) or _FALLBACK
    return tuple(
        Server(address, inside)
        for address in found
        if _is_address(address.partition("%")[0]) and not (inside and address == RESOLVER)
    )


def check(host: HostConfig) -> None:
    """Raise InvalidParameterError for names and addresses that are none."""
    extra_hosts(host)
    for server in host.Dns or ():
        if not _is_address(server):
            raise InvalidParameterError(f"invalid IP address: {server}")
    for what, words in (("dns-search", host.DnsSearch), ("dns-option", host.DnsOptions)):
        for word in words or ():
            if not word or not word.isprintable() or any(c.isspace() for c in word):
                raise InvalidParameterError(f"invalid {what}: {word!r}")
    if host.NetworkMode.startswith("container:"):
        if any((host.Dns, host.DnsSearch, host.DnsOptions)):
            raise InvalidParameterError("conflicting options: dns and the network mode")
        if host.ExtraHosts:
            raise InvalidParameterError(
                "conflicting options: custom host-to-IP mapping and the network mode"
            )
