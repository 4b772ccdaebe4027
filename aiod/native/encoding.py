"""From steps to the C structs the child reads.

Owns the layout and the memory, which lives as long as the `Encoded` does; must not know what
the steps mean.
"""

import errno
import os
from collections.abc import Sequence
from typing import Any

from aiod.native._native import ffi, lib
from aiod.native.errors import NativeError
from aiod.native.steps import Flag, Op, Step

_HOME_SIZE = 1024
_NOT_IN_PATH = "executable file not found in $PATH"
_MOUNTS = (Op.ROOT_BIND, Op.ROOT_MOUNT, Op.MOUNT, Op.BIND)


class Encoded:
    """A `struct aiod_spawn` of `steps`, with every descriptor that had to be opened for it.

    Raises NativeError when a namespace to join cannot be opened. Close it when the child is made.
    """

    def __init__(self, steps: Sequence[Step], argv: Sequence[str], env: Sequence[str]) -> None:
        self._keep: list[Any] = []
        self._opened: list[int] = []
        self._prepared: list[Any] = []
        self.steps = steps
        self.array = ffi.new("struct aiod_step[]", len(steps))
        self.spawn = ffi.new("struct aiod_spawn *")
        self.spawn.steps = self.array
        self.spawn.step_count = len(steps)
        self.spawn.cgroup_fd = -1
        self.spawn.listener = -1
        self.spawn.peer = -1
        self.spawn.argv = self._strings([*argv, None])
        self.spawn.envp = self._environment(steps, env)
        try:
            for target, step in zip(self.array, steps, strict=True):
                self._fill(target, step)
        except BaseException:
            self.close()
            raise

    def _environment(self, steps: Sequence[Step], env: Sequence[str]) -> Any:
        """`env`, with a HOME that the child fills in if a step is for that."""
        pointers = [self._kept(ffi.new("char[]", _bytes(entry))) for entry in env]
        if any(step.op is Op.HOME for step in steps):
            self.spawn.home = self._kept(ffi.new("char[]", b"HOME=/".ljust(_HOME_SIZE, b"\0")))
            self.spawn.home_size = _HOME_SIZE
            pointers.append(self.spawn.home)
        return self._kept(ffi.new("char *[]", [*pointers, ffi.NULL]))

    def outlive(self) -> None:
        """Have the process outlive the thread that makes it."""
        for target in self.array:
            if target.op == Op.READY:
                target.number = 0

    def prepare(self) -> None:
        """Make the mounts that only the parent may make. Raises NativeError."""
        report = ffi.new("struct aiod_report *")
        if lib.aiod_prepare(self.spawn, report) < 0:
            raise failure(self.steps, report)

    def close(self) -> None:
        """Close what was opened for the child."""
        for target in self._prepared:
            if target.fd >= 0:
                os.close(target.fd)
                target.fd = -1
        while self._opened:
            os.close(self._opened.pop())

    def _fill(self, target: Any, step: Step) -> None:
        target.op = step.op.value
        target.fd = -1
        target.flags = step.flags
        target.set = step.set
        target.clear = step.clear
        target.propagation = step.propagation
        target.number = step.number
        target.mode = step.mode
        target.uid = step.uid
        target.gid = step.gid
        target.path = self._string(step.path)
        target.source = self._string(step.source)
        target.type = self._string(step.type)
        if step.options:
            target.keys = self._strings([key for key, _ in step.options])
            target.values = self._strings([value for _, value in step.options])
            target.count = len(step.options)
        elif step.candidates:
            target.keys = self._strings(step.candidates)
            target.count = len(step.candidates)
        if step.op in _MOUNTS and step.flags & Flag.PREPARED:
            self._prepared.append(target)
        if step.groups:
            groups = self._kept(ffi.new("unsigned int[]", list(step.groups)))
            target.groups, target.group_count = groups, len(step.groups)
        if step.capabilities is not None:
            sets = step.capabilities
            target.capabilities = [
                sets.effective, sets.permitted, sets.inheritable, sets.ambient
            ]  # fmt: skip
        if step.program:
            target.program = self._kept(ffi.from_buffer(step.program))
            target.program_size = len(step.program)
        if step.op is Op.SETNS and step.source:
            target.fd = self._open(step)

    def _open(self, step: Step) -> int:
        try:
            descriptor = os.open(step.source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NativeError(step.name, error.errno or 0) from error
        self._opened.append(descriptor)
        return descriptor

    def _kept(self, value: Any) -> Any:
        self._keep.append(value)
        return value

    def _string(self, value: str) -> Any:
        return self._kept(ffi.new("char[]", _bytes(value))) if value else ffi.NULL

    def _strings(self, values: Sequence[str | None]) -> Any:
        pointers = [
            ffi.NULL if value is None else self._kept(ffi.new("char[]", _bytes(value)))
            for value in values
        ]
        return self._kept(ffi.new("char *[]", pointers))


def failure(steps: Sequence[Step], report: Any) -> NativeError:
    """The error that a child's report is about."""
    index, number = int(report.step), int(report.error)
    detail = ffi.string(report.detail).decode(errors="replace")
    if index < 0:
        return NativeError("clone", number, detail)
    step = steps[index]
    message = os.strerror(number).lower() if number else "failed"
    if step.op in (Op.LOOKUP, Op.EXEC):
        return _command_failure(step, number)
    if step.op in (Op.MASK, Op.READONLY) or not detail:
        return NativeError(step.name, number, message)
    return NativeError(step.name, number, f"{message} ({detail})")


def _command_failure(step: Step, number: int) -> NativeError:
    """The container's own command: exit code 127 for what is not there, 126 for the rest.

    In runc's words, by which clients tell one from the other.
    """
    message = os.strerror(number).lower()
    kind = "not-found" if number in (errno.ENOENT, errno.ENOTDIR) else "not-executable"
    if step.op is Op.LOOKUP and kind == "not-found":
        given = step.name.removeprefix('exec "').removesuffix('"')
        message = f"stat {given}: {message}" if "/" in given else _NOT_IN_PATH
    elif number == errno.EISDIR:
        message = f"{message}: {os.strerror(errno.EACCES).lower()}"
    return NativeError(step.name, number, message, kind)


def _bytes(value: str) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        raise NativeError("plan", 22, f"a NUL byte in {value!r}")
    return data
