"""A raw attach or exec connection, as clients of the Engine API open it.

Owns the request, the answer's header and the bytes after it; must not know which engine answers.
"""

import json
import socket
from typing import Any

from tests.support.engine import Engine


class Hijack:
    """One taken-over connection; a context manager that closes it."""

    def __init__(
        self, engine: Engine, path: str, body: Any = None, *, upgrade: bool = True
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(engine.socket))
        data = b"" if body is None else json.dumps(body).encode()
        wish = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"{wish}Content-Length: {len(data)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + data)
        self._rest = b""
        self.status, self.headers = self._answer()

    def __enter__(self) -> "Hijack":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _answer(self) -> tuple[int, dict[str, str]]:
        head = self._until(b"\r\n\r\n").decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), headers

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            data = self.socket.recv(65536)
            assert data, f"the connection ended before {end!r}: {self._rest!r}"
            self._rest += data
        found, _, self._rest = self._rest.partition(end)
        return found + end

    def expect(self, text: bytes) -> bytes:
        """Read up to `text`, which must come."""
        return self._until(text)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def send_all_and_end(self, data: bytes) -> None:
        """For a thread, while another reads."""
        self.send(data)
        self.end_input()

    def end_input(self) -> None:
        """Half-close: no more input."""
        self.socket.shutdown(socket.SHUT_WR)

    def read_exactly(self, size: int) -> bytes:
        """So many bytes; nothing at the end of the output."""
        while len(self._rest) < size:
            data = self.socket.recv(max(1 << 16, size - len(self._rest)))
            if not data:
                assert not self._rest, f"the output ends within a piece: {self._rest[:80]!r}"
                return b""
            self._rest += data
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def read_all(self) -> bytes:
        """Everything up to the end of the output."""
        found = [self._rest]
        self._rest = b""
        while data := self.socket.recv(1 << 16):
            found.append(data)
        return b"".join(found)
