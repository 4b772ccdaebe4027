"""Which namespaces a container shares: those of processes, of IPC and of host names.

Owns the words of `PidMode`, `IpcMode` and `UTSMode`, and what follows from them; networks are
`networking`'s. Must not know how a namespace is joined.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aiod.config import Paths
from aiod.containers.entries import RUNNING
from aiod.errors import InternalError, InvalidParameterError, NotFoundError
from aiod.store.models import ContainerConfig, HostConfig
from aiod.store.records import ContainerRecord, Status
from aiod.volumes import mounting

Find = Callable[[str], ContainerRecord]

HOST, NONE, PRIVATE, SHAREABLE = "host", "none", "private", "shareable"
_CONTAINER = "container:"
_SHM = "shm"
_NAMES = {"pid": "PID", "ipc": "IPC"}


@dataclass(frozen=True, slots=True)
class Shared:
    """What is not a container's own, for one run.

    `paths` are the files of namespaces to join by their types, empty for the host's; `processes`
    those (pid and start time) whose they are. `shm` is the directory to be seen at `/dev/shm`
    where it is none of its own; with `has_shm` false nothing is.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    processes: tuple[tuple[int, int], ...] = ()
    shm: Path | None = None
    has_shm: bool = True

    def is_hosts(self, kind: str) -> bool:
        """Whether the namespace is the host's."""
        return self.paths.get(kind) == ""


def check(config: ContainerConfig, host: HostConfig) -> None:
    """Raise InvalidParameterError for modes that there are none of."""
    known = {
        "PID": (host.PidMode, ("", HOST)),
        "IPC": (host.IpcMode, ("", HOST, NONE, PRIVATE, SHAREABLE)),
        "UTS": (host.UTSMode, ("", HOST)),
    }
    for name, (mode, words) in known.items():
        joins = name != "UTS" and mode.startswith(_CONTAINER) and mode != _CONTAINER
        if mode not in words and not joins:
            raise InvalidParameterError(f"invalid {name} mode: {mode}")
    if host.UTSMode == HOST and config.Hostname:
        raise InvalidParameterError("conflicting options: hostname and the UTS mode")


def by_id(host: HostConfig, others: Find) -> HostConfig:
    """The modes with the ids of the containers that they name, which may get other names.

    Raises InvalidParameterError for one that is not there.
    """
    return msgspec.structs.replace(
        host, PidMode=_by_id(host.PidMode, others), IpcMode=_by_id(host.IpcMode, others)
    )


def _by_id(mode: str, others: Find) -> str:
    if not mode.startswith(_CONTAINER):
        return mode
    try:
        return f"{_CONTAINER}{others(mode.removeprefix(_CONTAINER)).id}"
    except NotFoundError as error:
        raise InvalidParameterError(error.message) from None


def has_own_processes(host: HostConfig) -> bool:
    """Whether it has a namespace of processes of its own."""
    return host.PidMode == ""


def find(record: ContainerRecord, others: Find, paths: Paths) -> Shared:
    """What a run that begins shares; `others` finds a container by its name or id.

    Raises NotFoundError or InternalError for one that cannot be joined.
    """
    host = record.host
    found: dict[str, str] = {"uts": ""} if host.UTSMode == HOST else {}
    processes: list[tuple[int, int]] = []
    for kind, mode in (("pid", host.PidMode), ("ipc", host.IpcMode)):
        if mode == HOST:
            found[kind] = ""
        elif mode.startswith(_CONTAINER):
            other = _donor(kind, mode, others)
            found[kind] = f"/proc/{other.state.pid}/ns/{kind}"
            processes.append((other.state.pid, other.state.pid_start))
    shm = _shm(record, others, paths)
    return Shared(found, tuple(processes), shm, host.IpcMode != NONE)


def shm_of(record: ContainerRecord, paths: Paths) -> Path | None:
    """Where the `/dev/shm` of a container is that lets others have it; None for all others."""
    return paths.shim(record.id) / _SHM if record.host.IpcMode == SHAREABLE else None


def make_shm(shared: Shared, record: ContainerRecord, paths: Paths) -> None:
    """Mount the `/dev/shm` that others may have too, if it is such a one; blocking.

    Raises InternalError or OSError. `take_shm_away` is its opposite.
    """
    own = shm_of(record, paths)
    if own is not None and own == shared.shm:
        own.mkdir(parents=True, exist_ok=True)
        options = f"nosuid,noexec,nodev,mode=1777,size={record.host.ShmSize}"
        mounting.mount({"type": "tmpfs", "device": "shm", "o": options}, own)


def take_shm_away(run: Path) -> None:
    """Unmount what `make_shm` mounted for a container with this run directory; blocking."""
    own = run / _SHM
    if own.exists():
        with contextlib.suppress(OSError):
            mounting.unmount(own)


def _shm(record: ContainerRecord, others: Find, paths: Paths) -> Path | None:
    seen = {record.id}
    while (mode := record.host.IpcMode).startswith(_CONTAINER):
        name = mode.removeprefix(_CONTAINER)
        record = _donor("ipc", mode, others)
        if record.id in seen:
            raise InternalError(f"can't join IPC of container {name}: it joins itself")
        seen.add(record.id)
        if record.host.IpcMode in ("", PRIVATE, NONE):
            raise InternalError(
                f"can't join IPC of container {name}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
    return Path("/dev/shm") if mode == HOST else shm_of(record, paths)


def _donor(kind: str, mode: str, others: Find) -> ContainerRecord:
    name = mode.removeprefix(_CONTAINER)
    start = f"can't join {_NAMES[kind]} of container {name}: "
    other = others(name)
    status = other.state.status
    if status is Status.RESTARTING:
        raise InternalError(
            f"{start}Container {other.id} is restarting, wait until the container is running"
        )
    if status not in RUNNING:
        raise InternalError(f"{start}container {other.id} is not running")
    return other
