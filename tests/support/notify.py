"""The receiving end of sd_notify(3), so that a test waits for an event and not for a while."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class NotifySocket:
    """A bound NOTIFY_SOCKET; use as a context manager around the start of a daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> "NotifySocket":
        self.path.unlink(missing_ok=True)
        self._socket.bind(str(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def messages(self, seconds: float = 60.0) -> Iterator[str]:
        """Each message as it comes; TimeoutError when none came for `seconds`."""
        self._socket.settimeout(seconds)
        while True:
            yield self._socket.recv(4096).decode()

    def wait_ready(self, process: subprocess.Popen[bytes], seconds: float = 60.0) -> bool:
        """Wait for READY=1; False when the process ended first, TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        pidfd = os.pidfd_open(process.pid)
        try:
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            poller.register(pidfd, select.POLLIN)
            while (left := deadline - time.monotonic()) > 0:
                ready = {descriptor for descriptor, _ in poller.poll(left * 1000)}
                if self._socket.fileno() in ready:
                    if b"READY=1" in self._socket.recv(4096).split(b"\n"):
                        return True
                elif pidfd in ready:
                    process.wait()
                    return False
            raise TimeoutError(f"pid {process.pid} was not ready within {seconds} s")
        finally:
            os.close(pidfd)
