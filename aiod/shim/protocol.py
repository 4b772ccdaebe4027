"""Files and datagrams that a shim and a daemon exchange through one directory.

Owns the structs of `/run/aiod/shims/<id>/*.json`, their names and how they are written; must
not know what a container record is. Fields are only ever added, each with a default, because a
daemon reads the files of shims of earlier releases and the other way round.

All times named `*_ns` are nanoseconds since the epoch; a `start_time` is field 22 of
`/proc/PID/stat` (proc(5)), clock ticks since boot.
"""

import os
from errno import ENOSPC
from pathlib import Path
from typing import TypeVar

import msgspec

from aiod.native.errors import NativeError

PROTOCOL = 1
"""Version that this code speaks; a peer's higher number is no reason to refuse it."""

CONFIG_FILE = "config.json"
REQUEST_FILE = "request.json"
NETWORK_FILE = "network.json"
SHIM_FILE = "shim.json"
INIT_FILE = "init.json"
EXIT_FILE = "exit.json"
EXECS_DIRECTORY = "execs"
SOCKET_FILE = "shim.sock"
STREAMS_FILE = "streams.sock"
ERROR_LOG_FILE = "shim.log"
ROOTFS_DIRECTORY = "rootfs"


class LogConfig(msgspec.Struct, frozen=True):
    """Where the container's output goes; sizes in bytes, 0 for no limit."""

    driver: str = "json-file"
    path: str = ""
    max_size: int = 0
    max_file: int = 1


class SpawnRequest(msgspec.Struct, frozen=True):
    """What the daemon asks of a shim, written as `request.json` before the fork.

    The network namespace of the process `joined_pid`, if it is one, is to be the container's;
    `joined` are further processes, with their start times, whose namespaces it is to have.
    """

    id: str
    directory: str
    cgroup_path: str
    shim_cgroup: str
    exits_socket: str
    terminal: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    start: bool = False
    log: LogConfig = LogConfig(driver="none")
    joined_pid: int = 0
    joined_start: int = 0
    joined: tuple[tuple[int, int], ...] = ()


class ShimState(msgspec.Struct, frozen=True):
    """`shim.json`: who the shim is."""

    pid: int
    start_time: int
    protocol: int = PROTOCOL
    boot_id: str = ""


class InitState(msgspec.Struct, frozen=True):
    """`init.json`: the container's first process; `started_at_ns` is 0 until it executes."""

    pid: int
    start_time: int
    started_at_ns: int = 0


class ExitRecord(msgspec.Struct, frozen=True):
    """`exit.json`: how the init ended. `exit_code` is 128 + `signal` after a signal."""

    exit_code: int
    signal: int | None = None
    oom_killed: bool = False
    exited_at_ns: int = 0
    started_at_ns: int = 0
    error: str = ""


class ExecState(msgspec.Struct, frozen=True):
    """`execs/<exec id>.json`: one exec; `exit_code` is None while it is not known to be over."""

    exec_id: str
    pid: int
    start_time: int
    exit_code: int | None = None
    exited_at_ns: int = 0


class ExitNotice(msgspec.Struct, frozen=True):
    """Datagram to the daemon's exits socket: a hint to read the record on disk."""

    id: str
    exec_id: str = ""


class SpawnReply(msgspec.Struct, frozen=True):
    """What a shim answers over the socket that came with the fork request.

    On failure `step` is not empty; `kind` is "not-found" or "not-executable" for the
    container's command, else empty.
    """

    shim_pid: int = 0
    shim_start: int = 0
    init_pid: int = 0
    init_start: int = 0
    started_at_ns: int = 0
    step: str = ""
    errno: int = 0
    message: str = ""
    kind: str = ""


class JoinRequest(msgspec.Struct, frozen=True):
    """The line by which a client of `streams.sock` begins; which process's streams it wants.

    The answer is an empty line, or one with the SpawnReply that says why not. Then whatever the
    client sends, if it wants `stdin`, is the process's input to the end of it, and what it is sent
    is the output, in the form of Docker's multiplexed streams, to the end of it.
    """

    exec_id: str = ""
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False


_LONGEST_TEXT = 500  # characters: the reply travels in a datagram, or in a gRPC header


def refusal(step: str, error: Exception) -> SpawnReply:
    """The reply that says why not; `step` is that of errors which name none."""
    if isinstance(error, NativeError):
        return SpawnReply(
            step=_cut(error.step), errno=error.errno, message=_cut(error.message), kind=error.kind
        )
    number = error.errno if isinstance(error, OSError) else None
    return SpawnReply(step=step, errno=number or 0, message=_cut(str(error)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class DamagedFileError(Exception):
    """A state file exists and cannot be understood; the text names it."""


def write_struct(path: Path, value: msgspec.Struct) -> None:
    """Replace `path` by the JSON of `value`, whole or not at all, whichever process is killed.

    There is no fsync(2): these files are about processes, and the directory that they are in is
    gone with the boot that those were of (`/run`). Where a state directory is on a disk, a power
    cut may leave any of them empty, which is read as damaged; the boot id tells that the processes
    are gone, and an exit that was not recorded elsewhere is unknown. Measured on such a disk, two
    fsyncs of the exit record kept whoever waits for the exit waiting for 3 to 10 ms more.

    Raises OSError.
    """
    temporary = f"{path}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    data = msgspec.json.encode(value)
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC), temporary)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)


def read_struct(path: Path, kind: type[_Struct]) -> _Struct | None:
    """The struct in `path`; None if there is no such file.

    Raises DamagedFileError if it is truncated, unreadable or of another shape.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise DamagedFileError(f"{path}: {error}") from error
