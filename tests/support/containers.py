"""Containers made with the native runtime alone: a busybox root, specifications, their output.

Must not know about daemons and shims.
"""

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aiod.native import plan, runtime, spec
from tests.support.rootfs import busybox_tar

MOUNTS = (
    spec.Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    spec.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    spec.Mount(
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    spec.Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    spec.Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777")),
    spec.Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
)
NAMESPACES = tuple(spec.Namespace(kind) for kind in ("mount", "pid", "ipc", "uts", "network"))
ENV = ("PATH=/bin:/etc", "HOME=/root")


def extract(directory: Path) -> Path:
    """The busybox root filesystem, unpacked."""
    with tarfile.open(fileobj=io.BytesIO(busybox_tar())) as archive:
        # Python 3.11.2, which is Debian 12's, has no argument for it yet.
        archive.extraction_filter = lambda member, _: member
        archive.extractall(directory)
    return directory


@dataclass
class Result:
    """What a process printed and its wait status as an exit code (negative: a signal)."""

    output: str
    code: int


@dataclass
class Box:
    """A bundle directory with an overlay over `lower`, and everything made from it."""

    base: Path
    lower: tuple[Path, ...]
    tasks: list[runtime.Task] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("rootfs", "upper", "work"):
            (self.base / name).mkdir()

    def describe(
        self, *args: str, mounts: tuple[spec.Mount, ...] = (), **process: object
    ) -> spec.Spec:
        """A container that runs `args`; `process` are fields of spec.Process."""
        options = [f"lowerdir={directory}" for directory in self.lower]
        options += [f"upperdir={self.base / 'upper'}", f"workdir={self.base / 'work'}"]
        first = spec.Process(args=args, env=ENV)
        return spec.Spec(
            process=msgspec.structs.replace(first, **process),
            root=spec.Root("rootfs"),
            mounts=(spec.Mount("/", "overlay", "overlay", tuple(options)), *MOUNTS, *mounts),
            linux=spec.Linux(namespaces=NAMESPACES),
        )

    def create(
        self, container: spec.Spec, stdio: tuple[int, int, int] | None = None
    ) -> runtime.Task:
        """Set up, not started; ended with the box."""
        with _null() as null:
            streams = (null, null, null) if stdio is None else stdio
            return self._create(plan.build_plan(container, self.base), streams)

    def _create(self, made: plan.Plan, streams: tuple[int, int, int]) -> runtime.Task:
        task = runtime.create(made, streams, None)
        self.tasks.append(task)
        return task

    def run(self, container: spec.Spec) -> Result:
        """Run it to its end."""
        return self.run_plan(plan.build_plan(container, self.base))

    def run_plan(self, made: plan.Plan) -> Result:
        """Run it to its end."""
        if made.terminal:
            return finish(self._create(made, (-1, -1, -1)))
        with _null() as null, _pipe() as (read, write):
            task = self._create(made, (null, write, write))
            return finish(task, read, write)

    def sleeper(self, **process: object) -> tuple[runtime.Task, spec.Spec]:
        """A started container that waits, and its specification."""
        container = self.describe("sleep", "1000", **process)  # type: ignore[arg-type]
        task = self.create(container)
        task.start()
        return task, container

    def exec(self, task: runtime.Task, container: spec.Spec, process: spec.Process) -> Result:
        """Run a further process in a started container."""
        steps = plan.exec_plan(process, container, self.base)
        with _null() as null, _pipe() as (read, write):
            if process.terminal:
                made = runtime.exec_process(task.pid, task.pidfd, steps, (-1, -1, -1), None)
                return finish(made)
            streams = (null, write, write)
            made = runtime.exec_process(task.pid, task.pidfd, steps, streams, None)
            return finish(made, read, write)

    def close(self) -> None:
        """End whatever still runs; a pid namespace's init ends after those that we must reap."""
        for task in reversed(self.tasks):
            task.abort()


def finish(task: runtime.Task, read: int = -1, write: int = -1) -> Result:
    """Start a task and read its output to the end."""
    task.start()
    if write >= 0:
        os.close(write)
    output = b""
    with contextlib.suppress(OSError):  # EIO: the terminal's last user is gone
        while chunk := os.read(read if read >= 0 else task.console_fd, 65536):
            output += chunk
    _, status = os.waitpid(task.pid, 0)
    task.close()
    return Result(output.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status))


@contextlib.contextmanager
def _null() -> Iterator[int]:
    descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        yield read, write
    finally:
        for descriptor in (read, write):
            with contextlib.suppress(OSError):
                os.close(descriptor)
