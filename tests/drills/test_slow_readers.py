"""20 clients that read a kilobyte a second from one container that writes as fast as it can.

The bounds asserted here are those of docs/operations.md, "What readers cost".
"""

import contextlib
import hashlib
from collections.abc import Iterator

import pytest

from tests.drills.test_daemon_killed import finish
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.http import Api
from tests.support.processes import parent
from tests.support.slowreaders import SlowReader, peak_growth, reading, unlinked

READERS = 20
LINES = 500_000
LINE = b"x" * 79
DAEMON_KIB = READERS * 512 + (8 << 10)
SHIM_KIB = 1 << 10
BACKLOG = 256 << 20
SCRIPT = (
    f"until [ -e /go ]; do sleep 0.05; done; yes {LINE.decode()} | head -n {LINES}; "
    "echo all; exec sleep 1000000"
)
WAYS = {
    "logs": ("GET /containers/{}/logs?follow=1&stdout=1&stderr=1", False),
    "attach": ("POST /containers/{}/attach?stream=1&stdout=1&stderr=1", False),
    "terminal": ("POST /containers/{}/attach?stream=1&stdout=1&stderr=1", True),
    "websocket": ("GET /containers/{}/attach/ws?stream=1&stdout=1&stderr=1", False),
}


def expected(end: bytes) -> bytes:
    return (LINE + end) * LINES + b"all" + end


def logged(api: Api, container: str, *, tty: bool, **query: str | int) -> bytes:
    if not tty:
        return api.logs(container, **query)
    asked: dict[str, str | int] = {"stdout": 1, **query}
    return api.send("GET", f"/containers/{container}/logs", None, **asked).body


def touch(api: Api, container: str, path: str) -> None:
    made = api.call("POST", f"/containers/{container}/exec", {"Cmd": ["touch", path]})
    api.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})


def shim_of(api: Api, container: str) -> int:
    found = parent(api.state(container)["Pid"])
    assert found is not None
    return found


@contextlib.contextmanager
def readers_of(daemon: AiodDaemon, request: str) -> Iterator[list[SlowReader]]:
    with contextlib.ExitStack() as stack:
        readers = []
        for _ in range(READERS):
            readers.append(SlowReader(daemon, request))
            stack.callback(readers[-1].close)
        yield readers


@pytest.mark.parametrize("way", WAYS)
def test_they_cost_little_memory_and_hold_nothing_up(daemon: AiodDaemon, way: str) -> None:
    """All is written and logged while each of them has had a few kilobytes of it."""
    request, tty = WAYS[way]
    end = b"\r\n" if tty else b"\n"
    with daemon.api(timeout=300) as api:
        container = api.run("sh", "-c", SCRIPT, Tty=tty)
        shim = shim_of(api, container)
        touch(api, container, "/ready")  # with its first call a shim's front begins
        with readers_of(daemon, request.format(container)) as readers, reading(readers):
            growth = peak_growth(daemon.pid), peak_growth(shim)
            touch(api, container, "/go")
            eventually(
                lambda: logged(api, container, tty=tty, tail=1),
                lambda last: last == b"all" + end,
                300,
            )
            eventually(lambda: min(reader.received for reader in readers), bool)
            assert max(reader.received for reader in readers) < LINES * len(LINE) // 10
            grown = growth[0](), growth[1]()
            waiting = unlinked(shim, daemon.paths.root)
            assert (len(waiting), sum(waiting) <= BACKLOG) == (int(way != "logs"), True)
            written = hashlib.sha256(logged(api, container, tty=tty)).digest()
        assert grown[0] <= DAEMON_KIB, grown
        assert grown[1] <= SHIM_KIB, grown
        assert written == hashlib.sha256(expected(end)).digest()
        eventually(lambda: unlinked(shim, daemon.paths.root), lambda left: not left)
    finish(daemon)
