"""Typed access to the C loop that does what a container needs all its life.

Owns the translation between Python values and `aiod.native._native`; decides nothing. Exactly
one thread calls `Core.run`; every other method may be called from any thread.
"""

import enum
import os
import socket
from dataclasses import dataclass
from errno import EINVAL
from typing import Any, Final

from aiod.native._native import ffi, lib
from aiod.shim.protocol import LogConfig

BACKLOG_LIMIT: Final = 256 * 1024 * 1024
"""Bytes that a reader may lag behind before it is cut off; and what a process's readers keep on
disk together."""

_DRIVERS: Final = {"none": 0, "json-file": 1, "local": 2}


class EventKind(enum.IntEnum):
    """Why `Core.run` returned."""

    CONNECTION = 1
    EXITED = 2
    TERM = 3
    WAKE = 4
    UNMADE = 5


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
    """The loop's state: processes with their outputs and logs, and who reads along."""

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

    def join(
        self,
        process: int,
        streams: int,
        reader: socket.socket,
        *,
        directory: str,
        greeting: bytes = b"",
        limit: int = BACKLOG_LIMIT,
    ) -> None:
        """Send a process's output from now on to a stream socket, which stays the caller's too.

        `streams` is 1 (stdout) + 2 (stderr); the form is that of Docker's multiplexed streams.
        What is not taken waits in `directory`. At the end, or when the reader lags too far behind
        (which a last frame of stream 3 tells), the sending side is shut down. Raises OSError,
        ESRCH for an unknown process.
        """
        place = os.fsencode(directory)
        _check(
            lib.aiod_reader_join(
                self._core, process, streams, place, limit, reader.fileno(), greeting, len(greeting)
            ),
            f"join a reader, with what waits in {directory!r}",
        )
