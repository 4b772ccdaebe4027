"""Processes as the kernel names them: pid and start time, and how to end one safely.

Owns reading `/proc/<pid>`; must not know about engines or containers.
"""

import contextlib
import os
import re
import select
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.binaries import require


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for ever: a pid is reused, a pid with its start time is not."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The process that has `pid` now; ProcessLookupError when there is none."""
        start = start_time(pid)
        if start is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, start)

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return start_time(self.pid) == self.start_time


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/pid/stat in clock ticks, proc(5); None for none or a zombie."""
    fields = _stat_fields(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[19])


def parent(pid: int) -> int | None:
    """The pid of its parent, or None when there is no such process."""
    fields = _stat_fields(pid)
    return None if fields is None else int(fields[1])


def running_pids() -> Iterator[int]:
    """Every process but zombies."""
    for name in os.listdir("/proc"):
        if name.isdigit() and start_time(int(name)) is not None:
            yield int(name)


def read_proc(pid: int, name: str) -> str:
    """A file of /proc/pid, or "" when the process went or hides it."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def arguments(pid: int) -> list[str]:
    """The command line; of a process that gave itself a title, the title's words."""
    return command_line(pid).split(" ")


def command_line(pid: int) -> str:
    """The arguments joined by spaces."""
    return read_proc(pid, "cmdline").replace("\0", " ").strip()


def mortal(command: Sequence[str]) -> list[str]:
    """The command, made to get SIGKILL when the thread that starts it ends, setpriv(1).

    So a suite that is killed leaves no daemon behind.
    """
    return [require("setpriv"), "--pdeathsig", "KILL", *command]


def naming(directory: Path) -> Iterator[int]:
    """Every other process with an argument that is `directory` or below it, `--flag=` included.

    Neither `directory`10 nor whoever runs us is meant by `directory`1.
    """
    ours = {os.getpid()}
    above = os.getppid()
    while above:
        ours.add(above)
        above = parent(above) or 0
    named = re.compile(rf"(^|[=:]|//){re.escape(str(directory))}(/|$)")
    for pid in running_pids():
        if pid not in ours and any(named.search(word) for word in arguments(pid)):
            yield pid


def pss_kib(pid: int) -> int:
    """Proportional set size in KiB, proc_pid_smaps_rollup(5)."""
    for line in read_proc(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"no memory map of {pid}")


def wait_gone(process: Identity, seconds: float = 20.0) -> None:
    """Wait until it has ended; TimeoutError when it has not within `seconds`."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive():
            return
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(seconds * 1000):
            raise TimeoutError(f"process {process.pid} still runs: {command_line(process.pid)}")
    finally:
        os.close(descriptor)


def send(process: Identity, signo: int = signal.SIGKILL) -> bool:
    """Signal exactly this process; False when it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not process.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signo)
    finally:
        os.close(descriptor)
    return True


def end_all(found: Callable[[], Iterable[int]]) -> None:
    """SIGKILL what is found until nothing is; TimeoutError for one that stays."""
    while running := [Identity(pid, start) for pid in found() if (start := start_time(pid))]:
        for process in running:
            send(process)
        for process in running:
            wait_gone(process)


def children() -> set[int]:
    """This process's own children, those that ended and were not waited for included."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        # A thread may end between the listing and the read; its children pass to another.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found
