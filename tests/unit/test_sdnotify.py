"""What the daemon says to a service manager, and what it takes from one."""

import os
import socket
from pathlib import Path

import pytest

from aiod.sdnotify import Notifier, listen_sockets


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "n"))
    sock.settimeout(10)
    return sock


def test_it_says_ready_alive_and_stopping(manager: socket.socket) -> None:
    with manager:
        environ = {"NOTIFY_SOCKET": manager.getsockname()}
        notifier = Notifier(environ)
        notifier.ready("listening")
        notifier.alive()
        notifier.stopping()
        ready = manager.recv(1024).decode().split("\n")
        assert ready == ["READY=1", "STATUS=listening", f"MAINPID={os.getpid()}"]
        assert manager.recv(1024) == b"WATCHDOG=1"
        assert manager.recv(1024) == b"STOPPING=1"
        assert environ == {}, "no child speaks for the daemon"


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0aiod-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@aiod-test-{os.getpid()}"}).alive()
        sock.settimeout(10)
        assert sock.recv(1024) == b"WATCHDOG=1"


def test_a_manager_that_is_gone_or_was_never_there_is_no_error(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Notifier({}).ready()


def test_it_is_alive_twice_in_the_time_allowed() -> None:
    allowed = {"WATCHDOG_USEC": "30000000"}
    assert Notifier(dict(allowed)).watchdog_interval == 15
    assert Notifier(allowed | {"WATCHDOG_PID": str(os.getpid())}).watchdog_interval == 15
    assert Notifier(allowed | {"WATCHDOG_PID": "1"}).watchdog_interval is None
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_interval is None
    assert Notifier({}).watchdog_interval is None


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "OTHER": "y"}
    assert listen_sockets(environ) == []
    assert environ == {"OTHER": "y"}
