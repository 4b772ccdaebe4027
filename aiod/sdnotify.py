"""The service manager's side channel: readiness, watchdog, sockets passed on start.

Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without a service manager
every call is a no-op. Must not know what the daemon does.
"""

import os
import socket
from collections.abc import MutableMapping

LISTEN_FDS_START = 3


class Notifier:
    """Sends state to `NOTIFY_SOCKET`, if there is one.

    The variables are taken out of the environment, so that no child speaks for the daemon.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environ is None else environ
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog_seconds(environment)

    def ready(self, status: str = "") -> None:
        """The daemon answers requests."""
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def stopping(self) -> None:
        """The daemon has begun to stop."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Put the watchdog off."""
        self._send("WATCHDOG=1")

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two `alive`: half of what the manager allows; None without one."""
        return None if self._watchdog is None else self._watchdog / 2

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.connect(address)
                sock.send("\n".join(lines).encode())
            except OSError:
                # The manager is gone or does not read: nothing that a daemon could do
                # about it, and no reason to stop.
                return


def _watchdog_seconds(environment: MutableMapping[str, str]) -> float | None:
    pid, allowed = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
    if pid and pid != str(os.getpid()):
        return None
    try:
        microseconds = int(allowed)
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def listen_sockets(environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The listening sockets that the service manager passed to this process.

    The variables are taken out of the environment, so that no child mistakes them for its own.
    """
    environment = os.environ if environ is None else environ
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for descriptor in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)):
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets
