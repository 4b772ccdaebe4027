"""A DNS server of a test's own on port 53 of some loopback address, which misbehaves by name."""

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support import dnspackets as dns

ADDRESS = bytes((192, 0, 2, 1))
BIG = tuple((dns.A, bytes((10, 1, n // 250, n % 250))) for n in range(700))


class Upstream:
    """Answers at `address`, and remembers what it was asked as (name, over TCP)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, bool]] = []
        self.heard = threading.Semaphore(0)
        self._udp = _Datagrams((address, 53), _answering(self._datagram))
        self._tcp = _Streams((address, 53), _answering(self._stream))
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()

    def _take(self, packet: bytes, *, tcp: bool) -> str:
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        self.asked.append((".".join(labels), tcp))
        self.heard.release()
        return labels[0] if labels else ""

    def _datagram(self, request: Any, client: Any) -> None:
        packet, own = request
        for answer in _datagrams(self._take(packet, tcp=False), packet):
            own.sendto(answer, client)

    def _stream(self, request: Any, client: Any) -> None:
        with suppress(OSError):
            size = struct.unpack(">H", _exactly(request, 2))[0]
            packet = _exactly(request, size)
            for answer in _streamed(self._take(packet, tcp=True), packet):
                whole = struct.pack(">H", len(answer)) + answer
                request.sendall(whole[:100])  # a stream has no packets
                request.sendall(whole[100:])


class _Datagrams(socketserver.UDPServer):
    allow_reuse_address = True


class _Streams(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _answering(answer: Callable[[Any, Any], None]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request, self.client_address)

    return Handler


def _good(packet: bytes) -> bytes:
    return dns.reply(packet, ((dns.A, ADDRESS),))


def _datagrams(how: str, packet: bytes) -> list[bytes]:
    """What it sends for a name that begins with `how`."""
    if how == "stalls":
        return []
    if how in ("big", "broken"):
        cut = dns.reply(packet)
        return [cut[:2] + bytes((cut[2] | 2,)) + cut[3:]]
    if how == "servfail":
        return [dns.reply(packet, code=dns.SERVFAIL)]
    if how == "nxdomain":
        return [dns.reply(packet, code=dns.NXDOMAIN)]
    if how == "forged":  # others' guesses come first
        other = dns.reply(dns.question("other"), ((dns.A, bytes(4)),))
        wrong = bytes((packet[0] ^ 1,)) + packet[1:]
        return [b"", b"x", other, _good(wrong), packet[:2] + other[2:], _good(packet)]
    if how == "long":  # more than the client has room for
        return [dns.reply(packet, BIG)]
    return [_good(packet)]


def _streamed(how: str, packet: bytes) -> list[bytes]:
    if how in ("stalls", "broken"):
        return []
    if how in ("big", "long"):
        return [dns.reply(packet, BIG)]
    return _datagrams(how, packet)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise ConnectionResetError
        data += more
    return data


@contextmanager
def upstream(address: str) -> Iterator[Upstream]:
    """One that is closed whatever happens."""
    made = Upstream(address)
    try:
        yield made
    finally:
        made.close()
