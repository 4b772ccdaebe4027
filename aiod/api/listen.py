"""The sockets on which the API is served.

Owns addresses (`unix://`, `fd://`, `tcp://`), a socket file's mode, group and staleness,
and TLS for tcp. Must not know what is served on them.
"""

import asyncio
import contextlib
import errno
import grp
import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiod import sdnotify
from aiod.config import DaemonConfig
from aiod.wire.tls import TlsProtocol

SOCKET_MODE = 0o660
SOCKET_GROUPS = ("aiod", "docker")
BACKLOG = 1024

Factory = Callable[[], asyncio.BaseProtocol]


class ListenError(Exception):
    """A socket cannot be opened; the message is fit for a user."""


@dataclass(slots=True)
class Listener:
    """Open sockets; `close` takes away the socket files that were made here.

    `names` are the configured hosts; where one leaves the port to the kernel, with that port.
    """

    sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: list[tuple[Path, int]] = field(default_factory=list)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)

    async def serve(self, factory: Factory) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for sock, context in self.sockets:
            if sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(factory, sock=sock, backlog=BACKLOG)
            else:
                made = factory if context is None else _over_tls(factory, context)
                server = await loop.create_server(made, sock=sock, backlog=BACKLOG)
            self.servers.append(server)

    def close(self) -> None:
        """Accept no more; connections already made go on."""
        for server in self.servers:
            server.close()
        for sock, _ in self.sockets:
            sock.close()
        for path, inode in self.files:
            with contextlib.suppress(OSError):
                # Another daemon may have bound the same path since.
                if os.stat(path).st_ino == inode:
                    os.unlink(path)


def _over_tls(factory: Factory, context: ssl.SSLContext) -> Factory:
    return lambda: TlsProtocol(context, factory(), server_side=True)


def open_all(config: DaemonConfig) -> Listener:
    """Open every host of the configuration; ListenError (nothing stays open) on failure."""
    listener = Listener()
    try:
        for host in config.hosts:
            _open(host, config, listener)
    except BaseException:
        listener.close()
        raise
    return listener


def _open(host: str, config: DaemonConfig, listener: Listener) -> None:
    scheme, separator, rest = host.partition("://")
    if not separator:
        raise ListenError(f"--host {host}: expected unix://, fd:// or tcp://")
    name = host
    if scheme == "unix":
        _open_unix(Path(rest), listener)
    elif scheme == "fd":
        _open_passed(host, listener)
    elif scheme == "tcp":
        name = _open_tcp(host, config, listener)
    else:
        raise ListenError(f"--host {host}: expected unix://, fd:// or tcp://")
    listener.names.append(name)


def _open_unix(path: Path, listener: Listener) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.sockets.append((sock, None))
    sock.setblocking(False)
    # The mode is right from the first instant: nobody else may connect in between.
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        sock.bind(str(path))
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    listener.files.append((path, os.stat(path).st_ino))
    _give_to_group(path)
    sock.listen(BACKLOG)


def _give_to_group(path: Path) -> None:
    for name in SOCKET_GROUPS:
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(name).gr_gid)
            return


def _remove_stale(path: Path) -> None:
    """Take away a socket on which nobody answers; ListenError if somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"cannot listen on {path}: it exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
            raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    raise ListenError(f"cannot listen on {path}: another process answers there")


def _open_passed(host: str, listener: Listener) -> None:
    passed = sdnotify.listen_sockets()
    if not passed:
        raise ListenError(f"--host {host}: the service manager passed no socket (LISTEN_FDS)")
    listener.sockets += [(sock, None) for sock in passed]


def _open_tcp(host: str, config: DaemonConfig, listener: Listener) -> str:
    """The host with the port that it has."""
    try:
        parts = urlsplit(host)
        name, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError as error:
        raise ListenError(f"--host {host}: {error}") from None
    context = _tls(config)
    if port is None:
        port = 2375 if context is None else 2376
    if context is None and not (config.allow_insecure_tcp and _is_loopback(name)):
        raise ListenError(
            f"--host {host}: tcp needs mutual TLS (--tls-cert, --tls-key, --tls-ca); without it "
            "only a loopback address may be used, and only with --allow-insecure-tcp"
        )
    try:
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        sock = socket.create_server((name, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}") from None
    sock.setblocking(False)
    listener.sockets.append((sock, context))
    return host if port else f"{host.rstrip('/').removesuffix(':0')}:{sock.getsockname()[1]}"


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _tls(config: DaemonConfig) -> ssl.SSLContext | None:
    given = (config.tls_cert, config.tls_key, config.tls_ca)
    if not any(given):
        return None
    if config.tls_cert is None or config.tls_key is None or config.tls_ca is None:
        raise ListenError("mutual TLS needs all of --tls-cert, --tls-key and --tls-ca")
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(config.tls_ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ListenError(f"cannot load the TLS files: {error}") from None
    return context
