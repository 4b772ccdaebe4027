"""Which proxy the environment names for a URL. Sans-I/O.

As Go's `httpproxy` package, whose rules users of Docker know: `HTTPS_PROXY` and
`HTTP_PROXY` by the URL's scheme, small letters first; `NO_PROXY` is a list of `*`, hosts (with
all below them), `.suffixes` (only those below), addresses and CIDR blocks, each with a port
if wanted. This machine itself is never reached through a proxy.
"""

import ipaddress
import re
from collections.abc import Mapping

from yarl import URL


def proxy_for(url: URL, environment: Mapping[str, str]) -> URL | None:
    """The proxy, or None for a direct connection."""
    name = f"{url.scheme}_proxy"
    text = environment.get(name) or environment.get(name.upper()) or ""
    host = url.host or ""
    if not text or is_loopback(host):
        return None
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if any(_matches(entry.strip(), host, url.port) for entry in excepted.split(",")):
        return None
    return URL(text if "://" in text else f"http://{text}")


def masked(text: str) -> str:
    """A proxy without who uses it and with what password, as dockerd shows it."""
    url = re.sub(r"(?<=://)[^/@]*@", "xxxxx:xxxxx@", text)
    return url if "://" in text else re.sub(r"\A[^/@]*@", "xxxxx:xxxxx@", url)


def is_loopback(host: str) -> bool:
    """Whether this is `localhost` or an address of it."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def in_network(host: str, network: str) -> bool:
    """Whether `host` is an address in a CIDR block; False for anything else."""
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _matches(entry: str, host: str, port: int | None) -> bool:
    if not entry:
        return False
    if entry == "*" or in_network(host, entry):
        return True
    name, separator, wanted = entry.rpartition(":")
    if separator and wanted.isdigit() and _address(entry) is None:
        if int(wanted) != port:
            return False
        entry = name
    if (address := _address(entry)) is not None:
        return address == _address(host)
    entry, host = entry.lower().removeprefix("*"), host.lower()
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")
