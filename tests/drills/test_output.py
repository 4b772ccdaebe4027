"""A container's output while its log is rotated, and while who reads it is slow or dies."""

import signal
import socket

import pytest

from tests.drills.test_daemon_killed import ENDLESS, assert_numbered, finish
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.processes import Identity, send, wait_gone

LINES = 60_000
# 100 bytes a line: 6 MB, which no pipe and no socket's buffer holds
COMMAND = [
    "awk",
    'BEGIN { pad = sprintf("%91s", ""); '
    f'for (i = 1; i <= {LINES}; i++) {{ printf "%08d%s\\n", i, pad; '
    'if (i % 6000 == 0) { fflush(); system("sleep 0.1") } } }',
]


def numbers(log: bytes) -> list[int]:
    return [int(line[:8]) for line in log.splitlines()]


def test_a_log_is_rotated_while_no_daemon_runs(daemon: AiodDaemon) -> None:
    """What is kept has no gap and no repeat, and ends with the last line."""
    settings = {"Type": "json-file", "Config": {"max-size": "300k", "max-file": "4"}}
    with daemon.api() as api:
        container = api.run(*COMMAND, HostConfig={"LogConfig": settings})
        init = Identity.of(api.state(container)["Pid"])
        eventually(lambda: api.logs(container, tail=1), bool)
    daemon.sigkill()
    wait_gone(init, 60)
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 0
        kept = numbers(api.logs(container))
    assert kept == list(range(kept[0], LINES + 1))
    files = sorted((daemon.paths.container(container)).glob("*-json.log*"))
    assert len(files) == 4
    assert all(file.stat().st_size < 320_000 for file in files)
    finish(daemon)


@pytest.mark.parametrize(
    "request_line",
    ["POST /containers/{}/attach?stream=1&stdout=1", "GET /containers/{}/logs?follow=1&stdout=1"],
    ids=["attach", "logs"],
)
def test_a_reader_that_does_not_read_holds_nothing_up(
    daemon: AiodDaemon, request_line: str
) -> None:
    with daemon.api() as api, socket.socket(socket.AF_UNIX) as reader:
        container = api.create(Image="base", Cmd=COMMAND)
        api.start(container)
        reader.connect(str(daemon.socket))
        asked = f"{request_line.format(container)} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        reader.sendall(asked.encode())
        assert reader.recv(12).startswith(b"HTTP/1.1 200")
        assert api.wait(container) == 0
        assert numbers(api.logs(container)) == list(range(1, LINES + 1))
    finish(daemon)


def test_a_reader_that_is_killed_takes_nothing_along(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        container = api.run(*ENDLESS)
        for verb in (["logs", "-f"], ["attach", "--sig-proxy=false"]):
            with daemon.spawn(*verb, container) as reader:
                assert reader.stdout is not None
                reader.stdout.read(1000)
                send(Identity.of(reader.pid), signal.SIGKILL)
        daemon.docker("exec", container, "touch", "/enough")
        assert api.wait(container) == 0
        assert assert_numbered(api.logs(container)) > 0
    finish(daemon)
