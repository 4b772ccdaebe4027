"""No space is left below the root: calls say so, nothing is lost, and it goes on afterwards."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.config import Paths
from tests.drills.test_daemon_killed import finish
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.processes import wait_gone
from tests.support.witness import Witness

_SIZE = "size=48m"


@pytest.fixture
def small_disk(scratch: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", _SIZE, "small", directory], check=True)
        yield Path(directory)
        subprocess.run(["umount", directory], check=True)


@pytest.fixture
def small(small_disk: Path, new_daemon: AiodDaemon) -> AiodDaemon:
    """A daemon whose root is on it."""
    new_daemon.paths = Paths(small_disk / "r", new_daemon.paths.state)
    new_daemon.start()
    return new_daemon


def fill(directory: Path) -> Path:
    """Leave not one free block."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break
    assert os.statvfs(directory).f_bavail == 0
    return filler


def test_full_disk(small: AiodDaemon) -> None:
    with small.api() as api:
        running, ending = Witness.start(api, small), Witness.start(api, small)
        idle = api.create(Image="base", Cmd=["true"])
        filler = fill(small.paths.root)
        for path in ("/containers/create", f"/containers/{idle}/start"):
            reply = api.send("POST", path, {"Image": "base"} if "create" in path else None)
            assert reply.status == 500, reply.message
            assert "full" in reply.message or "No space left" in reply.message, reply.message
        assert len(api.containers()) == 3
        ending.end()
        assert running.init.alive()
        filler.unlink()
        assert api.wait(ending.container) == 17
        api.start(idle)
        assert api.wait(idle) == 0
        assert api.state(running.container)["Pid"] == running.init.pid
    finish(small)


def test_recovery_on_a_full_disk(small: AiodDaemon) -> None:
    """The daemon comes up, and records what happened as soon as it can."""
    with small.api() as api:
        running, ending = Witness.start(api, small), Witness.start(api, small)
    small.sigkill()
    filler = fill(small.paths.root)
    ending.end()
    small.restart()
    eventually(small.log_tail, lambda said: "database or disk is full" in said)
    filler.unlink()
    with small.api() as api:
        assert api.wait(ending.container) == 17
        assert api.state(running.container)["Pid"] == running.init.pid
        eventually(lambda: api.state(ending.container)["Status"], lambda now: now == "exited")
    wait_gone(ending.shim)
    finish(small)
