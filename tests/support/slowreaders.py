"""Clients that read a kilobyte a second, and how much memory a process took meanwhile.

Must not know what they read nor which engine gives it.
"""

import base64
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.engine import Engine

RATE = 1024  # bytes a second
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
)


class SlowReader:
    """One connection to an engine on which an answer has begun."""

    def __init__(self, engine: Engine, request: str) -> None:
        self.received = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(engine.socket))
        more = _UPGRADE if request.partition("?")[0].endswith("/ws") else ""
        head = f"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{more}\r\n"
        self.socket.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(1)
        assert answer.split()[1] in (b"200", b"101"), answer

    def sip(self) -> None:
        """Read a second's share, or what there is of it."""
        with contextlib.suppress(BlockingIOError):
            self.received += len(self.socket.recv(RATE, socket.MSG_DONTWAIT))

    def rest(self) -> Iterator[bytes]:
        """All that is left, as fast as it comes."""
        while data := self.socket.recv(1 << 20):
            self.received += len(data)
            yield data

    def close(self) -> None:
        """Go away."""
        self.socket.close()


@contextlib.contextmanager
def reading(readers: Sequence[SlowReader]) -> Iterator[None]:
    """Meanwhile each of them reads at its pace; they are not closed."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(1.0):
            for reader in readers:
                reader.sip()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def peak_growth(pid: int) -> Callable[[], int]:
    """From now on: by how many KiB a process's resident memory has exceeded that of now.

    Source: proc_pid_clear_refs(5), 5 resets the peak.
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _status_kib(pid, "VmRSS")
    return lambda: _status_kib(pid, "VmHWM") - before


def unlinked(pid: int, place: Path) -> list[int]:
    """Bytes on disk of each file below `place` that has no name and that a process holds."""
    sizes = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith(str(place)) and target.endswith("(deleted)"):
                sizes.append(os.stat(f"/proc/{pid}/fd/{name}").st_blocks * 512)
    return sizes
