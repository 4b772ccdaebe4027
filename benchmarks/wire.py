"""How fast bytes and answers go between two network namespaces.

Must not know engines.
"""

import json
import os
import signal
import socket
import subprocess
import time

from tests.support.binaries import require
from tests.support.netns import Namespace
from tests.support.processes import mortal

PORT = 5201


def listening(where: Namespace) -> subprocess.Popen[bytes]:
    """An iperf3 server in a namespace, for one client; it is ready."""
    iperf = (require("iperf3"), "-s", "-1", "-p", str(PORT), "--forceflush")
    command = mortal(where.inside(*iperf))
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    while b"listening" not in (line := server.stdout.readline()):
        assert line, "iperf3 ended"
    return server


def gigabits(server: Namespace, where: Namespace, address: str, port: int, seconds: float) -> float:
    """Throughput of one TCP stream to a server, in Gbit/s, as the receiver counts it."""
    with listening(server) as listener:
        try:
            return _sent(where, address, port, seconds)
        finally:
            listener.kill()


def _sent(where: Namespace, address: str, port: int, seconds: float) -> float:
    command = where.inside(
        *(require("iperf3"), "-c", address, "-p", str(port), "-t", str(seconds), "-J")
    )
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if "error" in told:
        raise RuntimeError(f"iperf3: {told['error']}")
    return float(told["end"]["sum_received"]["bits_per_second"]) / 1e9


class Echo:
    """A process that gives back what it is sent, one client after the other; inside `with`."""

    def __init__(self, where: Namespace, port: int) -> None:
        with where.entered():
            server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _give_back(server)
            finally:
                os._exit(0)
        server.close()

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _give_back(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while data := client.recv(64):
                client.send(data)


def round_trips(where: Namespace, address: str, port: int, count: int) -> list[float]:
    """Microseconds of `count` single bytes there and back on one connection."""
    with where.entered():
        client = socket.create_connection((address, port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with client:
        return [_timed(client) for _ in range(count)]


def _timed(client: socket.socket) -> float:
    begin = time.perf_counter()
    client.send(b"x")
    if client.recv(1) != b"x":
        raise ConnectionError("another answer")
    return (time.perf_counter() - begin) * 1e6


def connections(where: Namespace, address: str, port: int, count: int) -> list[float]:
    """Microseconds of `count` connections, each with one byte there and back."""
    return [_connected(where, address, port) for _ in range(count)]


def _connected(where: Namespace, address: str, port: int) -> float:
    with where.entered():
        client = socket.socket(socket.AF_INET)
    with client:
        begin = time.perf_counter()
        client.connect((address, port))
        client.send(b"x")
        if client.recv(1) != b"x":
            raise ConnectionError("another answer")
        return (time.perf_counter() - begin) * 1e6
