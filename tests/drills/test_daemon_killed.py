"""SIGKILL of the daemon, wherever it hurts; containers must not notice."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.drills import tour
from tests.drills.tour import Walk
from tests.support import leaks
from tests.support.daemon import AiodDaemon
from tests.support.engine import DaemonDiedError, eventually
from tests.support.http import Api
from tests.support.processes import Identity, wait_gone
from tests.support.witness import Witness, counted, counting_command


def crash_points() -> list[str]:
    """The names that the daemon's modules declare, read in a process of its own."""
    script = "import aiod.daemon, aiod.failpoints; print(*sorted(aiod.failpoints.names()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    return done.stdout.split()


POINTS = crash_points()
RECOVERY_POINTS = [name for name in POINTS if name.startswith("recover.")]
_IMAGES = (
    "build.",
    "collect.",
    "content.",
    "derive.",
    "import.",
    "layer.",
    "load.",
    "pull.",
    "push.",
)
IMAGE_POINTS = [name for name in POINTS if name.startswith(_IMAGES)]
VOLUME_POINTS = [name for name in POINTS if name.startswith("volume.")]
TOUR_POINTS = [
    name for name in POINTS if not name.startswith(("recover.", "volume.", "network.", *_IMAGES))
]


def finish(daemon: AiodDaemon) -> None:
    """Remove every container; nothing of it may be left, also when the daemon ends."""
    leaks.assert_none(daemon)
    with daemon.api() as api:
        for container in api.containers():
            api.remove(container["Id"])
        assert api.containers() == []
    leaks.assert_none(daemon)
    assert daemon.stop() == 0
    eventually(daemon.processes, lambda found: not found)


@contextlib.contextmanager
def under_way(daemon: AiodDaemon, method: str, path: str) -> Iterator[None]:
    """A call whose answer may never come."""

    def call() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException), daemon.api() as api:
            api.send(method, path)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive()


def test_there_are_crash_points_in_every_verb() -> None:
    verbs = {name.split(".")[0] for name in POINTS}
    assert verbs >= {"create", "start", "stop", "remove", "load", "recover"}, POINTS


def test_fifty_running_containers(daemon: AiodDaemon) -> None:
    """40 go on; 8 exit with a code of their own while no daemon runs, 2 are killed."""

    def start(number: int) -> Witness:
        with daemon.api() as api:
            return Witness.start(api, daemon, Cmd=counting_command(number, 0.5))

    with ThreadPoolExecutor(8) as pool:
        witnesses = list(pool.map(start, range(50)))
    daemon.sigkill()
    for number in range(1, 9):
        witnesses[number].end()
    for witness in witnesses[9:11]:
        witness.end(signal.SIGKILL)
    daemon.restart()
    with daemon.api() as api:
        for number in range(1, 9):
            assert api.wait(witnesses[number].container) == number
            state = api.state(witnesses[number].container)
            assert (state["Status"], state["ExitCode"]) == ("exited", number)
            assert counted(api.logs(witnesses[number].container)) > 0
        for witness in witnesses[9:11]:
            assert api.wait(witness.container) == 137
        Witness.assert_all_undisturbed(api, [witnesses[0], *witnesses[11:]])
    finish(daemon)


@pytest.fixture(scope="class")
def walk(class_daemon: AiodDaemon) -> Iterator[Walk]:
    """A tour of all verbs beside a container that must not notice."""
    daemon = class_daemon
    daemon.start()
    with daemon.api() as api:
        witness = Witness.start(api, daemon)

    def settled() -> None:
        with daemon.api() as api:
            witness.assert_undisturbed(api)
        leaks.assert_none(daemon)

    walk = Walk(daemon, tour.STEPS, settled)
    yield walk
    walk.complete()
    settled()
    finish(daemon)


class TestKilledAtEveryPoint:
    """Of all verbs on containers."""

    @pytest.mark.parametrize("point", TOUR_POINTS)
    def test_killed_at(self, walk: Walk, point: str) -> None:
        """The daemon dies at `point` in the middle of a tour with which its successor goes on."""
        walk.die_at(point)


class Aftermath:
    """Containers in all states that a recovery has work with."""

    def __init__(self, daemon: AiodDaemon) -> None:
        self._daemon = daemon
        with daemon.api() as api:
            self.running = Witness.start(api, daemon)
            self.ended = Witness.start(api, daemon, Cmd=counting_command(9))
            self.killed = Witness.start(api, daemon)
            self.passing = Witness.start(api, daemon, HostConfig={"AutoRemove": True})
            policy = {"RestartPolicy": {"Name": "always"}}
            self.restarting = Witness.start(api, daemon, HostConfig=policy)
            self.lost = Witness.start(api, daemon)
            self.created = api.create(Image="base", Cmd=["sh", "-c", "exit 4"])

    def strike(self) -> None:
        """Kill the daemon, and meanwhile end some containers and leave rubbish behind."""
        self._daemon.sigkill()
        self.ended.end()
        self.killed.end(signal.SIGKILL)
        self.passing.end()
        self.restarting.end()
        os.kill(self.lost.shim.pid, signal.SIGKILL)
        wait_gone(self.lost.shim)
        paths = self._daemon.paths
        for rubbish in (paths.overlay / "tmp-x", paths.ingest / "x", paths.shims / ("f" * 64),
                        paths.containers / ("e" * 64)):  # fmt: skip
            (rubbish / "diff").mkdir(parents=True)

    def assert_settled(self, api: Api) -> None:
        """Everything is as the rules say, however often recovery was interrupted."""
        self.running.assert_undisturbed(api)
        assert api.wait(self.ended.container) == 9
        assert api.wait(self.killed.container) == 137
        lost = api.state(self.lost.container)
        assert (lost["Status"], lost["ExitCode"]) == ("exited", 137)
        assert lost["Error"]
        assert not self.lost.init.alive()
        eventually(
            lambda: [container["Id"] for container in api.containers()],
            lambda there: self.passing.container not in there,
        )
        again = eventually(
            lambda: api.state(self.restarting.container), lambda s: s["Status"] == "running"
        )
        assert again["Pid"] != self.restarting.init.pid
        api.start(self.created)
        assert api.wait(self.created) == 4


@pytest.mark.parametrize(
    ("point", "nth"), [*((point, 1) for point in RECOVERY_POINTS), ("recover.one-taken-up", 4)]
)
def test_killed_twice_in_recovery(daemon: AiodDaemon, point: str, nth: int) -> None:
    aftermath = Aftermath(daemon)
    aftermath.strike()
    with contextlib.suppress(DaemonDiedError):
        daemon.crash_at(point, nth)
    assert daemon.wait_death(20) == -signal.SIGKILL, f"recovery does not reach {point}"
    with contextlib.suppress(DaemonDiedError):
        daemon.crash_at(point, nth)
        daemon.sigkill()
    assert daemon.wait_death(20) == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        aftermath.assert_settled(api)
    finish(daemon)


def test_restarted_many_times(daemon: AiodDaemon) -> None:
    aftermath = Aftermath(daemon)
    aftermath.strike()
    for _ in range(3):
        daemon.restart()
        daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        aftermath.assert_settled(api)
    finish(daemon)


def test_stopped_in_order(daemon: AiodDaemon) -> None:
    """SIGTERM ends the daemon with 0 and leaves containers alone too."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
    assert daemon.stop() == 0
    assert witness.init.alive()
    daemon.restart()
    with daemon.api() as api:
        witness.assert_undisturbed(api)
    finish(daemon)


LINES = 200_000
_NUMBERED = (
    # 100 bytes a line, 1 MB every tenth of a second
    'BEGIN {{ pad = sprintf("%91s", ""); for (i = 1; {unless}; i++) {{ printf "%08d%s\\n", '
    'i, pad; if (i % 10000 == 0) {{ fflush(); system("sleep 0.1") }} }} }}'
)
STREAM = ["awk", _NUMBERED.format(unless=f"i <= {LINES}")]
ENDLESS = ["awk", _NUMBERED.format(unless='i % 10000 || (getline x < "/enough") < 0')]


def assert_numbered(log: bytes) -> int:
    """Lines 1, 2, 3… without gap or repeat; returns how many."""
    numbers = [int(line[:8]) for line in log.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


def test_during_a_stream(daemon: AiodDaemon) -> None:
    """10 MB/s of numbered lines go on while the daemon is killed, twice, under a follower."""
    with daemon.api() as api:
        container = api.run(*ENDLESS)
        init = Identity.of(api.state(container)["Pid"])
    for part in (LINES // 4, LINES // 2):
        with daemon.spawn("logs", "-f", container) as follower:
            assert follower.stdout is not None
            seen = [follower.stdout.readline() for _ in range(part)]
            daemon.sigkill()
            seen += follower.stdout.read().splitlines(keepends=True)
            whole = [line for line in seen if line.endswith(b"\n")]
            assert assert_numbered(b"".join(whole)) >= part
        assert init.alive()
        daemon.restart()
    with daemon.api() as api:
        assert api.state(container)["Pid"] == init.pid
        daemon.docker("exec", container, "touch", "/enough")
        assert api.wait(container) == 0
        assert assert_numbered(api.logs(container)) >= LINES // 2
    finish(daemon)


def test_stream_ends_while_no_daemon_runs(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        container = api.run(*STREAM)
        init = Identity.of(api.state(container)["Pid"])
    daemon.sigkill()
    wait_gone(init, 60)
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 0
        assert assert_numbered(api.logs(container)) == LINES
    finish(daemon)


def test_with_execs_and_attaches_open(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        script = "echo in; while read x; do echo got $x; done; exit 6"
        cat = api.create(Image="base", Cmd=["sh", "-c", script], OpenStdin=True)
        api.start(cat)
        reader = Witness.of(api, daemon, cat)
        execs = [_start_exec(api, witness.container, 11 + number) for number in range(3)]
        inits = [_exec_identity(api, one) for one in execs]
    for number, init in enumerate(inits):
        eventually(Path(f"/proc/{init.pid}/root/ready-{11 + number}").exists, bool)
    with contextlib.ExitStack() as clients:
        attached = clients.enter_context(daemon.spawn("attach", "--sig-proxy=false", cat))
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"1\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got 1\n"
        running = clients.enter_context(daemon.spawn("exec", "-i", witness.container, "cat"))
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"x\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"x\n"
        daemon.sigkill()
        attached.communicate(timeout=30)
        running.communicate(timeout=30)
    os.kill(inits[0].pid, signal.SIGUSR1)
    wait_gone(inits[0])
    daemon.restart()
    with daemon.api() as api:
        witness.assert_undisturbed(api)
        assert reader.init.alive()
        assert exec_code(api, execs[0]) == 11
        for number in (1, 2):
            now = api.call("GET", f"/exec/{execs[number]}/json")
            assert (now["Running"], now["Pid"]) == (True, inits[number].pid)
        os.kill(inits[1].pid, signal.SIGUSR1)
        assert exec_code(api, execs[1]) == 12
    with daemon.spawn("attach", "--sig-proxy=false", cat) as again:
        assert again.stdin is not None
        assert again.stdout is not None
        again.stdin.write(b"2\n")
        again.stdin.flush()
        assert again.stdout.readline() == b"got 2\n"
        again.kill()
    with daemon.api() as api:
        assert api.logs(cat) == b"in\ngot 1\ngot 2\n"
    finish(daemon)


def _start_exec(api: Api, container: str, code: int) -> str:
    script = f"trap 'exit {code}' USR1; touch /ready-{code}; while :; do sleep 0.1; done"
    command = ["sh", "-c", script]
    created = api.call("POST", f"/containers/{container}/exec", {"Cmd": command})
    api.call("POST", f"/exec/{created['Id']}/start", {"Detach": True})
    return str(created["Id"])


def exec_code(api: Api, one: str) -> int:
    """Its exit code, once it has ended."""
    ended = eventually(lambda: api.call("GET", f"/exec/{one}/json"), lambda it: not it["Running"])
    return int(ended["ExitCode"])


def _exec_identity(api: Api, one: str) -> Identity:
    return Identity.of(api.call("GET", f"/exec/{one}/json")["Pid"])


def test_events_have_no_gap(daemon: AiodDaemon) -> None:
    """What happened while the daemon was down is told, once and in order."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        api.remove(api.create(Image="base", Cmd=["true"]))
    daemon.sigkill()
    witness.end()
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(witness.container) == 17
        api.remove(witness.container)
    # The docker command cuts a duration, such as `0s`, to whole seconds.
    until = f"{time.time():.9f}"
    flags = ("--since", "1h", "--until", until, "--filter", f"container={witness.container}")
    lines = daemon.docker("events", *flags, "--format", "{{.Action}}").stdout.split()
    assert lines == ["create", "start", "die", "destroy"]
    finish(daemon)
