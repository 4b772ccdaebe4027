"""Where the registry of a domain is: its addresses, its mirrors, and whom TLS trusts there.

Must not know HTTP. `tls_context` blocks; everything else is pure.
"""

import ipaddress
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yarl import URL

from aiod.config import RegistrySettings
from aiod.errors import InternalError, InvalidParameterError
from aiod.images.reference import DEFAULT_DOMAIN
from aiod.images.registry.proxies import in_network, is_loopback

_DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Host:
    """A registry's host: `bases` are tried in order until one answers.

    `domain` is the name its settings go by. A mirror serves another domain's images.
    """

    domain: str
    bases: tuple[URL, ...]
    mirror: bool = False


def origin(domain: str, settings: RegistrySettings) -> Host:
    """The registry that a reference's domain names."""
    address = _DOCKER_HUB if domain == DEFAULT_DOMAIN else domain
    schemes = ("https", "http") if is_insecure(address, settings) else ("https",)
    try:
        return Host(domain, tuple(URL(f"{scheme}://{address}") for scheme in schemes))
    except ValueError as error:
        raise InvalidParameterError(f"invalid registry host {address!r}") from error


def mirrors(domain: str, settings: RegistrySettings) -> list[Host]:
    """Who is asked before the origin."""
    bases = [URL(text.rstrip("/")) for text in settings.mirrors_of(domain)]
    return [Host(base.authority, (base,), mirror=True) for base in bases]


def is_insecure(authority: str, settings: RegistrySettings) -> bool:
    """Whether `host[:port]` may be talked to in clear, or with an unverified certificate.

    This machine's loopback always, as with dockerd.
    """
    host = _hostname(authority)
    if is_loopback(host) or settings.host(authority).insecure:
        return True
    return any(entry in (authority, host) or in_network(host, entry) for entry in settings.insecure)


def _hostname(authority: str) -> str:
    try:
        return URL(f"http://{authority}").host or ""
    except ValueError:
        return ""


def tls_context(authority: str, settings: RegistrySettings) -> ssl.SSLContext:
    """What a TLS connection to `host[:port]` verifies, and shows of us.

    A host with certificate authorities of its own (`*.crt` in its directory, `ca` in its
    settings) is verified against those, and the system's. Raises InternalError that names
    the file which cannot be read.
    """
    context = ssl.create_default_context()
    directory = settings.certificates / authority
    authorities = _files(directory, "*.crt")
    if (configured := settings.host(authority).ca) is not None:
        authorities = [*authorities, configured]
    for file in authorities:
        _load(file, partial(context.load_verify_locations, file))
    for file in _files(directory, "*.cert"):
        _load(file, partial(context.load_cert_chain, file, file.with_suffix(".key")))
    if not authorities and is_insecure(authority, settings):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(directory.glob(pattern))


def _load(file: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except OSError as error:  # ssl.SSLError is one
        raise InternalError(f"cannot use {file}: {error.strerror or error}") from error


def check_entries(entries: Iterable[str]) -> None:
    """Raises ValueError naming the entry that is neither a host nor a CIDR block."""
    for entry in entries:
        if "/" in entry:
            ipaddress.ip_network(entry, strict=False)
        elif not _hostname(entry):
            raise ValueError(f"{entry!r} is no host")
