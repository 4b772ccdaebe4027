"""`aiod-runtime`: the native runtime with runc's command line, for whoever drives an OCI runtime.

Owns arguments, streams, logs and exit codes. Must not know how containers are made
(`aiod.native.lifecycle`). Errors go to standard error, and to `--log` in the format asked for.
"""

import json
import os
import signal
import sys
from pathlib import Path

import click
import msgspec

from aiod.native import commandcontrol, console, records, runtime, spec
from aiod.native.commandsession import Session
from aiod.native.errors import NativeError
from aiod.native.hooks import State
from aiod.native.lifecycle import Runtime
from aiod.native.runtimecgroup import ContainerCgroup

_ROOT = "/run/aiod-runtime"
_OWN_STREAMS = (0, 1, 2)
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2)  # fmt: skip


class _Command(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (NativeError, OSError) as error:
            if isinstance(ctx.obj, Session):
                ctx.obj.report(error)
            ctx.exit(1)


@click.group(cls=_Command)
@click.option("--root", default=_ROOT, help="Where the containers' state is kept.")
@click.option("--log", default="", help="File that errors are appended to.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.option("--debug", is_flag=True, help="Accepted; there is no debug log.")
@click.option("--systemd-cgroup", is_flag=True, help="Refused: cgroups are made directly.")
@click.option("--rootless", default="auto", help="Accepted as `auto` or `false`.")
@click.version_option(package_name="aiod", message="aiod-runtime version %(version)s\nspec: 1.2.0")
@click.pass_context
def main(
    ctx: click.Context, root: str, log: str, log_format: str, debug: bool, systemd_cgroup: bool,
    rootless: str,
) -> None:  # fmt: skip
    """An OCI runtime for Linux."""
    del debug
    ctx.obj = Session(Runtime(Path(root), ContainerCgroup), log, log_format)
    if systemd_cgroup:
        raise NativeError("--systemd-cgroup", 95)
    if rootless == "true":
        raise NativeError("--rootless", 95)


_BUNDLE = click.option("--bundle", "-b", default=".", help="Directory of config.json.")
_PID_FILE = click.option("--pid-file", default="", help="File for the process's pid.")
_CONSOLE = click.option("--console-socket", default="", help="Socket to send the terminal to.")
_NO_PIVOT = click.option("--no-pivot", is_flag=True, help="Refused: it is not safe.")
_KEYRING = click.option("--no-new-keyring", is_flag=True, help="Accepted.")
_FDS = click.option("--preserve-fds", type=int, default=0, help="Refused unless 0.")


def _check(no_pivot: bool, preserve_fds: int) -> None:
    if no_pivot:
        raise NativeError("--no-pivot", 95, "refused: chroot is no confinement")
    if preserve_fds:
        raise NativeError("--preserve-fds", 95)


def _hand_over(task: runtime.Task, pid_file: str, console_socket: str) -> None:
    """Tell the caller what it asked for of a process that is set up."""
    if task.console_fd >= 0 and console_socket:
        console.send(console_socket, task.console_fd)
    if pid_file:
        temporary = Path(f"{pid_file}.tmp")
        temporary.write_text(str(task.pid))
        temporary.replace(pid_file)


@main.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@_NO_PIVOT
@_KEYRING
@_FDS
@click.argument("container_id")
@click.pass_obj
def create(
    session: Session, container_id: str, bundle: str, pid_file: str, console_socket: str,
    no_pivot: bool, no_new_keyring: bool, preserve_fds: int,
) -> None:  # fmt: skip
    """Make a container that waits for `start`."""
    del no_new_keyring
    _check(no_pivot, preserve_fds)
    _create(session, container_id, bundle, pid_file, console_socket, attached=False).close()


def _create(
    session: Session, container_id: str, bundle: str, pid_file: str, console_socket: str,
    *, attached: bool,
) -> runtime.Task:  # fmt: skip
    directory = Path(bundle).absolute()
    _record, task = session.runtime.create(container_id, directory, _OWN_STREAMS)
    try:
        if task.console_fd >= 0 and not console_socket and not attached:
            raise NativeError("create", 22, "a terminal needs --console-socket")
        _hand_over(task, pid_file, console_socket)
    except BaseException:
        session.runtime.delete(container_id, force=True)
        task.close()
        raise
    return task


@main.command()
@click.argument("container_id")
@click.pass_obj
def start(session: Session, container_id: str) -> None:
    """Execute the command of a created container."""
    session.runtime.start(container_id)


@main.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@_NO_PIVOT
@_KEYRING
@_FDS
@click.option("--detach", "-d", is_flag=True, help="Do not wait for the end.")
@click.option("--keep", is_flag=True, help="Do not delete it at the end.")
@click.argument("container_id")
@click.pass_obj
def run(
    session: Session, container_id: str, bundle: str, pid_file: str, console_socket: str,
    no_pivot: bool, no_new_keyring: bool, preserve_fds: int, detach: bool, keep: bool,
) -> None:  # fmt: skip
    """Create and start a container, and wait for its end."""
    del no_new_keyring
    _check(no_pivot, preserve_fds)
    task = _create(session, container_id, bundle, pid_file, console_socket, attached=not detach)
    try:
        session.runtime.start(container_id)
    except BaseException:
        session.runtime.delete(container_id, force=True)
        raise
    if detach:
        task.close()
        return
    code = _wait(task, relayed=not console_socket)
    if not keep:
        session.runtime.delete(container_id, force=True)
    sys.exit(code)


def _wait(task: runtime.Task, *, relayed: bool) -> int:
    """The exit code of a process that was started; signals that reach us go on to it."""

    def forward(number: int, _frame: object) -> None:
        signal.pidfd_send_signal(task.pidfd, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    if task.console_fd >= 0 and relayed:
        console.relay(task.console_fd)
    ended = os.waitid(os.P_PIDFD, task.pidfd, os.WEXITED)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    task.close()
    if ended is None:
        return 255
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


@main.command("exec", context_settings={"ignore_unknown_options": True})
@_PID_FILE
@_CONSOLE
@_FDS
@click.option("--process", "-p", default="", help="File with the process, as in config.json.")
@click.option("--detach", "-d", is_flag=True, help="Do not wait for the end.")
@click.option("--tty", "-t", is_flag=True, help="With a terminal.")
@click.option("--cwd", default="", help="Working directory.")
@click.option("--env", "-e", multiple=True, help="NAME=VALUE, added to the container's.")
@click.option("--user", "-u", default="", help="UID[:GID]")
@click.argument("container_id")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def execute(
    session: Session, container_id: str, args: tuple[str, ...], pid_file: str,
    console_socket: str, preserve_fds: int, process: str, detach: bool, tty: bool, cwd: str,
    env: tuple[str, ...], user: str,
) -> None:  # fmt: skip
    """Run a further process in a container."""
    _check(no_pivot=False, preserve_fds=preserve_fds)
    if process:
        wanted = _decode(process)
    else:
        wanted = _process(session, container_id, args, tty, cwd, env, user)
    task = session.runtime.execute(container_id, wanted, _OWN_STREAMS)
    try:
        if detach and task.console_fd >= 0 and not console_socket:
            raise NativeError("exec", 22, "a detached terminal needs --console-socket")
        _hand_over(task, pid_file, console_socket)
        task.start()
    except BaseException:
        task.abort()
        raise
    if detach:
        task.close()
        return
    sys.exit(_wait(task, relayed=not console_socket))


def _decode(path: str) -> spec.Process:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=spec.Process)
    except msgspec.DecodeError as error:
        raise NativeError(f'read "{path}"', 22, str(error)) from error


def _process(
    session: Session, container_id: str, args: tuple[str, ...], tty: bool, cwd: str,
    env: tuple[str, ...], user: str,
) -> spec.Process:  # fmt: skip
    """The container's own process with what the options change."""
    container = records.Directory(session.runtime.root, container_id).load_config()
    base = container.process or spec.Process()
    uid, _, gid = user.partition(":")
    try:
        chosen = spec.User(int(uid), int(gid or 0)) if user else base.user
    except ValueError as error:
        raise NativeError("--user", 22, f"not a number: {user!r}") from error
    return msgspec.structs.replace(
        base, args=args, terminal=tty, cwd=cwd or base.cwd, env=(*base.env, *env), user=chosen
    )


@main.command()
@click.argument("container_id")
@click.pass_obj
def state(session: Session, container_id: str) -> None:
    """Print the state of a container as JSON."""
    found: State = session.runtime.state(container_id)
    record = records.Directory(session.runtime.root, container_id).load()
    document = msgspec.to_builtins(found) | {"created": record.created, "owner": ""}
    print(json.dumps(document, indent=2))


for _command in commandcontrol.COMMANDS:
    main.add_command(_command)
