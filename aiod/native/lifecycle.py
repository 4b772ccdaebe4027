"""The operations of an OCI runtime, between which nothing of it runs.

Owns the order of things in `create`, `start`, `delete` and the rest, and what is undone when one
fails. Must not know command lines. Source: runtime-spec `runtime.md` ("Lifecycle", "Operations").
"""

import contextlib
import datetime
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiod.native import hooks, plan, proc, records, runtime, seccomp, spec
from aiod.native.errors import NativeError
from aiod.native.records import Directory, Record

_KILL_WAIT_SECONDS = 10.0


class ContainerCgroup(Protocol):
    """What a runtime asks of a container's own cgroup. Everything raises OSError or NativeError."""

    def create(self) -> None:
        """Make it."""

    def add(self, pid: int) -> None:
        """Move a process into it."""

    def into_fd(self) -> int | None:
        """A directory to be born in."""

    def mounts(self) -> tuple[plan.CgroupMount, ...]:
        """What the container sees of it."""

    def processes(self) -> list[int]:
        """The pids in it."""

    def frozen(self) -> bool:
        """Whether it is paused."""

    def freeze(self) -> None:
        """Stop every process in it."""

    def thaw(self) -> None:
        """Let them go on."""

    def update(self, resources: spec.Resources) -> None:
        """Change its limits."""

    def remove(self) -> None:
        """Remove it; it has no processes any more."""


OpenCgroup = Callable[[str], ContainerCgroup]
"""The cgroup at a path below every hierarchy's root, there or not."""


@dataclass(frozen=True)
class Runtime:
    """The runtime whose containers are remembered below `root`."""

    root: Path
    open_cgroup: OpenCgroup

    def create(
        self, container_id: str, bundle: Path, stdio: tuple[int, int, int]
    ) -> tuple[Record, runtime.Task]:
        """Make a container that waits for `start`; the caller closes the task.

        Raises NativeError, and leaves nothing behind then.
        """
        config = _read(bundle / "config.json")
        container = spec.decode(config)
        directory = Directory(self.root, container_id)
        directory.make()
        with contextlib.ExitStack() as undo:
            undo.callback(directory.remove)
            directory.save_config(config)
            if container.linux.seccomp is not None:
                seccomp.save(container.linux.seccomp, directory.path)
            path = container.linux.cgroups_path or f"/aiod-runtime/{container_id}"
            cgroup = self.open_cgroup(path)
            undo.callback(cgroup.remove)
            cgroup.create()
            if container.linux.resources is not None:
                cgroup.update(container.linux.resources)
            record = _new_record(container_id, bundle, path, container)
            task = _make(directory, record, container, cgroup, stdio)
            undo.callback(task.abort)
            record = _with_process(record, task)
            directory.save(record)
            undo.pop_all()
        return record, task

    def start(self, container_id: str) -> None:
        """Let a created container execute its command. Raises NativeError."""
        directory = Directory(self.root, container_id)
        with directory.locked():
            record = directory.load()
            status = self.status(record)
            if status != "created":
                raise NativeError("start", 0, f"the container is {status}, not created")
            container = directory.load_config()
            state = _state(record, "created")
            points = container.hooks or spec.Hooks()
            pidfd = proc.open_pidfd(record.pid, record.start_time)
            if pidfd is None:
                raise NativeError("start", 3, "the container has ended")
            with _held(pidfd):
                hooks.run_inside("startContainer", points.start_container, state, container, pidfd)
            visitor = _visit(directory)
            made = plan.build_plan(
                container, Path(record.bundle), self._mounts(record), programs=directory.path
            )
            directory.socket.unlink(missing_ok=True)
            runtime.start_by(visitor, made)
            hooks.run_here("poststart", points.poststart, _state(record, "running"))

    def _mounts(self, record: Record) -> tuple[plan.CgroupMount, ...]:
        return self.open_cgroup(record.cgroup).mounts()

    def status(self, record: Record) -> str:
        """`created`, `running`, `paused` or `stopped`."""
        if not records.is_alive(record):
            return "stopped"
        if Directory(self.root, record.id).socket.exists():
            return "created"
        return "paused" if self.open_cgroup(record.cgroup).frozen() else "running"

    def state(self, container_id: str) -> hooks.State:
        """What the `state` operation answers. Raises NativeError."""
        record = Directory(self.root, container_id).load()
        return _state(record, self.status(record))

    def kill(self, container_id: str, number: int, *, everything: bool = False) -> None:
        """Signal the first process, or all. Raises NativeError when the container has ended."""
        record = Directory(self.root, container_id).load()
        if everything:
            for pid in self.open_cgroup(record.cgroup).processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        elif record.boot_id != proc.boot_id() or not proc.send_signal(
            record.pid, record.start_time, number
        ):
            # Words that containerd and conmon look for.
            raise NativeError("kill", 3, "container not running")

    def delete(self, container_id: str, *, force: bool = False) -> None:
        """Remove what is left of a container that has ended, or with `force` end it first.

        Raises NativeError.
        """
        directory = Directory(self.root, container_id)
        with directory.locked():
            try:
                record = directory.load()
            except NativeError:
                if not force:
                    raise
                directory.remove()  # its creation was interrupted
                return
            status = self.status(record)
            if status not in ("stopped", "created") and not force:
                raise NativeError("delete", 16, f"the container is {status}, not stopped")
            _end(record)
            self._end_rest(record)
            self.open_cgroup(record.cgroup).remove()
            container = directory.load_config()
            directory.remove()
            points = container.hooks or spec.Hooks()
            hooks.run_here("poststop", points.poststop, _state(record, "stopped"))

    def _end_rest(self, record: Record) -> None:
        """Without a pid namespace others may have outlived the first process."""
        cgroup = self.open_cgroup(record.cgroup)
        if cgroup.frozen():
            cgroup.thaw()
        for pid in cgroup.processes():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                with _held(descriptor):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    select.select([descriptor], [], [], _KILL_WAIT_SECONDS)

    def execute(
        self, container_id: str, process: spec.Process, stdio: tuple[int, int, int]
    ) -> runtime.Task:
        """Make a further process, waiting for its start. Raises NativeError."""
        directory = Directory(self.root, container_id)
        record = directory.load()
        pidfd = proc.open_pidfd(record.pid, record.start_time)
        if pidfd is None or self.status(record) == "stopped":
            raise NativeError("exec", 3, "container not running")
        with _held(pidfd):
            made = plan.exec_plan(process, directory.load_config(), directory.path)
            streams = (-1, -1, -1) if made.terminal else stdio
            cgroup = self.open_cgroup(record.cgroup)
            with _birthplace(cgroup) as birthplace:
                return runtime.exec_process(
                    record.pid, pidfd, made, streams, cgroup, birthplace=birthplace
                )

    def cgroup(self, container_id: str) -> ContainerCgroup:
        """The cgroup of a container that runs. Raises NativeError."""
        record = Directory(self.root, container_id).load()
        if self.status(record) == "stopped":
            raise NativeError("cgroup", 3, "container not running")
        return self.open_cgroup(record.cgroup)


@contextlib.contextmanager
def _held(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _birthplace(cgroup: ContainerCgroup) -> Iterator[int]:
    descriptor = cgroup.into_fd()
    try:
        yield -1 if descriptor is None else descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def _address(directory: Directory) -> Iterator[str]:
    """The socket's path, however long the real one: sun_path has room for 107 bytes."""
    descriptor = os.open(directory.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with _held(descriptor):
        yield f"/proc/self/fd/{descriptor}/{directory.socket.name}"


def _make(
    directory: Directory,
    record: Record,
    container: spec.Spec,
    cgroup: ContainerCgroup,
    stdio: tuple[int, int, int],
) -> runtime.Task:
    bundle = Path(record.bundle)
    made = plan.build_plan(container, bundle, cgroup.mounts(), programs=directory.path)
    points = container.hooks or spec.Hooks()

    def run_hooks(task: runtime.Task) -> None:
        state = _state(_with_process(record, task), "creating")
        hooks.run_here("prestart", points.prestart, state)
        hooks.run_here("createRuntime", points.create_runtime, state)
        hooks.run_inside("createContainer", points.create_container, state, container, task.pidfd)

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with _address(directory) as address:
            listener.bind(address)
        listener.listen(1)
        streams = (-1, -1, -1) if made.terminal else stdio
        with _birthplace(cgroup) as birthplace:
            return runtime.create(
                made,
                streams,
                cgroup,
                hooks=run_hooks,
                listener=listener.fileno(),
                birthplace=birthplace,
            )


def _visit(directory: Directory) -> socket.socket:
    visitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _address(directory) as address:
            visitor.connect(address)
    except OSError as error:
        visitor.close()
        raise NativeError("start", error.errno or 0) from error
    return visitor


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NativeError(f'read "{path}"', error.errno or 0) from error


def _new_record(container_id: str, bundle: Path, cgroup: str, container: spec.Spec) -> Record:
    created = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    return Record(
        container_id, str(bundle), 0, 0, proc.boot_id(), created, cgroup, container.annotations
    )


def _with_process(record: Record, task: runtime.Task) -> Record:
    return Record(
        record.id, record.bundle, task.pid, task.start_time, record.boot_id,
        record.created, record.cgroup, record.annotations,
    )  # fmt: skip


def _state(record: Record, status: str) -> hooks.State:
    pid = 0 if status == "stopped" else record.pid
    return hooks.State(record.id, status, record.bundle, pid, annotations=record.annotations)


def _end(record: Record) -> None:
    """Kill the first process and wait until it is gone. Raises NativeError if it stays."""
    if record.boot_id != proc.boot_id():
        return
    pidfd = proc.open_pidfd(record.pid, record.start_time)
    if pidfd is None:
        return
    with _held(pidfd):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not select.select([pidfd], [], [], _KILL_WAIT_SECONDS)[0]:
            raise NativeError("delete", 110, f"process {record.pid} does not end")
