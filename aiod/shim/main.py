"""One shim: makes its container, holds it to its end, and puts the exit on disk.

Owns the order of things; the loop that the container needs all its life is C (`core`), and
setting up a process is `aiod.native`. Must not know the daemon's records. Between the start
and the end nothing of Python runs.
"""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import msgspec

from aiod.native import cgroups, plan, proc, runtime, spec
from aiod.native.errors import NativeError
from aiod.shim import core, protocol, stdio
from aiod.shim.core import Core, Event, EventKind

UNKNOWN_EXIT = 137


def read_request(directory: Path) -> protocol.SpawnRequest:
    """The daemon's request. Raises OSError or DamagedFileError."""
    found = protocol.read_struct(directory / protocol.REQUEST_FILE, protocol.SpawnRequest)
    if found is None:
        raise FileNotFoundError(2, "no request", str(directory))
    return found


def answer(reply: socket.socket, message: protocol.SpawnReply) -> None:
    """Tell the daemon; one that died meanwhile will look at the files."""
    with contextlib.suppress(OSError):
        reply.send(msgspec.json.encode(message))


def failure(step: str, error: Exception) -> protocol.SpawnReply:
    """The reply that says why there is no container."""
    if isinstance(error, NativeError):
        return protocol.SpawnReply(
            step=error.step, errno=error.errno, message=error.message, kind=error.kind
        )
    number = error.errno if isinstance(error, OSError) else None
    return protocol.SpawnReply(step=step, errno=number or 0, message=str(error))


def run(request: protocol.SpawnRequest, reply: socket.socket) -> None:
    """Be the shim of `request` until the daemon has taken over its exit."""
    core.adopt(f"aiod-shim {request.directory}")
    shim = _Shim(request)
    try:
        made = shim.make()
    except (NativeError, OSError, protocol.DamagedFileError) as error:
        shim.undo()
        answer(reply, failure("make the container", error))
        return
    answer(reply, made)
    reply.close()
    shim.hold()


class _Shim:
    """The container of one request."""

    def __init__(self, request: protocol.SpawnRequest) -> None:
        self._request = request
        self._directory = Path(request.directory)
        self._core = Core()
        self._stdio = stdio.open_stdio(terminal=request.terminal, open_stdin=request.open_stdin)
        self._cgroup = cgroups.Cgroup(cgroups.detect_layout(), request.cgroup_path)
        self._task: runtime.Task | None = None
        self._started_ns = 0
        self._init = -1

    def make(self) -> protocol.SpawnReply:
        """Make the container and let it run. Raises NativeError, OSError, DamagedFileError."""
        here = os.getpid()
        me = protocol.ShimState(here, proc.start_time(here), boot_id=proc.boot_id())
        protocol.write_struct(self._directory / protocol.SHIM_FILE, me)
        container = spec.decode((self._directory / protocol.CONFIG_FILE).read_bytes())
        self._cgroup.create()
        if container.linux.resources:
            self._cgroup.apply(container.linux.resources)
        task = self._task = self._create(container)
        self._started_ns = time.time_ns()
        init = protocol.InitState(task.pid, task.start_time, self._started_ns)
        # Before it executes: a daemon that dies now must find whom it has to watch.
        protocol.write_struct(self._directory / protocol.INIT_FILE, init)
        task.start()
        return protocol.SpawnReply(
            me.pid, me.start_time, init.pid, init.start_time, init.started_at_ns
        )

    def _create(self, container: spec.Spec) -> runtime.Task:
        streams = self._stdio
        fds = (streams.child_stdin, streams.child_stdout, streams.child_stderr)
        birthplace = self._cgroup.into_fd()
        self._core.hold()
        try:
            task = runtime.create(
                plan.build_plan(container, self._directory),
                fds,
                self._cgroup,
                birthplace=-1 if birthplace is None else birthplace,
            )
        except BaseException:
            self._core.unhold()
            raise
        finally:
            if birthplace is not None:
                os.close(birthplace)
        streams.close_child()
        if task.console_fd >= 0:
            streams.take_console(task.console_fd)
        self._init = self._core.add(task.pid, streams.take_outputs(), self._request.log, held=True)
        return task

    def undo(self) -> None:
        """Leave nothing of a container that could not be made."""
        if self._task is not None:
            self._task.abort()
        with contextlib.suppress(NativeError, OSError):
            self._cgroup.remove()

    def hold(self) -> None:
        """Work until the exit is on disk and the daemon has sent SIGTERM for it."""
        ended = False
        while True:
            event = self._core.run(listening=False)
            if event.kind is EventKind.EXITED and event.process == self._init:
                self._finish(event)
                ended = True
            elif event.kind is EventKind.TERM and ended:
                return

    def _finish(self, event: Event) -> None:
        protocol.write_struct(self._directory / protocol.EXIT_FILE, self._exit(event))
        self._tell()
        self._core.announce(event.process)
        with contextlib.suppress(NativeError, OSError):
            self._cgroup.remove()

    def _exit(self, event: Event) -> protocol.ExitRecord:
        if event.status == -1:
            code, number, error = UNKNOWN_EXIT, None, "the exit status was lost"
        elif os.WIFSIGNALED(event.status):
            number, error = os.WTERMSIG(event.status), ""
            code = 128 + number
        else:
            code, number, error = os.WEXITSTATUS(event.status), None, ""
        killed = number == signal.SIGKILL and self._cgroup.oom_kills() > 0
        return protocol.ExitRecord(code, number, killed, event.time_ns, self._started_ns, error)

    def _tell(self) -> None:
        """A hint for the daemon; without one, or without a daemon, the record is enough."""
        notice = msgspec.json.encode(protocol.ExitNotice(self._request.id))
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.sendto(notice, self._request.exits_socket)
