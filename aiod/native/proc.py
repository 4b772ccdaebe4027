"""Which process is meant: pid and start time, the boot they belong to, signals by pidfd.

Owns identity, so that a pid used again is never taken for the process it once was; must not
know containers. Source: proc(5), pidfd_open(2), pidfd_send_signal(2).
"""

import os
import signal
from pathlib import Path

_STATE, _START = 0, 19  # after the command's closing bracket; proc_pid_stat(5), fields 3 and 22


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except FileNotFoundError as error:
        raise ProcessLookupError(3, f"no process {pid}") from error
    # The command may hold blanks and brackets: only its last bracket ends it.
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int:
    """Clock ticks since boot at which `pid` started; raises ProcessLookupError if it is gone."""
    return int(_stat(pid)[_START])


def boot_id() -> str:
    """The kernel's name for this boot of the host (random(4), `boot_id`)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_same(pid: int, started: int) -> bool:
    """Whether `pid` is the process that started then, and is no zombie."""
    if pid <= 0:
        return False
    try:
        fields = _stat(pid)
    except ProcessLookupError:
        return False
    return int(fields[_START]) == started and fields[_STATE] not in "ZX"


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
    if is_same(pid, started):
        return descriptor
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
