"""Runs the hooks of a container's lifecycle.

Owns how a hook is executed: where, with what on its standard input, for how long. Must not know
when. Source: runtime-spec `config.md` ("POSIX-platform Hooks"), `runtime.md` ("State").
"""

import os
import select
import subprocess
from collections.abc import Iterable

import msgspec

from aiod.native import plan, runtime, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Op, Step


class State(msgspec.Struct, frozen=True, rename="camel"):
    """What a hook reads, and the `state` command prints."""

    id: str
    status: str
    bundle: str
    pid: int = 0
    oci_version: str = "1.2.0"
    annotations: dict[str, str] = {}


def run_here(point: str, hooks: Iterable[spec.Hook], state: State) -> None:
    """Run `hooks` in the runtime's own namespaces, in order.

    Raises NativeError naming the hook if it fails or takes longer than its timeout (seconds).
    """
    for hook in hooks:
        name = _name(point, hook)
        try:
            done = subprocess.run(
                list(hook.args or (hook.path,)),
                executable=hook.path,
                env=dict(entry.partition("=")[::2] for entry in hook.env),
                input=msgspec.json.encode(state),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=hook.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NativeError(name, 110, f"did not end within {hook.timeout} s") from error
        except OSError as error:
            raise NativeError(name, error.errno or 0) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise NativeError(name, 0, f"ended with {done.returncode}: {said}")


def run_inside(
    point: str, hooks: Iterable[spec.Hook], state: State, container: spec.Spec, pidfd: int
) -> None:
    """Run `hooks` in the namespaces of the container whose first process is `pidfd`.

    Raises NativeError like `run_here`.
    """
    for hook in hooks:
        _run_inside(_name(point, hook), hook, state, container, pidfd)


def _run_inside(name: str, hook: spec.Hook, state: State, container: spec.Spec, pidfd: int) -> None:
    stdin = _document(state)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        task = runtime.exec_process(
            state.pid, pidfd, _plan(name, hook, container), (stdin, null, null), None
        )
    finally:
        os.close(stdin)
        os.close(null)
    try:
        task.start()
        seconds = None if hook.timeout is None else float(hook.timeout)
        if not select.select([task.pidfd], [], [], seconds)[0]:
            raise NativeError(name, 110, f"did not end within {hook.timeout} s")
        ended = os.waitid(os.P_PIDFD, task.pidfd, os.WEXITED | os.WNOWAIT)
        if ended is None or ended.si_code != os.CLD_EXITED or ended.si_status:
            status = 0 if ended is None else ended.si_status
            raise NativeError(name, 0, f"ended with {status}")
    finally:
        task.abort()


def _plan(name: str, hook: spec.Hook, container: spec.Spec) -> plan.ExecPlan:
    """The hook as it is: with the rights of the runtime, in the container's namespaces."""
    types = [namespace.type for namespace in container.linux.namespaces]
    steps = (
        Step(Op.SETNS, name, flags=sum(plan.NAMESPACES[kind] for kind in types)),
        Step(Op.ROOT_HERE, name),
        Step(Op.SESSION, name),
        Step(Op.UMASK, name, mode=0o022),
        Step(Op.STDIO, name),
        Step(Op.CWD, name, path="/"),
        Step(Op.LOOKUP, name, candidates=(hook.path,)),
        Step(Op.READY, name),
        Step(Op.EXEC, name),
    )
    return plan.ExecPlan(1, steps, hook.args or (hook.path,), hook.env, terminal=False)


def _document(state: State) -> int:
    """A descriptor from which the state is read."""
    descriptor = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(descriptor, msgspec.json.encode(state))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _name(point: str, hook: spec.Hook) -> str:
    return f'{point} hook "{hook.path}"'
