"""The loop that holds a process's output, without a container."""

import contextlib
import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.shim.core import Core, EventKind, Outputs
from aiod.shim.protocol import LogConfig
from aiod.wire.frames import Decoder, Frame
from tests.support.engine import eventually

CHUNK = b"x" * 65536


class Loop:
    """A core in a thread of its own, with one process whose output is `feed`."""

    def __init__(self, log: LogConfig, place: Path, *, error: bool = False) -> None:
        self.place = place
        self.sockets: list[socket.socket] = []
        self.child = subprocess.Popen(["sleep", "1000"])
        output, self.feed = os.pipe()
        errors, self.error_feed = os.pipe() if error else (-1, -1)
        self.core = Core()
        self.number = self.core.add(self.child.pid, Outputs(output, errors, False), log)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self.core.run(listening=False).kind is not EventKind.WAKE:
            pass

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()
        self.core.wake()
        self.thread.join()
        self.core.close()
        os.close(self.feed)
        if self.error_feed >= 0:
            os.close(self.error_feed)
        self.child.kill()
        self.child.wait()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(LogConfig("none"), tmp_path)
    yield made
    made.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Loop]:
    """One with an error output too."""
    made = Loop(LogConfig("none"), tmp_path, error=True)
    yield made
    made.close()


class Reader:
    """The other end of what the core sends to one reader."""

    def __init__(self, loop: Loop, place: Path, streams: int = 1, **limit: int) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        loop.sockets.append(self.socket)
        with theirs:
            loop.core.join(
                loop.number, streams, theirs, directory=str(place), greeting=b"hello\n", **limit
            )
        assert self.socket.recv(6) == b"hello\n"
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.size = 0

    def read(self, most: int = 1 << 20) -> bool:
        """Take what is there, waiting for something; False at the end."""
        data = self.socket.recv(most)
        found = list(self.decoder.feed(data))
        self.frames += found
        self.size += sum(len(frame.data) for frame in found)
        return bool(data)

    def read_up_to(self, size: int) -> None:
        while self.size < size:
            assert self.read()
        assert self.size == size

    def data(self, stream: int = 1) -> bytes:
        return b"".join(frame.data for frame in self.frames if frame.stream == stream)


def occupied(loop: Loop) -> int:
    """Bytes that wait for readers, in memory or in a file without a name."""
    sizes = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            places = (str(loop.place), "/memfd:aiod-backlog")
            if target.startswith(places) and target.endswith("(deleted)"):
                sizes.append(os.stat(f"/proc/self/fd/{name}").st_blocks * 512)
    return sum(sizes)


def test_a_reader_that_lags_too_far_is_cut_and_nobody_waits(loop: Loop, tmp_path: Path) -> None:
    slow = Reader(loop, tmp_path, limit=1 << 20)
    patient = Reader(loop, tmp_path)
    for _ in range(64):  # 4 MiB into a pipe of 64 KiB: it returns because the loop reads on
        os.write(loop.feed, CHUNK)
    patient.read_up_to(64 * len(CHUNK))
    while slow.read():
        pass
    assert slow.decoder.pending == 0
    assert 0 < len(slow.data()) <= (1 << 20) + 2 * len(CHUNK)
    assert slow.frames[-1] == Frame(3, slow.frames[-1].data)
    assert b"too slow" in slow.frames[-1].data
    os.write(loop.feed, b"more")
    patient.read_up_to(64 * len(CHUNK) + 4)


def test_what_was_read_gives_its_disk_space_back(loop: Loop, tmp_path: Path) -> None:
    """8 MiB to one who may lag by two, while another reads nothing up to its limit of three."""
    reader = Reader(loop, tmp_path, limit=2 << 20)
    other = Reader(loop, tmp_path, limit=3 << 20)
    for round_ in range(1, 17):
        for _ in range(8):
            os.write(loop.feed, CHUNK)
        reader.read_up_to(round_ * 8 * len(CHUNK))
        assert occupied(loop) <= (3 << 20) + 2 * len(CHUNK) + (1 << 20)
    while other.read():
        pass
    assert other.frames[-1].stream == 3
    assert list(tmp_path.iterdir()) == []


def test_the_file_goes_with_the_last_reader(loop: Loop, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for chunks in (8, 16, 64):  # in memory, and on disk
        readers = [Reader(loop, tmp_path) for _ in range(5)]
        for _ in range(chunks):
            os.write(loop.feed, CHUNK)
        readers[0].read_up_to(chunks * len(CHUNK))
        assert occupied(loop) > 0
        for reader in readers:
            reader.socket.close()
        eventually(lambda: len(os.listdir("/proc/self/fd")), lambda now: now == before)


def test_without_room_on_disk_a_megabyte_waits(loop: Loop, tmp_path: Path) -> None:
    slow, patient = Reader(loop, tmp_path / "none"), Reader(loop, tmp_path / "none")
    for _ in range(14):
        os.write(loop.feed, CHUNK)
    patient.read_up_to(14 * len(CHUNK))
    slow.read_up_to(14 * len(CHUNK))
    for round_ in range(1, 32):
        os.write(loop.feed, CHUNK)
        patient.read_up_to((14 + round_) * len(CHUNK))
    while slow.read():
        pass
    assert slow.frames[-1].stream == 3
    assert slow.decoder.pending == 0
    assert 14 * len(CHUNK) < len(slow.data()) < (14 + 31) * len(CHUNK)


def test_who_catches_up_is_served_from_memory_again(loop: Loop, tmp_path: Path) -> None:
    reader = Reader(loop, tmp_path)
    for round_ in range(1, 4):
        for _ in range(32):
            os.write(loop.feed, CHUNK)
        reader.read_up_to(round_ * 32 * len(CHUNK))
        eventually(lambda: occupied(loop), lambda size: size <= 256 << 10)


@pytest.mark.parametrize("seed", range(8))
def test_everybody_gets_all_of_it_however_they_read(both: Loop, tmp_path: Path, seed: int) -> None:
    """Readers of one stream or of two, who come and go, against what was written."""
    chance = random.Random(seed)
    written = {1: b"", 2: b""}
    readers: list[tuple[Reader, int, dict[int, int]]] = []
    witness = Reader(both, tmp_path, 3)
    total = 0
    for _ in range(120):
        if chance.random() < 0.1:
            streams = chance.choice([0, 1, 2, 3])
            witness.read_up_to(total)  # so that it is known what comes before it
            begun = {stream: len(data) for stream, data in written.items()}
            readers.append((Reader(both, tmp_path, streams), streams, begun))
        stream, size = chance.choice([1, 2]), chance.choice([1, 100, 5000, 65536])
        data = chance.randbytes(size)
        os.write(both.feed if stream == 1 else both.error_feed, data)
        written[stream] += data
        total += size
        for reader, streams, begun in readers:
            due = sum(len(written[s]) - begun[s] for s in (1, 2) if streams & s)
            if reader.size < due and chance.random() < 0.3:
                reader.read(chance.choice([1, 7, 1000, 100_000]))
    witness.read_up_to(total)
    for reader, streams, begun in [(witness, 3, {1: 0, 2: 0}), *readers]:
        wanted = {s: written[s][begun[s] :] if streams & s else b"" for s in (1, 2)}
        reader.read_up_to(sum(map(len, wanted.values())))
        assert {s: reader.data(s) for s in (1, 2)} == wanted
        assert reader.decoder.pending == 0


def test_at_the_end_all_that_waits_is_sent(loop: Loop, tmp_path: Path) -> None:
    reader, late = Reader(loop, tmp_path), Reader(loop, tmp_path)
    for _ in range(64):
        os.write(loop.feed, CHUNK)
    reader.read_up_to(64 * len(CHUNK))
    loop.core.announce(loop.number)
    loop.core.drop(loop.number)
    assert not reader.read()
    late.read_up_to(64 * len(CHUNK))
    assert not late.read()


def test_one_who_comes_after_the_end_sees_it(loop: Loop, tmp_path: Path) -> None:
    loop.core.announce(loop.number)
    assert not Reader(loop, tmp_path).read()


def test_an_unknown_process_has_no_output(loop: Loop, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ProcessLookupError):
        loop.core.join(99, 1, theirs, directory=str(tmp_path))
