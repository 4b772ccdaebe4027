"""Who answers whom: servers and clients in any network namespace, over TCP and UDP.

A server tells its name and where it saw the client; must not know what is between the two.
"""

import selectors
import socket
from dataclasses import dataclass

from tests.support.netns import Namespace
from tests.support.threaded import Threaded

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, and the client's address as it was seen there."""

    name: str
    client: str


class Servers(Threaded):
    """A thread that answers on every socket it was given; runs inside `with`."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._sockets: list[tuple[Namespace, socket.socket]] = []

    def add(
        self, where: Namespace, name: str, port: int = 80, kind: int = TCP, at: str = "::"
    ) -> None:
        """Answer with `name` at a port of `at`, by default of both families; replaces none."""
        with where.entered():
            server = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, kind)
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((at, port))
        if kind == TCP:
            server.listen(64)
        self._sockets.append((where, server))
        self._selector.register(server, selectors.EVENT_READ, name)

    def leave(self, where: Namespace) -> None:
        """Answer no more in a namespace, of which nothing is held then."""
        for there, server in self._sockets:
            if there is where and server.fileno() >= 0:
                self._selector.unregister(server)
                server.close()

    def _end(self) -> None:
        self._wake.close()

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                assert isinstance(key.fileobj, socket.socket)
                _answer(key.fileobj, key.data)


def _answer(server: socket.socket, name: str) -> None:
    """One client; one that has left meanwhile is no error."""
    try:
        if server.type == TCP:
            client, (address, *_) = server.accept()
            with client:
                client.sendall(_told(name, address))
        else:
            _, where = server.recvfrom(4096)
            server.sendto(_told(name, where[0]), where)
    except OSError:
        pass


def _told(name: str, address: str) -> bytes:
    return f"{name} {address.removeprefix('::ffff:')}".encode()


def connected(
    where: Namespace, address: str, port: int, seconds: float = 20.0, kind: int = TCP
) -> socket.socket:
    """A socket of a namespace that is connected to an address."""
    with where.entered():
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    client.settimeout(seconds)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def ask(
    where: Namespace, address: str, port: int = 80, kind: int = TCP, seconds: float = 20.0
) -> Answer:
    """Who answers at an address, asked from a namespace; OSError when nobody does."""
    with connected(where, address, port, seconds, kind) as client:
        if kind == UDP:
            client.send(b"?")
        told = client.recv(4096).decode()
    if not told:
        raise ConnectionResetError("closed without an answer")
    name, _, seen = told.partition(" ")
    return Answer(name, seen)


def silent(where: Namespace, address: str, port: int = 80, kind: int = TCP) -> bool:
    """Whether nobody answers within half a second, or it is refused."""
    try:
        ask(where, address, port, kind, 0.5)
    except OSError:
        return True
    return False
