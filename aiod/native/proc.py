"""Which process is meant: pid and start time, the boot they belong to, signals by pidfd.

Owns identity, so that a pid used again is never taken for the process it once was; must not
know containers. Source: proc_pid_stat(5), pidfd_open(2), pidfd_send_signal(2).
"""

import os
import signal
from errno import ESRCH

# Indices of fields 3, 4, 20 and 22 behind the command's closing bracket.
_STATE, _PARENT, _THREADS, _START = 0, 1, 17, 19


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _stat(pid: int) -> list[bytes]:
    try:
        text = _read(f"/proc/{pid}/stat")
    except FileNotFoundError as error:
        raise ProcessLookupError(ESRCH, f"no process {pid}") from error
    # The command may hold blanks and brackets: only its last bracket ends it.
    return text.rpartition(b")")[2].split()


def start_time(pid: int) -> int:
    """Clock ticks since boot at which `pid` started; raises ProcessLookupError if it is gone."""
    return int(_stat(pid)[_START])


def parent(pid: int) -> int:
    """The pid of its parent; raises ProcessLookupError if it is gone."""
    return int(_stat(pid)[_PARENT])


def boot_id() -> str:
    """The kernel's name for this boot of the host (random(4), `boot_id`)."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def is_same(pid: int, started: int) -> bool:
    """Whether `pid` is the process that started then, and has not ended (a zombie has)."""
    if pid <= 0:
        return False
    try:
        fields = _stat(pid)
    except ProcessLookupError:
        return False
    if int(fields[_START]) != started:
        return False
    # A main thread that ended before the others shows as a zombie, of a process that runs.
    return fields[_STATE] not in (b"Z", b"X", b"x") or int(fields[_THREADS]) > 1


def open_pidfd(pid: int, started: int) -> int | None:
    """A descriptor of that very process; None if it is gone. Raises OSError.

    The identity is looked at after opening: from then on the descriptor cannot come to mean
    another process.
    """
    if pid <= 0:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if is_same(pid, started):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def send_signal(pid: int, started: int, number: int) -> bool:
    """Signal that very process; False if it is gone. Raises OSError."""
    descriptor = open_pidfd(pid, started)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
