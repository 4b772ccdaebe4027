"""Where the engine listens, as `--host`, `AIOD_HOST` or the default say.

Must not connect to anything.
"""

from dataclasses import dataclass
from pathlib import Path

from aiod.cli.errors import CliError

DEFAULT = "unix:///run/aiod/aiod.sock"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The client's certificate and key, and who signs servers' certificates."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Address:
    """A unix socket's path, or a TCP host and port."""

    text: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None


def parse(text: str, tls: TlsFiles | None = None) -> Address:
    """Read `unix://PATH` or `tcp://HOST:PORT`; CliError for anything else."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix" and rest.startswith("/"):
        return Address(text, path=rest)
    if separator and scheme == "tcp":
        return _tcp(text, rest.rstrip("/"), tls)
    raise CliError(f"invalid engine address {text!r}: use unix:///PATH or tcp://HOST:PORT")


def _tcp(text: str, rest: str, tls: TlsFiles | None) -> Address:
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise CliError(f"invalid engine address {text!r}: use tcp://HOST:PORT")
    return Address(text, host=host, port=int(port), tls=tls)
