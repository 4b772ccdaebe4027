"""Reads a container's log as its shim writes it: json-file with rotation.

Owns the format's reading, and following without gap or repeat over a rotation; must not know
whether the container runs: the caller's event says when no more will come. A damaged line
hides no other.
"""

import asyncio
import calendar
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from aiod.containers.options import LogOptions

_CHUNK_LINES = 1000
_LOOK_SECONDS = 0.1  # inotify may be exhausted on a host; a look costs one fstat
_STREAMS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, or a part of a long one; `stream` is 1 or 2."""

    stream: int
    time_ns: int
    data: bytes


class _Line(msgspec.Struct, frozen=True):
    log: str
    stream: str
    time: str


def parse(line: bytes) -> LogEntry | None:
    """The entry in a line of the file; None for a damaged one."""
    try:
        found = msgspec.json.decode(line, type=_Line)
        seconds = calendar.timegm(time.strptime(found.time[:19], "%Y-%m-%dT%H:%M:%S"))
        fraction = found.time[20:].rstrip("Z").ljust(9, "0")[:9]
        stream = _STREAMS[found.stream]
        nanoseconds = seconds * 10**9 + (int(fraction) if fraction.strip("0") else 0)
        return LogEntry(stream, nanoseconds, found.log.encode())
    except (msgspec.MsgspecError, ValueError, KeyError):
        return None


class _Follower:
    """The files of one log, the oldest first, read on from where it was left."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._files = [stack.enter_context(p.open("rb")) for p in self._rotated()]
        self._tail = b""

    def _rotated(self) -> list[Path]:
        numbered = [
            (int(found.suffix[1:]), found)
            for found in self._path.parent.glob(f"{self._path.name}.*")
            if found.suffix[1:].isdigit()
        ]
        files = [found for _, found in sorted(numbered, reverse=True)]
        return [*files, self._path] if self._path.exists() else files

    def lines(self) -> Iterator[bytes]:
        """Whole lines that are there now; the beginning of one is kept for later."""
        while True:
            if not self._files:
                self._reopen()
            if not self._files:
                return
            for chunk in iter(self._files[0].readline, b""):
                self._tail += chunk
                if self._tail.endswith(b"\n"):
                    line, self._tail = self._tail, b""
                    yield line
            if len(self._files) == 1 and not self._replaced(self._files[0]):
                return
            # Written to its end before the next was begun: its last bytes may have come
            # between the last read and the look at the name.
            if rest := self._files[0].read():
                yield from (self._tail + rest).splitlines(keepends=True)
                self._tail = b""
            done = self._files.pop(0)
            done.close()

    def _reopen(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.append(self._stack.enter_context(self._path.open("rb")))

    def _replaced(self, file: IO[bytes]) -> bool:
        try:
            named, held = self._path.stat(), os.fstat(file.fileno())
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)


def _wanted(options: LogOptions) -> Callable[[LogEntry], bool]:
    streams = {n for n, on in ((1, options.stdout), (2, options.stderr)) if on}
    since, until = options.since_ns or 0, options.until_ns or 2**63 - 1

    def wanted(entry: LogEntry) -> bool:
        return entry.stream in streams and since <= entry.time_ns <= until

    return wanted


async def read(
    path: Path, options: LogOptions, ended: asyncio.Event
) -> AsyncGenerator[LogEntry, None]:
    """The entries asked for; with `follow` until `ended` is set and all has been read."""
    wanted = _wanted(options)
    with contextlib.ExitStack() as stack:
        follower = await asyncio.to_thread(_Follower, path, stack)
        lines = follower.lines()
        first = True
        while True:
            last = ended.is_set() or not options.follow
            entries, lines, more = await asyncio.to_thread(_take, follower, lines, wanted)
            if first and options.tail is not None:
                while more:
                    rest, lines, more = await asyncio.to_thread(_take, follower, lines, wanted)
                    entries = (entries + rest)[-options.tail :] if options.tail else []
                entries = entries[-options.tail :] if options.tail else []
            first = False
            for entry in entries:
                yield entry
            if more:
                continue
            if last or (options.until_ns and time.time_ns() > options.until_ns):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await ended.wait()


def _take(
    follower: _Follower, lines: Iterator[bytes], wanted: Callable[[LogEntry], bool]
) -> tuple[list[LogEntry], Iterator[bytes], bool]:
    """Up to a thousand lines' entries, the iterator to go on with, and whether more is there."""
    found: list[LogEntry] = []
    for _ in range(_CHUNK_LINES):
        line = next(lines, None)
        if line is None:
            return found, follower.lines(), False
        entry = parse(line)
        if entry is not None and wanted(entry):
            found.append(entry)
    return found, lines, True
