"""One shim, from the first thing that takes more than the C loop (`core`) to its end.

Owns what happens at an exit, in which order, and the container's processes while somebody asks
about them. Makes no container (`maker` does) and speaks no gRPC (`service` does). Must not know
the daemon's records. Between the start and the first connection or the end nothing here runs.
"""

import asyncio
import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiod.native import cgroups, plan, runtime, runtimecgroup, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Step
from aiod.shim import core, execs, handover, maker, protocol, service, stdio
from aiod.shim.core import Core, Event, EventKind, Init

if TYPE_CHECKING:
    from aiod.shim.proto.aiod.shim.v1 import ExecRequest

UNKNOWN_EXIT = 137
_FULL_DISK_SECONDS = 1.0


def run(born: Any) -> None:
    """Be the shim that the template's fork has become, until its exit has been taken over."""
    first = core.event_of(born.event)
    loop = Core(born.core)
    if first.kind is EventKind.UNMADE:
        _undo(loop.init(), Path(handover.directory_of(born)), born.reply)
    else:
        Shim(loop).hold(first)


def _undo(init: Init, directory: Path, reply: int) -> None:
    """Leave nothing of what a maker made that was killed, and say so."""
    if init.pidfd >= 0:
        runtime.resume(
            init.pid, init.start_time, (init.pidfd, init.console, init.channel), tuple
        ).abort()
    with contextlib.suppress(protocol.DamagedFileError, NativeError, OSError):
        request = protocol.read_struct(directory / protocol.REQUEST_FILE, protocol.SpawnRequest)
        if request is not None:
            cgroups.Cgroup(maker.layout(), request.cgroup_path).remove()
    told = protocol.SpawnReply(step="make the container", message="its maker ended unexpectedly")
    with contextlib.suppress(OSError), socket.socket(fileno=reply) as answer:
        answer.send(msgspec.json.encode(told))


@dataclass(slots=True)
class Process:
    """The init or an exec: `number` is the core's, `exec_id` empty for the init."""

    exec_id: str
    task: runtime.Task
    streams: stdio.Stdio
    number: int
    stdin_once: bool
    started_ns: int = 0
    _users: int = 0
    _over: bool = False

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep its descriptors meanwhile, although it ends; in the thread that calls `close`."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_unused()

    def close(self) -> None:
        """Give its descriptors back as soon as nobody uses them."""
        self._over = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._over and not self._users:
            self.task.close()
            self.streams.close()


class Shim:
    """The container that a maker has handed over."""

    def __init__(self, loop: Core) -> None:
        init = loop.init()
        self.core = loop
        self.request = msgspec.json.decode(init.request, type=protocol.SpawnRequest)
        self.directory = Path(self.request.directory)
        self.init = init.number
        self.exit: protocol.ExitRecord | None = None
        self.execs = execs.ExecFiles(self.directory / protocol.EXECS_DIRECTORY)
        self._listener = socket.socket(fileno=init.listener)
        self._adding = threading.Lock()
        self._processes = {"": self._first(init)}
        self._released = False
        self.ended: Callable[[Process], None] = Process.close
        path = self.request.log.path
        self.waiting = str(Path(path).parent if path else self.directory)

    def _first(self, init: Init) -> Process:
        descriptors = (init.pidfd, init.console, init.channel)
        task = runtime.resume(init.pid, init.start_time, descriptors, self._steps)
        streams = stdio.Stdio(-1, -1, -1, init.input, -1, -1, init.terminal)
        once = self.request.stdin_once
        return Process("", task, streams, init.number, once, init.started_ns)

    @functools.cached_property
    def layout(self) -> cgroups.Layout:
        """The host's hierarchies. Raises NativeError."""
        return maker.layout()

    @functools.cached_property
    def cgroup(self) -> cgroups.Cgroup:
        """The container's. Raises NativeError."""
        return cgroups.Cgroup(self.layout, self.request.cgroup_path)

    @functools.cached_property
    def _container(self) -> spec.Spec:
        """Its specification, as it is on disk. Raises NativeError."""
        return spec.decode((self.directory / protocol.CONFIG_FILE).read_bytes())

    def _steps(self) -> tuple[Step, ...]:
        """What the init was made by, to name a step that failed."""
        mounts = runtimecgroup.mounts_of(self.layout, self.request.cgroup_path)
        return plan.build_plan(self._container, self.directory, mounts).steps

    def find(self, exec_id: str) -> Process | None:
        """The init (empty id), also when it has ended, or an exec that has not."""
        return self._processes.get(exec_id)

    def running_execs(self) -> list[str]:
        """The ids of execs that have not ended."""
        return [exec_id for exec_id in list(self._processes) if exec_id]

    def add_exec(self, asked: "ExecRequest") -> Process:
        """Make a further process in the container. Raises NativeError or OSError."""
        try:
            described = msgspec.json.decode(asked.process, type=spec.Process)
        except msgspec.MsgspecError as error:
            raise NativeError("exec", 22, str(error)) from error
        execs.check_id(asked.exec_id)
        steps = plan.exec_plan(described, self._container, self.directory)
        streams = stdio.open_stdio(terminal=asked.terminal, open_stdin=asked.open_stdin)
        init = self._processes[""].task
        fds = (streams.child_stdin, streams.child_stdout, streams.child_stderr)
        place = self.cgroup.into_fd()
        try:
            with self._adding:
                if asked.exec_id in self._processes:
                    raise NativeError("exec", 17, f"exec {asked.exec_id} exists")
                return self._add(
                    asked.exec_id, streams, lambda: runtime.exec_process(
                        init.pid, init.pidfd, steps, fds, self.cgroup,
                        birthplace=-1 if place is None else place,
                    ),
                )  # fmt: skip
        except BaseException:
            streams.close()
            raise
        finally:
            if place is not None:
                os.close(place)

    def _add(
        self, exec_id: str, streams: stdio.Stdio, create: Callable[[], runtime.Task]
    ) -> Process:
        """Make a process whose output and end the core takes over."""
        self.core.hold()
        try:
            task = create()
        except BaseException:
            self.core.unhold()
            raise
        streams.close_child()
        if task.console_fd >= 0:
            streams.take_console(task.console_fd)
        outputs = streams.take_outputs()
        number = self.core.add(task.pid, outputs, protocol.LogConfig("none"), held=True)
        process = self._processes[exec_id] = Process(exec_id, task, streams, number, True)
        return process

    def start(self, process: Process) -> None:
        """Let it execute, its identity being on disk first. Raises NativeError or OSError."""
        process.started_ns = time.time_ns()
        task = process.task
        if process.exec_id:
            state = protocol.ExecState(process.exec_id, task.pid, task.start_time)
            try:
                self.execs.write(state)
            except OSError:
                signal.pidfd_send_signal(task.pidfd, signal.SIGKILL)
                raise
        else:
            init = protocol.InitState(task.pid, task.start_time, process.started_ns)
            protocol.write_struct(self.directory / protocol.INIT_FILE, init)
        task.start()

    def hold(self, first: Event) -> None:
        """Work until the exit is on disk and the daemon has sent SIGTERM for it.

        The first connection starts the gRPC front, here: the init would get its parent-death
        signal if the thread that made it ended.
        """
        event = first
        while event.kind is not EventKind.CONNECTION:
            if self._handle(event):
                return
            event = self.core.run(listening=True)
        core.after_fork()
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                while not self._handle(self.core.run(listening=False)):
                    pass
            finally:
                loop.call_soon_threadsafe(ended.set)

        worker = threading.Thread(target=work, name="core")
        worker.start()
        await service.serve(self, self._listener, ended)
        worker.join()

    def release(self) -> None:
        """End the shim, its exit being taken over."""
        self._released = True
        self.core.wake()

    def _handle(self, event: Event) -> bool:
        """True when all is over."""
        if event.kind is EventKind.EXITED:
            self._finish(event)
        if event.kind is EventKind.TERM:
            self._released = True
        # A SIGTERM before the end is nobody's word on an exit.
        self._released = self._released and self.exit is not None
        return self._released

    def _finish(self, event: Event) -> None:
        with self._adding:
            found = [p for p in self._processes.values() if p.number == event.process]
        for process in found:
            if process.exec_id:
                self._finish_exec(process, event)
            else:
                self._finish_init(process, event)

    def _finish_exec(self, process: Process, event: Event) -> None:
        code, _, _ = _outcome(event.status)
        task, exec_id = process.task, process.exec_id
        state = protocol.ExecState(exec_id, task.pid, task.start_time, code, event.time_ns)
        try:
            self.execs.write(state)
        except OSError as error:  # its outcome is unknown then; the container goes on
            _complain(f"exec {exec_id} ended with {code}: {error}")
        self._tell(exec_id)
        del self._processes[exec_id]
        self.core.announce(event.process)
        self.core.drop(event.process)
        self.ended(process)

    def _finish_init(self, process: Process, event: Event) -> None:
        record = self._record(event, process)
        self._put_on_disk(record)
        self.exit = record
        self._tell("")
        self.core.announce(event.process)
        self.ended(process)
        with contextlib.suppress(NativeError):
            maker.remove(self.cgroup)

    def _put_on_disk(self, record: protocol.ExitRecord) -> None:
        """Nobody is told before; while there is no room for it, nothing else is to be done."""
        while True:
            try:
                return protocol.write_struct(self.directory / protocol.EXIT_FILE, record)
            except FileNotFoundError:
                raise  # without its directory nobody can find this shim
            except OSError as error:
                _complain(f"exit {record.exit_code}: {error}")
                time.sleep(_FULL_DISK_SECONDS)

    def _record(self, event: Event, process: Process) -> protocol.ExitRecord:
        code, number, error = _outcome(event.status)
        short = self._short_of_memory()
        return protocol.ExitRecord(code, number, short, event.time_ns, process.started_ns, error)

    def _short_of_memory(self) -> bool:
        """Whether the kernel killed a process of the container for memory, whichever it was."""
        try:
            return self.cgroup.oom_kills() > 0
        except NativeError:
            return False

    def _tell(self, exec_id: str) -> None:
        """A hint for the daemon; without one, or without a daemon, the record is enough."""
        notice = msgspec.json.encode(protocol.ExitNotice(self.request.id, exec_id))
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.sendto(notice, self.request.exits_socket)


def _complain(text: str) -> None:
    """To shim.log, if there is room."""
    with contextlib.suppress(OSError):
        print(f"aiod-shim: {text}", file=sys.stderr, flush=True)


def _outcome(status: int) -> tuple[int, int | None, str]:
    """Exit code, signal and error of a wait status; -1 is one that was lost."""
    if status == -1:
        return UNKNOWN_EXIT, None, "the exit status was lost"
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status), ""
    return os.WEXITSTATUS(status), None, ""
