"""The daemon dies, and containers are hostile, while files are copied and limits change."""

import io
import os
import signal
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.compat.test_changing import limits
from tests.drills.test_daemon_killed import finish
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.http import UnixConnection
from tests.support.layertars import layer, member

TAR = {"Content-Type": "application/x-tar"}


def archive(container: str, path: str) -> str:
    return f"/containers/{container}/archive?{urlencode({'path': path})}"


def mounted_below(place: Path) -> list[str]:
    """Mounts of this place, in the namespace of any process."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        except OSError:
            continue
        found += [f"{pid}: {line}" for line in lines if str(place) in line.split()[4]]
    return found


def test_a_daemon_that_dies_while_it_reads_leaves_no_mount(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        made = api.run("sh", "-c", "head -c 50000000 /dev/zero >/big; echo done")
        assert api.wait(made) == 0
        connection = UnixConnection(daemon.socket)
        connection.request("GET", archive(made, "/big"))
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(512)
    daemon.sigkill()
    connection.close()
    assert not mounted_below(daemon.base / "r" / "containers")
    daemon.restart()
    with daemon.api() as api:
        api.start(made)
        assert api.wait(made) == 0
    finish(daemon)


def test_a_reader_who_leaves_holds_nothing(daemon: AiodDaemon) -> None:
    """Neither descriptors nor threads, running or not, and starts go on meanwhile."""
    with daemon.api() as api:
        made = api.run("sh", "-c", "head -c 20000000 /dev/zero >/big; exec sleep 1000")
        api.call("POST", f"/containers/{made}/stop", None, t=0)
        _half_read(daemon, made)
        before = _held(daemon.pid)
        for _ in range(10):
            _half_read(daemon, made)
        api.start(made)
        for _ in range(10):
            _half_read(daemon, made)
        assert api.raw("GET", archive(made, "/big")).status == 200
        # The daemon hears of the last who left a moment later.
        eventually(lambda: _held(daemon.pid)[0], lambda number: number <= before[0] + 10)
        # the loop's own few
        eventually(lambda: _held(daemon.pid)[1], lambda number: number <= before[1] + 16)
        api.remove(made)
    finish(daemon)


def _held(pid: int) -> tuple[int, int]:
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))


def _half_read(engine: Engine, container: str) -> None:
    connection = UnixConnection(engine.socket)
    connection.request("GET", archive(container, "/"))
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read(512)
    connection.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's that nothing may reach."""
    (tmp_path / "secret").write_text("secret")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["secret"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_container_that_exchanges_what_is_on_the_way(daemon: AiodDaemon, outside: Path) -> None:
    """Directories become links to the host's and back, as fast as it can; nothing leads out."""
    with daemon.api() as api:
        script = (
            f"mkdir -p /dir/sub; ln -s {outside} /link; touch /ready;"
            "while :; do mv /dir /kept; mv /link /dir; mv /dir /link; mv /kept /dir; done"
        )
        made = api.run("sh", "-c", script)
        api.execute(made, *_READY)
        body = layer([member("dir/sub/file", b"x" * 1000, mode=0o4755), member("dir/secret", b"y")])
        came = 0
        for _ in range(60):
            assert api.raw("PUT", archive(made, "/"), body, TAR).status in (200, 400, 404)
            reply = api.raw("GET", archive(made, "/dir/secret"))
            assert reply.status in (200, 400, 404), reply.message
            if reply.status == 200:
                came += 1
                with tarfile.open(fileobj=io.BytesIO(reply.body)) as tar:
                    file = tar.extractfile(tar.getmembers()[0])
                    assert file is None or file.read() != b"secret"
        assert came
        api.remove(made)
    finish(daemon)


_READY = ["sh", "-c", "until test -e /ready; do :; done"]


def test_what_is_put_into_a_resting_container_is_whole_before_it_starts(
    daemon: AiodDaemon,
) -> None:
    """A start waits for the last byte."""
    with daemon.api() as api:
        made = api.create(Image="base", Cmd=["cmp", "/one", "/two"])
        data = os.urandom(4 << 20)
        body = layer([member("one", data), member("two", data)])
        connection = UnixConnection(daemon.socket)
        connection.putrequest("PUT", archive(made, "/"))
        connection.putheader("Content-Type", "application/x-tar")
        connection.putheader("Content-Length", str(len(body)))
        # More than is buffered on the way: once it is sent, the container is being written to.
        connection.endheaders(body[: len(body) // 2])
        with daemon.api() as other:
            start = threading.Thread(target=other.start, args=(made,))
            start.start()
            connection.send(body[len(body) // 2 :])
            assert connection.getresponse().status == 200
            connection.close()
            start.join(60)
        assert api.wait(made) == 0
        api.remove(made)
    finish(daemon)


@pytest.mark.parametrize("point", ["update.recorded", "update.applied"])
def test_limits_that_were_changing(daemon: AiodDaemon, point: str) -> None:
    """The next daemon has the kernel do what the record says, once."""
    with daemon.api() as api:
        made = api.run("sleep", "1000", HostConfig={"Memory": 64 << 20, "NetworkMode": "none"})
    daemon.sigkill()
    daemon.crash_at(point)
    with daemon.api() as api, suppress(OSError, HTTPException):
        api.send("POST", f"/containers/{made}/update", {"Memory": 32 << 20})
    assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        assert api.inspect(made)["HostConfig"]["Memory"] == 32 << 20
        found = limits(daemon, made)
        assert str(32 << 20) in (found.get("memory.limit_in_bytes"), found.get("memory.max"))
        assert api.send("POST", f"/containers/{made}/update", {"CpuShares": 100}).status == 200
        api.remove(made)
    finish(daemon)
