"""The daemon under a service manager, and the units in systemd/."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.binaries import require
from tests.support.daemon import AiodDaemon
from tests.support.http import Api
from tests.support.notify import NotifySocket
from tests.support.processes import Identity, read_proc, wait_gone

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it starts daemons")

UNITS = Path(__file__).parents[2] / "systemd"
# Becomes a daemon to which a socket was passed, as sd_listen_fds(3) has it.
PASS = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def _verify(*units: Path) -> subprocess.CompletedProcess[str]:
    command = [require("systemd-analyze"), "verify", *map(str, units)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_finds_nothing_wrong_with_the_units() -> None:
    done = _verify(*sorted(UNITS.iterdir()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_would_find_what_is_wrong(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path)
    service = tmp_path / "aiod.service"
    service.write_text(service.read_text().replace("KillMode=process", "KillMode=proces"))
    assert "kill mode" in _verify(service).stderr


def test_the_service_leaves_containers_alone() -> None:
    lines = (UNITS / "aiod.service").read_text().splitlines()
    assert {
        "Type=notify", "KillMode=process", "Delegate=yes", "Restart=always",
        "OOMPolicy=continue", "RuntimeDirectoryPreserve=yes",
    } <= set(lines)  # fmt: skip


class PassedSocket(AiodDaemon):
    """A daemon that was passed its socket, which outlives it."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(str(self.socket))
        self.listening.listen(64)

    @property
    def host(self) -> str:
        return "fd://"

    def launch_passed(self) -> None:
        """Start it; return without waiting for it to be ready."""
        descriptor = self.listening.fileno()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PASS, str(descriptor), *self.command()],
                pass_fds=(descriptor,), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip


@pytest.fixture
def passed(scratch: Path) -> Iterator[PassedSocket]:
    daemon = PassedSocket(scratch / "passed")
    try:
        yield daemon
    finally:
        daemon.listening.close()
        daemon.destroy()


def test_a_request_made_while_no_daemon_runs_is_answered_by_the_next(
    passed: PassedSocket,
) -> None:
    passed.launch_passed()
    with passed.api() as api:
        container = api.run("sleep", "1000")
        pid = api.state(container)["Pid"]
    passed.sigkill()
    with passed.api() as api:
        api._connection.request("GET", f"/containers/{container}/json")
        passed.launch_passed()
        answer = api._connection.getresponse()
        assert answer.status == 200
        answer.read()
        assert api.state(container)["Pid"] == pid


def test_a_socket_that_was_passed_is_not_taken_away(passed: PassedSocket) -> None:
    passed.launch_passed()
    with passed.api() as api:
        api.call("GET", "/version")
    assert passed.stop() == 0
    assert passed.socket.exists()


def test_no_child_takes_the_variables_for_its_own(passed: PassedSocket) -> None:
    passed.launch_passed()
    with passed.api() as api:
        api.start(api.create(Image="base", Cmd=["sleep", "1000"]))
    for pid in passed.processes():
        environment = read_proc(pid, "environ")  # nothing of one that has ended meanwhile
        assert "LISTEN_FDS=" not in environment
        assert "NOTIFY_SOCKET=" not in environment


def test_systemd_starts_it_at_the_first_request(new_daemon: AiodDaemon) -> None:
    new_daemon.log.touch()
    with new_daemon.log.open("ab") as log:
        command = [
            require("systemd-socket-activate"), "-l", str(new_daemon.socket), sys.executable,
            "-m", "aiod", "serve", "--host", "fd://", "--root", str(new_daemon.paths.root),
            "--state", str(new_daemon.paths.state),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE)
    new_daemon.process = process
    assert process.stderr is not None
    assert b"Listening on" in process.stderr.readline()
    assert not new_daemon.paths.root.exists()
    with Api(new_daemon.socket) as api:
        assert api.call("GET", "/version")["ApiVersion"]
    process.terminate()
    assert process.wait(60) == 0
    process.stderr.close()


def test_without_a_socket_passed_it_says_so(new_daemon: AiodDaemon) -> None:
    command = new_daemon.command()
    command[command.index("--host") + 1] = "fd://"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "aiod: --host fd://: the service manager passed no socket (LISTEN_FDS)\n"


def test_it_says_ready_then_alive_again_and_again_then_stopping(new_daemon: AiodDaemon) -> None:
    with NotifySocket(new_daemon.base / "n.sock") as notify, new_daemon.log.open("ab") as log:
        environment = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "200000"}
        process = subprocess.Popen(
            new_daemon.command(), env={**os.environ, **environment}, stdout=log, stderr=log
        )
        new_daemon.process = process
        messages = notify.messages()
        before_ready = []
        while not (message := next(messages)).startswith("READY=1"):
            before_ready.append(message)
        assert set(before_ready) <= {"WATCHDOG=1"}
        assert f"MAINPID={process.pid}" in message.split("\n")
        assert [next(messages) for _ in range(3)] == ["WATCHDOG=1"] * 3
        process.terminate()
        while (message := next(messages)) == "WATCHDOG=1":
            pass
        assert message == "STOPPING=1"
        assert process.wait(60) == 0


def test_it_closes_all_when_told_to_end_as_soon_as_it_is_ready(new_daemon: AiodDaemon) -> None:
    new_daemon.start()
    assert new_daemon.stop() == 0, new_daemon.log_tail()
    assert not new_daemon.socket.exists()
    assert not new_daemon.processes()


def test_a_container_is_not_as_precious_as_the_service(new_daemon: AiodDaemon) -> None:
    # A service's score may only be raised where CAP_SYS_RESOURCE is absent; either way it is
    # not the container's.
    new_daemon.start()
    with new_daemon.api() as api:
        container = api.run("sh", "-c", "cat /proc/self/oom_score_adj")
        api.wait(container)
        own = int(api.logs(container))
    new_daemon.stop()
    before = Path("/proc/self/oom_score_adj").read_text()
    Path("/proc/self/oom_score_adj").write_text(str(int(before) + 100))
    try:
        new_daemon.start()
    finally:
        Path("/proc/self/oom_score_adj").write_text(before)
    with new_daemon.api() as api:
        container = api.run("sh", "-c", "cat /proc/self/oom_score_adj")
        api.wait(container)
        assert int(api.logs(container)) == own == 0


def test_stopping_the_service_stops_no_container(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        init = Identity.of(api.state(api.run("sleep", "1000"))["Pid"])
    service = Identity.of(daemon.pid)
    assert daemon.stop() == 0
    wait_gone(service)
    assert init.alive()
    daemon.start()
