"""Typed access to the C loop that does what a container needs all its life.

Owns the translation between Python values and `aiod.native._native`; decides nothing. Exactly
one thread calls `Core.run`; every other method may be called from any thread.
"""

import enum
import os
import sys
import threading
from dataclasses import dataclass
from errno import EINVAL
from typing import Any, Final

from aiod.native._native import ffi, lib
from aiod.shim.protocol import LogConfig

SPOOL_LIMIT: Final = 256 * 1024 * 1024
"""Bytes that an attached reader may lag behind before it is cut off."""

READ_AHEAD: Final = 1 << 20
FRAME_HEADER: Final = 5
_DRIVERS: Final = {"none": 0, "json-file": 1, "local": 2}


class EventKind(enum.IntEnum):
    """Why `Core.run` returned."""

    CONNECTION = 1
    EXITED = 2
    TERM = 3
    WAKE = 4
    UNMADE = 5


class SpoolState(enum.IntEnum):
    """Whether a spool gets more: END at the end of all output, CUT when its reader lagged."""

    OPEN = 0
    END = 1
    CUT = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One thing for Python; `process`, `status` (of waitpid(2); -1 unknown) and `time_ns` are
    an exit's."""

    kind: EventKind
    process: int
    status: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Outputs:
    """Descriptors to be read by the core, which closes them; `error` is -1 with a terminal."""

    output: int
    error: int
    terminal: bool


def driver_number(log: LogConfig) -> int:
    """The core's number of a log driver. Raises OSError for one that it does not have."""
    if log.driver not in _DRIVERS:
        raise OSError(EINVAL, f"no log driver {log.driver!r}")
    return _DRIVERS[log.driver]


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


@dataclass(frozen=True, slots=True)
class Init:
    """The container's first process as its maker handed it over; descriptors may be -1.

    `number` is the core's, -1 if the maker did not come so far; `channel` is what lets the
    process start, if it has not; `request` is the text of the request's file.
    """

    number: int
    pid: int
    start_time: int
    started_ns: int
    terminal: bool
    listener: int
    pidfd: int
    input: int
    console: int
    channel: int
    request: bytes


def after_fork() -> None:
    """Tell the interpreter that it is in a forked process; before the first thread is started."""
    lib.aiod_forked()


def event_of(event: Any) -> Event:
    """The Python side of a `struct aiod_event`."""
    return Event(EventKind(event.kind), event.process, event.status, event.time_ns)


class Core:
    """The loop's state: processes with their outputs and logs, and spools of their readers."""

    def __init__(self, made: Any = None) -> None:
        self._core = lib.aiod_core_new(-1) if made is None else made
        if self._core == ffi.NULL:
            raise OSError(ffi.errno, f"make the core: {os.strerror(ffi.errno)}")
        self._event = ffi.new("struct aiod_event *")

    def init(self) -> Init:
        """What the maker has handed over."""
        got = lib.aiod_core_init(self._core)
        request = bytes(ffi.buffer(got.request, got.request_size)) if got.request_size else b""
        return Init(
            got.number, got.pid, got.start_time, got.started_ns, bool(got.terminal),
            got.listener, got.pidfd, got.input, got.console, got.channel, request,
        )  # fmt: skip

    def close(self) -> None:
        """Free everything; nobody may be in `run`."""
        if self._core != ffi.NULL:
            lib.aiod_core_free(self._core)
            self._core = ffi.NULL

    def hold(self) -> None:
        """Keep the statuses of children not yet added, until `add(held=True)` or `unhold`."""
        lib.aiod_core_hold(self._core)

    def unhold(self) -> None:
        """End a `hold` of which no `add` came."""
        lib.aiod_core_unhold(self._core)

    def add(self, pid: int, outputs: Outputs, log: LogConfig, *, held: bool = False) -> int:
        """Take over a child of this process; returns its number.

        Raises OSError if the log cannot be opened; the descriptors then stay the caller's.
        """
        return _check(
            lib.aiod_core_add(
                self._core,
                pid,
                outputs.output,
                outputs.error,
                outputs.terminal,
                driver_number(log),
                os.fsencode(log.path),
                log.max_size,
                log.max_file,
                held,
            ),
            f"open log {log.path!r}",
        )

    def announce(self, process: int) -> None:
        """The exit is on record: let the readers of its output see the end."""
        lib.aiod_core_announce(self._core, process)

    def drop(self, process: int) -> None:
        """Forget an exited process."""
        lib.aiod_core_drop(self._core, process)

    def lost(self, process: int) -> int:
        """Bytes of output that could not be written to the log."""
        return int(lib.aiod_core_lost(self._core, process))

    def run(self, *, listening: bool) -> Event:
        """Work, without the interpreter lock, until something is for Python. Raises OSError."""
        event = self._event
        _check(lib.aiod_core_run(self._core, listening, event), "core loop")
        return event_of(event)

    def wake(self) -> None:
        """Make `run` return a WAKE event."""
        lib.aiod_core_wake(self._core)

    def subscribe(
        self, process: int, streams: int, directory: str, limit: int = SPOOL_LIMIT
    ) -> "Spool":
        """Copy a process's output from now on; `streams` is 1 (stdout) + 2 (stderr).

        Raises OSError, ESRCH for an unknown process.
        """
        number = _check(
            lib.aiod_spool_open(self._core, process, streams, os.fsencode(directory), limit),
            f"open a spool in {directory!r}",
        )
        return Spool(self._core, number)


class Spool:
    """One reader's copy of a process's output, on disk, so that it can be slow.

    A thread may still be reading when it is closed: `_using` keeps the two apart.
    """

    def __init__(self, core: object, number: int) -> None:
        self._core = core
        self._using = threading.Lock()
        self._closed = False
        self._unwanted = False
        self._number = number
        self._file = lib.aiod_spool_file(core, number)
        self._offset = 0
        self.event_fd: Final[int] = lib.aiod_spool_event(core, number)

    def state(self) -> SpoolState:
        """Whether more may come; ask before `read`, so that the last bytes are not missed."""
        if self._unwanted:
            return SpoolState.END
        return SpoolState(lib.aiod_spool_state(self._core, self._number))

    def end(self) -> None:
        """Its reader wants no more: there is none from now on."""
        with self._using:
            self._unwanted = True
            if not self._closed:
                os.eventfd_write(self.event_fd, 1)

    def clear_event(self) -> None:
        """Make `event_fd` unreadable until the core has news."""
        try:
            os.eventfd_read(self.event_fd)
        except BlockingIOError:
            return

    def read_some(self) -> list[tuple[int, bytes]]:
        """What the core has written, up to about `READ_AHEAD` bytes, as (stream, bytes)."""
        found: list[tuple[int, bytes]] = []
        size = 0
        while size < READ_AHEAD and (chunk := self.read()) is not None:
            found.append(chunk)
            size += len(chunk[1])
        return found

    def read(self) -> tuple[int, bytes] | None:
        """The next (stream, bytes), or None if the core has written no more."""
        with self._using:
            return None if self._closed or self._unwanted else self._read()

    def _read(self) -> tuple[int, bytes] | None:
        if self._offset >= lib.aiod_spool_written(self._core, self._number):
            return None
        header = os.pread(self._file, FRAME_HEADER, self._offset)
        length = int.from_bytes(header[1:], sys.byteorder)
        data = os.pread(self._file, length, self._offset + FRAME_HEADER)
        self._offset += FRAME_HEADER + length
        lib.aiod_spool_consumed(self._core, self._number, self._offset)
        return header[0], data

    def close(self) -> None:
        """Give back the file and its disk space; nothing is to be read any more."""
        with self._using:
            if not self._closed:
                self._closed = True
                lib.aiod_spool_close(self._core, self._number)
