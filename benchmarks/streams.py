"""Bytes through attach, exec and logs beside dockerd: `python -m benchmarks.streams`, as root.

Both engines run at once and are measured in turn, by the same blocking client.
"""

import argparse
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report, Row
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine
from tests.support.hijacked import Hijack

_INTRODUCTION = """\
Written by `python -m benchmarks.streams`. MB/s as the client counts them, frames included,
medians. Through attach and exec a `cat` gives back what it is sent; an exec's output is zeros. Logs
are json-file's, of lines of 80 and of 8 bytes; while writing, the client follows from the start on
until it has the last line.
"""
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine's medians, MB/s."""

    engine: str
    version: str
    attach: float
    exec: float
    exec_output: float
    logs_80: float
    logs_8: float
    follow: float


ROWS = [
    Row[Figures]("attach, stdin to stdout, MB/s", lambda one: one.attach, True),
    Row[Figures]("exec, stdin to stdout, MB/s", lambda one: one.exec, True),
    Row[Figures]("exec, output only, MB/s", lambda one: one.exec_output, True),
    Row[Figures]("logs, lines of 80 bytes, MB/s", lambda one: one.logs_80, True),
    Row[Figures]("logs, lines of 8 bytes, MB/s", lambda one: one.logs_8, True),
    Row[Figures]("logs -f while 80-byte lines are written, MB/s", lambda one: one.follow, True),
]


def _drain(connection: socket.socket) -> int:
    """Read to the end; how many bytes."""
    buffer, size = bytearray(1 << 20), 0
    while count := connection.recv_into(buffer):
        size += count
    return size


def _through(engine: Engine, path: str, body: object, data: bytes) -> float:
    """Megabytes per second of `data` there and back."""
    with Hijack(engine, path, body) as stream:
        begin = time.perf_counter()
        sender = threading.Thread(target=stream.send_all_and_end, args=(data,))
        sender.start()
        size = _drain(stream.socket)
        seconds = time.perf_counter() - begin
        sender.join()
    if size < len(data):
        raise RuntimeError(f"{size} of {len(data)} bytes came back")
    return size / seconds / MB


def _get(engine: Engine, path: str, least: int) -> float:
    """Megabytes per second of a plain answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        begin = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        size = _drain(connection)
        seconds = time.perf_counter() - begin
    if size < least:
        raise RuntimeError(f"{size} of {least} bytes came")
    return size / seconds / MB


class Subject:
    """One engine with what is measured in it."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine = engine
        self._size = size
        self._data = bytes(size)
        self._samples: defaultdict[str, list[float]] = defaultdict(list)
        with engine.api() as api:
            self._asleep = api.run("sleep", "1000000")
            self._logged = {width: self._written(width) for width in (80, 8)}

    def _written(self, width: int) -> str:
        """An ended container that has logged so many bytes in such lines."""
        with self.engine.api(timeout=600) as api:
            made = api.run("sh", "-c", self._lines(width))
            api.wait(made)
            return made

    def _lines(self, width: int) -> str:
        return f"head -c {self._size // 4} /dev/zero | tr '\\0' x | fold -w {width - 1}"

    def attach(self) -> None:
        """A container's own streams."""
        log = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
        with self.engine.api() as api:
            made = api.run("cat", OpenStdin=True, StdinOnce=True, HostConfig=log)
            path = f"/containers/{made}/attach?stream=1&stdin=1&stdout=1&stderr=1"
            self._samples["attach"].append(_through(self.engine, path, None, self._data))
            api.remove(made)

    def exec(self) -> None:
        """An exec's, both ways."""
        path = self._exec(AttachStdin=True, Cmd=["cat"])
        self._samples["exec"].append(_through(self.engine, path, {}, self._data))

    def exec_output(self) -> None:
        """An exec's output alone."""
        path = self._exec(Cmd=["head", "-c", str(self._size), "/dev/zero"])
        with Hijack(self.engine, path, {}) as stream:
            begin = time.perf_counter()
            size = _drain(stream.socket)
            self._samples["exec_output"].append(size / (time.perf_counter() - begin) / MB)

    def _exec(self, **config: object) -> str:
        asked = {"AttachStdout": True, **config}
        with self.engine.api() as api:
            made = api.call("POST", f"/containers/{self._asleep}/exec", asked)
        return f"/exec/{made['Id']}/start"

    def logs(self) -> None:
        """Written logs."""
        for width, made in self._logged.items():
            path = f"/containers/{made}/logs?stdout=1"
            self._samples[f"logs_{width}"].append(_get(self.engine, path, self._size // 4))

    def follow(self) -> None:
        """A log that is being written."""
        with self.engine.api() as api:
            made = api.run("sh", "-c", self._lines(80))
            path = f"/containers/{made}/logs?stdout=1&follow=1"
            self._samples["follow"].append(_get(self.engine, path, self._size // 4))
            api.remove(made)

    def figures(self) -> Figures:
        """The medians."""
        with self.engine.api() as api:
            version = str(api.call("GET", "/version")["Version"])
        medians = {name: statistics.median(samples) for name, samples in self._samples.items()}
        return Figures(engine=self.engine.name, version=version, **medians)


def _in_turn(subjects: list[Subject], rounds: int) -> None:
    ways: list[Callable[[Subject], None]] = [
        Subject.attach, Subject.exec, Subject.exec_output, Subject.logs, Subject.follow,
    ]  # fmt: skip
    for way in ways:
        print(f"{way.__name__} …", file=sys.stderr)
        for number in range(rounds):
            for subject in subjects[:: -1 if number % 2 else 1]:
                way(subject)


def _started(engine: Engine, stack: ExitStack) -> Engine:
    stack.callback(engine.destroy)
    engine.start()
    engine.ensure_base()
    return engine


def main() -> int:
    """Measure, print the table, and write STREAMS.md and streams.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data, once; write nothing")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    size, rounds = (40 * MB, 1) if options.quick else (200 * MB, 5)
    try:
        with ExitStack() as stack:
            engines = [AiodDaemon(scratch / "a"), Dockerd(scratch / "d")]
            subjects = [Subject(_started(one, stack), size) for one in engines]
            _in_turn(subjects, rounds)
            report = Report(_INTRODUCTION, ROWS, [one.figures() for one in subjects], [])
    finally:
        shutil.rmtree(scratch)
    print(report.table() if options.quick else report.write(Path(__file__).parent, "STREAMS"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
