"""The shim's network thread in this process, with published ports that the test names.

Owns its directory and its life; must not know what is behind a port.
"""

import contextlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from aiod.native._native import ffi, lib
from aiod.native.network import texts
from aiod.native.network.description import Port

SECONDS = 60.0
_WORDS = 256
_given: set[int] = set()


class Proxy:
    """The ports of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, *ports: Port) -> None:
        """Replace the file, whole."""
        made = self._directory / "new"
        made.write_text(texts.ports_text(ports))
        made.rename(self._directory / texts.PORTS_FILE)

    def start(self, *ports: Port) -> tuple[int, str]:
        """Serve them: the errno, 0 if all is well, and what failed."""
        self.write(*ports)
        failed = ffi.new(f"char[{_WORDS}]")
        result = lib.aiod_net_start(os.fsencode(self._directory), os.getpid(), failed, _WORDS)
        return -result, bytes(ffi.string(failed)).decode()

    def reload(self, *ports: Port) -> tuple[int, str]:
        """Serve these from now on, if that can be."""
        outcome = self._directory / texts.OUTCOME_FILE
        outcome.unlink(missing_ok=True)
        self.write(*ports)
        lib.aiod_net_reload(os.fsencode(self._directory), os.getpid())
        while not outcome.exists():
            os.sched_yield()
        return texts.outcome(outcome.read_text())

    def end(self) -> None:
        """As when the container ends; everything is closed afterwards."""
        lib.aiod_net_join()


@contextlib.contextmanager
def proxy_in(directory: Path) -> Iterator[Proxy]:
    """A proxy that has ended when the block does."""
    made = Proxy(directory)
    try:
        yield made
    finally:
        made.end()


def server(address: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Something that stands for a container's service, at a port of its own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, kind)
    made.settimeout(SECONDS)
    made.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        made.listen(4096)
    return made


def free_port(address: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has, and that is none of those which the kernel gives to clients.

    None is given twice.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        number = random.randrange(10000, 32000)
        if number in _given:
            continue
        _given.add(number)
        with socket.socket(family, kind) as probe, contextlib.suppress(OSError):
            probe.bind((address, number))
            return number


def port_of(service: socket.socket, host: str = "127.0.0.1") -> Port:
    """A published port that leads to a service."""
    protocol = "tcp" if service.type == socket.SOCK_STREAM else "udp"
    address, number = service.getsockname()[:2]
    return Port(protocol, host, free_port(host, service.type), address, number)


def client(port: Port, address: str = "") -> socket.socket:
    """A connection to a published port."""
    made = socket.create_connection((address or port.host_address, port.host_port), SECONDS)
    made.settimeout(SECONDS)
    return made


def everything(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    parts = []
    while part := connection.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)
