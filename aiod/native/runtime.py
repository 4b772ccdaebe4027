"""Makes processes from plans: a container's first, and further ones in its namespaces.

Owns the conversation with the child until it executes its command. Leaves nothing behind when a
step fails. Never takes a status that is another's: children are waited for by pidfd only, and
whoever else reaps them (a shim does) is welcome to. Must not know config.json nor cgroups' files.

Everything here blocks; the caller runs it where that does no harm.
"""

import array
import contextlib
import errno
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from aiod.native import proc
from aiod.native._native import ffi, lib
from aiod.native.encoding import Encoded, failure
from aiod.native.errors import NativeError
from aiod.native.plan import ExecPlan, Plan
from aiod.native.steps import Step, Sync

_REPORT = ffi.sizeof("struct aiod_report")
_NAMESPACE_FILES = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "net": 0x40000000,
    "cgroup": 0x02000000,
    "time": 0x00000080,
}


class CgroupLike(Protocol):
    """What is asked of a `aiod.native.cgroups.Cgroup`."""

    def add(self, pid: int) -> None:
        """Move a process into it, in every hierarchy. Raises OSError or NativeError."""


Hooks = Callable[["Task"], None]
"""Runs the hooks of a creation, the task having a pid and a pidfd. Raises NativeError."""

Meanwhile = Callable[["Task"], None]
"""Does its part from outside while the process sets itself up. Raises NativeError."""


class Task:
    """A process that is set up, and waits for `start`.

    `pidfd` and `console_fd` (-1 without a terminal) belong to the task until `close`. The child
    is the caller's: the caller reaps it. `start_time` is as in `aiod.native.proc`.
    """

    def __init__(
        self,
        steps: "Callable[[], tuple[Step, ...]]",
        leading: int,
        channel: socket.socket | None,
    ) -> None:
        self.pid = -1
        self.pidfd = -1
        self.start_time = 0
        self.console_fd = -1
        self._steps = steps
        self._leading = leading
        self._channel: socket.socket | None = channel
        self._early: deque[tuple[Any, int]] = deque()

    def start(self) -> None:
        """Let it execute its command; returns when it has.

        Raises NativeError when the command cannot be executed: the process has ended then.
        """
        channel = self._channel
        if channel is None:
            raise NativeError("start", 0, "the process was started or ended before")
        try:
            self.tell(b"s")
            report, _ = self._receive()
            if report is not None:
                raise failure(self._steps(), report)
        finally:
            self._channel = None
            channel.close()

    def hand_over(self) -> int:
        """A copy of the channel for another process, that can `resume` this one; -1 if started."""
        return -1 if self._channel is None else os.dup(self._channel.fileno())

    def abort(self) -> None:
        """Kill it and wait until it has ended. Safe at any time, also twice.

        The first process of a pid namespace ends after all others there were reaped: abort the
        further ones before, unless another thread reaps them.
        """
        self._hang_up()
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            _reap(self.pidfd)
        self.close()

    def close(self) -> None:
        """Give the descriptors back. A process that still waits for its start ends then."""
        self._hang_up()
        for descriptor in (self.pidfd, self.console_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.pidfd = self.console_fd = -1

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _receive(self) -> tuple[Any | None, int]:
        """The next report and the descriptor with it (-1: none); (None, -1) at the end."""
        if self._early:
            return self._early.popleft()
        return self._receive_new()

    def _receive_new(self) -> tuple[Any | None, int]:
        assert self._channel is not None
        try:
            data, ancillary = self._receive_message(self._channel)
        except ConnectionResetError:
            # It ended with a word of ours unread. That is told first; what it said follows.
            data, ancillary = self._receive_message(self._channel)
        if not data:
            return None, -1
        descriptor = -1
        for _, _, payload in ancillary:
            descriptor = array.array("i", payload)[0]
        report = ffi.new("struct aiod_report *")
        ffi.memmove(report, data, len(data))
        return report, descriptor

    @staticmethod
    def _receive_message(channel: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        return channel.recvmsg(_REPORT, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)[:2]

    def _adopt_spawned(self) -> None:
        """Learn who the child is from the intermediate process, whoever speaks first."""
        while True:
            report, descriptor = self._receive_new()
            if report is None:
                raise NativeError("clone", 0, "the process ended unexpectedly")
            if report.kind == lib.AIOD_SPAWNED:
                self.pid, self.pidfd = int(report.pid), descriptor
                return
            if report.kind == lib.AIOD_FAILED and report.step < self._leading:
                raise failure(self._steps(), report)
            self._early.append((report, descriptor))

    def wait_for(self, kind: int) -> int:
        """Wait until the child says `kind`; the descriptor that came with it, or -1.

        Raises NativeError with what it says instead.
        """
        report, descriptor = self._receive()
        if report is None:
            raise NativeError("create", 0, "the process ended unexpectedly")
        if report.kind != kind:
            raise failure(self._steps(), report)
        return descriptor

    def tell(self, word: bytes) -> None:
        """Let the child go on; if it is gone, what it said is still to be read."""
        if self._channel is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._channel.send(word)


def create(
    plan: Plan,
    stdio: tuple[int, int, int],
    cgroup: CgroupLike | None,
    *,
    hooks: Hooks | None = None,
    listener: int = -1,
    birthplace: int = -1,
    sibling: bool = False,
    meanwhile: Meanwhile | None = None,
) -> Task:
    """Make a container's first process, set up and waiting, in `cgroup`.

    `stdio` are the child's ends (they stay the caller's), -1 with a terminal. `hooks` is called
    when the namespaces are there and the root is not entered yet; `meanwhile` when nothing is
    left that the process waits for but its start. `birthplace`, a descriptor of its cgroup2
    directory, spares the move into `cgroup` (clone(2), CLONE_INTO_CGROUP).

    The process gets SIGKILL when the calling thread ends (prctl(2), PR_SET_PDEATHSIG) unless it
    has a `listener`, a listening SEQPACKET socket: it outlives the caller then, and is started
    through that (`start_by`). A `sibling` is the child of the caller's parent, which reaps it
    and at whose end it gets the signal. Raises NativeError.
    """
    with contextlib.closing(Encoded(plan.steps, plan.argv, plan.env)) as encoded:
        encoded.spawn.sibling = sibling
        encoded.spawn.clone_flags = plan.clone_flags
        encoded.spawn.leading = plan.leading
        encoded.spawn.listener = listener
        encoded.spawn.cgroup_fd = birthplace
        if listener >= 0:
            encoded.outlive()
        encoded.prepare()
        task = _spawn(encoded, stdio, plan.leading)
    with _aborting(task):
        _converse(task, plan, cgroup if birthplace < 0 else None, hooks, meanwhile)
    return task


def start_by(visitor: socket.socket, plan: Plan) -> None:
    """Start a process that has a listener, `visitor` being connected to it.

    `plan` is the one it was created by. Raises NativeError if its command cannot be executed.
    """
    Task(lambda: plan.steps, 0, visitor).start()


def resume(
    pid: int,
    start_time: int,
    descriptors: tuple[int, int, int],
    steps: Callable[[], tuple[Step, ...]],
) -> Task:
    """A task that another process has made and handed over, its child being ours.

    `descriptors` are pidfd, console and channel, -1 for none; `steps`, those it was made by, is
    called when there is a failure to explain.
    """
    pidfd, console, channel = descriptors
    task = Task(steps, 0, None if channel < 0 else socket.socket(fileno=channel))
    task.pid, task.start_time = pid, start_time
    task.pidfd, task.console_fd = pidfd, console
    return task


def exec_process(
    init_pid: int,
    init_pidfd: int,
    plan: ExecPlan,
    stdio: tuple[int, int, int],
    cgroup: CgroupLike | None,
    *,
    birthplace: int = -1,
) -> Task:
    """Make a further process in the namespaces of a container's init, waiting for `start`.

    It is a direct child of the caller. Raises NativeError, like `create`.
    """
    with contextlib.closing(Encoded(plan.steps, plan.argv, plan.env)) as encoded:
        encoded.spawn.leading = plan.leading
        encoded.spawn.cgroup_fd = birthplace
        encoded.array[0].fd = init_pidfd
        encoded.array[0].flags = _foreign_namespaces(init_pid, plan.steps[0])
        task = _spawn(encoded, stdio, plan.leading)
    with _aborting(task):
        _converse(task, plan, cgroup if birthplace < 0 else None)
    return task


def warm() -> None:
    """Have the types made that the making of a process uses."""
    ffi.new("struct aiod_report *"), ffi.new("int *", -1)


def _spawn(encoded: Encoded, stdio: tuple[int, int, int], leading: int) -> Task:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    steps = tuple(encoded.steps)
    task = Task(lambda: steps, leading, ours)
    pid, pidfd = ffi.new("int *"), ffi.new("int *", -1)
    with theirs:
        encoded.spawn.channel = theirs.fileno()
        encoded.spawn.peer = ours.fileno()
        encoded.spawn.stdio = list(stdio)
        error = lib.aiod_spawn(encoded.spawn, pid, pidfd)
    if error < 0:
        ours.close()
        raise NativeError("clone", -error)
    if not leading:
        task.pid, task.pidfd = pid[0], pidfd[0]
        return task
    with _aborting(task):
        try:
            task._adopt_spawned()
        finally:
            _reap(pidfd[0])
            os.close(pidfd[0])
    return task


def _converse(
    task: Task,
    plan: Plan | ExecPlan,
    cgroup: CgroupLike | None,
    hooks: Hooks | None = None,
    meanwhile: Meanwhile | None = None,
) -> None:
    """Do what the child waits for, in the order it waits."""
    task.start_time = _start_time(task.pid)
    if plan.oom_score_adj is not None:
        _set_oom_score(task.pid, plan.oom_score_adj)
    for step in plan.steps:
        if step.sync is Sync.NONE:
            continue
        try:
            _answer(task, plan, step, cgroup, hooks)
        except NativeError as error:
            if step.sync is not Sync.CGROUP or error.errno != errno.ESRCH:
                raise
        except OSError as error:
            # A child that failed meanwhile says why itself, and that came first.
            if error.errno != errno.ESRCH:
                raise NativeError(step.name, error.errno or 0) from error
        task.tell(b"g")
    if meanwhile is not None:
        meanwhile(task)
    task.console_fd = task.wait_for(lib.AIOD_CREATED)


def _answer(
    task: Task, plan: Plan | ExecPlan, step: Step, cgroup: CgroupLike | None, hooks: Hooks | None
) -> None:
    if step.sync is Sync.MAPS and isinstance(plan, Plan):
        _write_maps(task.pid, plan)
    elif step.sync is Sync.CGROUP and cgroup is not None:
        cgroup.add(task.pid)
    elif step.sync is Sync.HOOKS:
        task.wait_for(lib.AIOD_REACHED)
        if hooks is None:
            raise NativeError(step.name, 95, "hooks are not supported here")
        hooks(task)


@contextlib.contextmanager
def _aborting(task: Task) -> Iterator[None]:
    try:
        yield
    except BaseException:
        task.abort()
        raise


def _start_time(pid: int) -> int:
    """0 if it was reaped already: its report is still to be read then."""
    try:
        return proc.start_time(pid) or 0
    except OSError:
        return 0


def _set_oom_score(pid: int, value: int) -> None:
    """Set it as far as it may be: lowering takes CAP_SYS_RESOURCE, and is a wish then.

    proc(5), `/proc/PID/oom_score_adj`.
    """
    path = f"/proc/{pid}/oom_score_adj"
    try:
        with open(path, "r+b", buffering=0) as file:
            current = int(file.read())
            if current == value:
                return
            try:
                file.write(b"%d" % value)
            except PermissionError:
                if value >= current:
                    raise
    except FileNotFoundError:
        return  # it ended; its report says why
    except OSError as error:
        raise NativeError("set oom_score_adj", error.errno or 0) from error


def _write_maps(pid: int, plan: Plan) -> None:
    """user_namespaces(7). Raises OSError."""
    for name, maps in (("uid_map", plan.uid_maps), ("gid_map", plan.gid_maps)):
        lines = "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in maps)
        with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
            file.write(lines.encode())


def _foreign_namespaces(init_pid: int, join: Step) -> int:
    """Of the flags of `join`, those of namespaces that are not ours already."""
    flags = 0
    for name, flag in _NAMESPACE_FILES.items():
        if not join.flags & flag:
            continue
        try:
            theirs = os.stat(f"/proc/{init_pid}/ns/{name}")
            ours = os.stat(f"/proc/thread-self/ns/{name}")
        except OSError as error:
            raise NativeError(join.name, error.errno or 0) from error
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            flags |= flag
    return flags


def _reap(pidfd: int) -> None:
    """Wait for the end of a child; it may be another's to reap, or be reaped already."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    ended.poll()
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
