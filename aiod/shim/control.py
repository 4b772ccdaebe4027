"""What the front does to a container's processes and cgroup, and says of them; blocking.

Owns the words of a state and the choice of accounting files; must not know how calls arrive.
"""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from aiod.native.runtimecgroup import ContainerCgroup
from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import Exit, StateResponse, Status

if TYPE_CHECKING:
    from aiod.shim.main import Process, Shim

_STAT_FILES = {
    "memory": (
        "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes",
        "memory.failcnt", "memory.stat", "memory.current", "memory.peak", "memory.max",
        "memory.swap.current", "memory.swap.max", "memory.events",
    ),
    "cpu": ("cpu.stat",),
    "cpuacct": ("cpuacct.usage", "cpuacct.usage_percpu", "cpuacct.stat"),
    "pids": ("pids.current", "pids.max"),
    "blkio": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    "io": ("io.stat",),
}  # fmt: skip


def paused(shim: "Shim") -> bool:
    """Whether the container's cgroup is frozen. Raises NativeError or OSError."""
    return ContainerCgroup(shim.request.cgroup_path).frozen()


def kill(shim: "Shim", process: "Process", number: int) -> None:
    """Signal one process. Raises OSError, ESRCH if it has ended."""
    signal.pidfd_send_signal(process.task.pidfd, number)
    if number == signal.SIGKILL:
        _let_die(shim)


def kill_all(shim: "Shim", number: int) -> None:
    """Signal every process of the cgroup. Raises NativeError or OSError."""
    if number == signal.SIGKILL:
        shim.cgroup.kill_all()
        return
    for pid in shim.cgroup.processes():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _let_die(shim: "Shim") -> None:
    """A process that version 1's freezer holds dies when it is thawed."""
    if paused(shim):
        shim.cgroup.thaw()


def exit_of(record: protocol.ExitRecord) -> Exit:
    """The message of a record."""
    return Exit(
        exit_code=record.exit_code,
        signal=record.signal or 0,
        oom_killed=record.oom_killed,
        exited_at_ns=record.exited_at_ns,
        error=record.error,
    )


def exec_exit(ended: protocol.ExecState) -> Exit:
    """The message of an exec that has ended."""
    return Exit(exit_code=ended.exit_code or 0, exited_at_ns=ended.exited_at_ns)


def ended_state(shim: "Shim", ended: protocol.ExecState) -> StateResponse:
    """The state of an exec of which only the file is left."""
    return StateResponse(
        protocol=protocol.PROTOCOL,
        id=shim.request.id,
        status=Status.EXITED,
        pid=ended.pid,
        start_time=ended.start_time,
        exit=exec_exit(ended),
    )


def state(shim: "Shim", exec_id: str) -> StateResponse:
    """The state of a process that the shim holds. Raises NativeError or OSError."""
    process = shim.find(exec_id)
    if process is None:
        raise ProcessLookupError(3, f"no such process: {exec_id}")
    ended = shim.exit if not exec_id else None
    answer = StateResponse(
        protocol=protocol.PROTOCOL,
        id=shim.request.id,
        status=_status(shim, process),
        pid=process.task.pid,
        start_time=process.task.start_time,
        started_at_ns=process.started_ns,
        exit=None if ended is None else exit_of(ended),
        terminal=process.streams.terminal,
        stdin_open=process.streams.stdin >= 0,
        log_lost_bytes=shim.core.lost(process.number),
    )
    if not exec_id:
        answer.execs.extend(shim.running_execs())
    return answer


def _status(shim: "Shim", process: "Process") -> Status:
    if shim.exit is not None:
        return Status.EXITED
    if not process.started_ns:
        return Status.CREATED
    return Status.PAUSED if paused(shim) else Status.RUNNING


def stats(shim: "Shim") -> dict[str, dict[str, str]]:
    """Controller -> name of a file -> its content; what this host does not have is absent."""
    found: dict[str, dict[str, str]] = {}
    for controller, names in _STAT_FILES.items():
        directory = shim.cgroup.directory(controller)
        if directory is None and controller == "cpu" and shim.layout.unified is not None:
            directory = shim.layout.unified / shim.request.cgroup_path.strip("/")
        if directory is not None:
            found[controller] = _contents(directory, names)
    return found


def _contents(directory: Path, names: tuple[str, ...]) -> dict[str, str]:
    contents = {}
    for name in names:
        try:
            contents[name] = (directory / name).read_text()
        except OSError:
            continue  # of the other version, or a controller without this file
    return contents
