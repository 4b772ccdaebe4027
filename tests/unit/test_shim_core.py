"""The loop that holds a process's output, without a container."""

import os
import select
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.shim.core import Core, EventKind, Outputs, Spool, SpoolState
from aiod.shim.protocol import LogConfig

CHUNK = b"x" * 65536


class Loop:
    """A core in a thread of its own, with one process whose output is `feed`."""

    def __init__(self, log: LogConfig) -> None:
        self.child = subprocess.Popen(["sleep", "1000"])
        output, self.feed = os.pipe()
        self.core = Core()
        self.number = self.core.add(self.child.pid, Outputs(output, -1, False), log)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self.core.run(listening=False).kind is not EventKind.WAKE:
            pass

    def close(self) -> None:
        self.core.wake()
        self.thread.join()
        self.core.close()
        os.close(self.feed)
        self.child.kill()
        self.child.wait()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop(LogConfig("none"))
    yield made
    made.close()


def drained(spool: Spool) -> int:
    size = 0
    while (chunk := spool.read()) is not None:
        size += len(chunk[1])
    return size


def test_a_reader_that_lags_too_far_is_cut_and_nobody_waits(loop: Loop, tmp_path: Path) -> None:
    slow = loop.core.subscribe(loop.number, 1, str(tmp_path), limit=1 << 20)
    patient = loop.core.subscribe(loop.number, 1, str(tmp_path))
    for _ in range(64):  # 4 MiB into a pipe of 64 KiB: it returns because the loop reads on
        os.write(loop.feed, CHUNK)
    while slow.state() is SpoolState.OPEN:
        assert select.select([slow.event_fd], [], [], 20)[0]
        slow.clear_event()
    assert slow.state() is SpoolState.CUT
    assert 0 < drained(slow) <= 1 << 20
    size = 0
    while size < 64 * len(CHUNK):
        assert select.select([patient.event_fd], [], [], 20)[0]
        patient.clear_event()
        size += drained(patient)
    assert (size, patient.state()) == (64 * len(CHUNK), SpoolState.OPEN)
    slow.close()
    patient.close()


def test_what_was_read_gives_its_disk_space_back(loop: Loop, tmp_path: Path) -> None:
    spool = loop.core.subscribe(loop.number, 1, str(tmp_path), limit=2 << 20)
    size = 0
    for round_ in range(1, 17):  # 8 MiB through a spool that holds two
        for _ in range(8):
            os.write(loop.feed, CHUNK)
        while size < round_ * 8 * len(CHUNK):
            assert select.select([spool.event_fd], [], [], 20)[0]
            spool.clear_event()
            size += drained(spool)
    assert spool.state() is SpoolState.OPEN
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_process_has_no_output(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(ProcessLookupError):
        loop.core.subscribe(99, 1, str(tmp_path))
