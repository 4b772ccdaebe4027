"""One shim: makes its container, holds it to its end, and puts the exit on disk.

Owns the order of things; the loop that the container needs all its life is C (`core`), and
setting up a process is `aiod.native`. Must not know the daemon's records. Between the start
and the end nothing of Python runs.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aiod.native import cgroups, plan, proc, runtime, runtimecgroup, spec
from aiod.native.errors import NativeError
from aiod.shim import core, protocol, service, stdio
from aiod.shim.core import Core, Event, EventKind

if TYPE_CHECKING:
    from aiod.shim.proto.aiod.shim.v1 import ExecRequest

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
    shim = Shim(request)
    try:
        made = shim.make()
    except (NativeError, OSError, protocol.DamagedFileError) as error:
        shim.undo()
        answer(reply, failure("make the container", error))
        return
    answer(reply, made)
    reply.close()
    shim.hold()


@dataclass(slots=True)
class Process:
    """The init or an exec: `number` is the core's, `exec_id` empty for the init."""

    exec_id: str
    task: runtime.Task
    streams: stdio.Stdio
    number: int
    stdin_once: bool
    started_ns: int = 0


class Shim:
    """The container of one request."""

    def __init__(self, request: protocol.SpawnRequest) -> None:
        self._request = request
        self._directory = Path(request.directory)
        self._listener = _listen(self._directory / protocol.SOCKET_FILE)
        self.core = Core(self._listener.fileno())
        self._layout = cgroups.detect_layout()
        self._cgroup = cgroups.Cgroup(self._layout, request.cgroup_path)
        self._container = spec.Spec()
        self._processes: dict[str, Process] = {}
        self._adding = threading.Lock()
        self.init = -1
        self.spools = str(Path(request.log.path).parent if request.log.path else self._directory)

    def find(self, exec_id: str) -> Process | None:
        """The init (empty id) or an exec that has not ended."""
        return self._processes.get(exec_id)

    def make(self) -> protocol.SpawnReply:
        """Make the container, and let it run if asked to.

        Raises NativeError, OSError, DamagedFileError.
        """
        here = os.getpid()
        me = protocol.ShimState(here, proc.start_time(here), boot_id=proc.boot_id())
        protocol.write_struct(self._directory / protocol.SHIM_FILE, me)
        self._container = spec.decode((self._directory / protocol.CONFIG_FILE).read_bytes())
        self._cgroup.create()
        if self._container.linux.resources:
            self._cgroup.apply(self._container.linux.resources)
        streams = stdio.open_stdio(
            terminal=self._request.terminal, open_stdin=self._request.open_stdin
        )
        described = plan.build_plan(
            self._container,
            self._directory,
            runtimecgroup.mounts_of(self._layout, self._request.cgroup_path),
        )
        process = self._add(
            "", streams, lambda fds, place: runtime.create(
                described, fds, self._cgroup, birthplace=place
            ),
        )  # fmt: skip
        self.init = process.number
        if self._request.start:
            self.start(process)
        task = process.task
        return protocol.SpawnReply(
            me.pid, me.start_time, task.pid, task.start_time, process.started_ns
        )

    def _add(
        self,
        exec_id: str,
        streams: stdio.Stdio,
        create: Callable[[tuple[int, int, int], int], runtime.Task],
    ) -> Process:
        """Make a process whose output and end the core takes over."""
        fds = (streams.child_stdin, streams.child_stdout, streams.child_stderr)
        place = self._cgroup.into_fd()
        log = self._request.log if not exec_id else protocol.LogConfig("none")
        with self._adding:
            self.core.hold()
            try:
                task = create(fds, -1 if place is None else place)
            except BaseException:
                self.core.unhold()
                streams.close()
                raise
            finally:
                if place is not None:
                    os.close(place)
            streams.close_child()
            if task.console_fd >= 0:
                streams.take_console(task.console_fd)
            number = self.core.add(task.pid, streams.take_outputs(), log, held=True)
        once = self._request.stdin_once or bool(exec_id)
        process = self._processes[exec_id] = Process(exec_id, task, streams, number, once)
        return process

    def add_exec(self, asked: "ExecRequest") -> Process:
        """Make a further process in the container. Raises NativeError or OSError."""
        try:
            described = msgspec.json.decode(asked.process, type=spec.Process)
        except msgspec.MsgspecError as error:
            raise NativeError("exec", 22, str(error)) from error
        init = self._processes[""].task
        steps = plan.exec_plan(described, self._container, self._directory)
        streams = stdio.open_stdio(terminal=asked.terminal, open_stdin=asked.open_stdin)
        return self._add(
            asked.exec_id, streams, lambda fds, place: runtime.exec_process(
                init.pid, init.pidfd, steps, fds, self._cgroup, birthplace=place
            ),
        )  # fmt: skip

    def start(self, process: Process) -> None:
        """Let it execute, its identity being on disk first. Raises NativeError or OSError."""
        process.started_ns = time.time_ns()
        task = process.task
        if process.exec_id:
            self._write_exec(protocol.ExecState(process.exec_id, task.pid, task.start_time))
        else:
            init = protocol.InitState(task.pid, task.start_time, process.started_ns)
            protocol.write_struct(self._directory / protocol.INIT_FILE, init)
        task.start()

    def _write_exec(self, state: protocol.ExecState) -> None:
        directory = self._directory / protocol.EXECS_DIRECTORY
        directory.mkdir(exist_ok=True)
        protocol.write_struct(directory / f"{state.exec_id}.json", state)

    def undo(self) -> None:
        """Leave nothing of a container that could not be made."""
        for process in self._processes.values():
            process.task.abort()
        with contextlib.suppress(NativeError, OSError):
            self._cgroup.remove()

    def hold(self) -> None:
        """Work until the exit is on disk and the daemon has sent SIGTERM for it.

        The first connection starts the gRPC front, here: the init would get its parent-death
        signal if the thread that made it ended.
        """
        if not self._work(listening=True):
            return
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            self._work(listening=False)
            loop.call_soon_threadsafe(ended.set)

        worker = threading.Thread(target=work, name="core")
        worker.start()
        await service.serve(self, self._listener, ended)
        worker.join()

    def _work(self, *, listening: bool) -> bool:
        """Run the loop; true if somebody connects, false when all is over."""
        ended = False
        while True:
            event = self.core.run(listening=listening)
            if event.kind is EventKind.CONNECTION:
                return True
            if event.kind is EventKind.EXITED:
                ended = event.process == self.init or ended
                self._finish(event)
            elif event.kind is EventKind.TERM and ended:
                return False

    def _finish(self, event: Event) -> None:
        with self._adding:
            found = [p for p in self._processes.values() if p.number == event.process]
        for process in found:
            if process.exec_id:
                self._finish_exec(process, event)
            else:
                record = self._exit(event, process)
                protocol.write_struct(self._directory / protocol.EXIT_FILE, record)
                self._tell("")
        self.core.announce(event.process)
        if event.process == self.init:
            with contextlib.suppress(NativeError, OSError):
                self._cgroup.remove()

    def _finish_exec(self, process: Process, event: Event) -> None:
        code, _, _ = _outcome(event.status)
        task = process.task
        self._write_exec(
            protocol.ExecState(process.exec_id, task.pid, task.start_time, code, event.time_ns)
        )
        self._tell(process.exec_id)
        process.streams.close_stdin()

    def _exit(self, event: Event, process: Process) -> protocol.ExitRecord:
        code, number, error = _outcome(event.status)
        killed = number == signal.SIGKILL and self._cgroup.oom_kills() > 0
        return protocol.ExitRecord(code, number, killed, event.time_ns, process.started_ns, error)

    def _tell(self, exec_id: str) -> None:
        """A hint for the daemon; without one, or without a daemon, the record is enough."""
        notice = msgspec.json.encode(protocol.ExitNotice(self._request.id, exec_id))
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.sendto(notice, self._request.exits_socket)


def _outcome(status: int) -> tuple[int, int | None, str]:
    """Exit code, signal and error of a wait status; -1 is one that was lost."""
    if status == -1:
        return UNKNOWN_EXIT, None, "the exit status was lost"
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status), ""
    return os.WEXITSTATUS(status), None, ""


def _listen(path: Path) -> socket.socket:
    """A socket at `path`, which may be longer than an address can be."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
    listener.listen(128)
    return listener
