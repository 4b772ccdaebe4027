"""The records that SQLite keeps: containers, execs, volumes and events, as frozen structs.

Those of networks are in `networkrecords`.

Owns their shapes only; must not know SQL, nor what a service does with them.
"""

from enum import StrEnum

import msgspec

from aiod.store.models import ContainerConfig, ExecConfig, HostConfig, NetworkingConfig


class Status(StrEnum):
    """What a container is, in Docker's words (Engine API, `ContainerState.Status`)."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class Intent(StrEnum):
    """What was being done to a container; written before it is done."""

    NONE = ""
    START = "start"
    STOP = "stop"
    REMOVE = "remove"


class HealthStatus(StrEnum):
    """What the probes say of a container (Engine API, `Health.Status`); NONE without a check."""

    NONE = ""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class ProbeResult(msgspec.Struct, frozen=True):
    """How one probe went, with the beginning of its output; code -1 for one that gave none."""

    started_ns: int
    ended_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a container's health; `log` has the last few results, the oldest first."""

    status: HealthStatus = HealthStatus.NONE
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()


class RunState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last known running side of a container.

    Times are nanoseconds since the epoch, 0 for never; start times of processes are clock
    ticks since boot (proc_pid_stat(5), field 22). `exit_known` is false where nobody could
    see the exit; `exit_code` is then 137 or 255, never 0. `remove_volumes`: those without a name
    of their own go with the container. `held`: if it is frozen, then for an image that is made of
    it, and no longer.
    """

    status: Status = Status.CREATED
    intent: Intent = Intent.NONE
    pid: int = 0
    pid_start: int = 0
    shim_pid: int = 0
    shim_start: int = 0
    boot_id: str = ""
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    manually_stopped: bool = False
    next_restart_ns: int = 0
    restart_delay_ns: int = 0
    exit_known: bool = True
    remove_volumes: bool = False
    health: Health = Health()
    held: bool = False


class MountPoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place of a container where something else is seen, as it was settled at its create.

    `kind` is `bind`, `volume` or `tmpfs`; `source` a bind's path on the host, `name` a volume's;
    `mode` the words of a `Binds` entry. An `anonymous` volume goes with its last container's
    `rm -v`. `tmpfs` are a file system's options. `create_source` makes a bind's missing source.
    """

    kind: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    writable: bool = True
    propagation: str = ""
    anonymous: bool = False
    create_source: bool = False
    recursive: bool = True
    read_only_below: bool = True
    subpath: str = ""
    tmpfs: tuple[str, ...] = ()


class VolumeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volume; `options` are its driver's, None where none were given."""

    name: str
    created_ns: int
    driver: str = "local"
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class ContainerRecord(msgspec.Struct, frozen=True):
    """One container: what it was asked to be, and its last known state.

    `name` has no slash; `layers` are chain ids, bottom first; `network_mode` is the mode in
    effect, which `host.NetworkMode` may leave to the default; `snapshotter` is who made its root.
    `host_before` is what `host` was, while an update of it is not yet the kernel's.
    """

    id: str
    name: str
    created_ns: int
    image_id: str
    image_name: str
    path: str
    args: tuple[str, ...]
    config: ContainerConfig
    host: HostConfig
    networking: NetworkingConfig
    network_mode: str
    layers: tuple[str, ...]
    hostname: str
    log_path: str
    state: RunState = RunState()
    snapshotter: str = "overlay"
    mounts: tuple[MountPoint, ...] = ()
    host_before: HostConfig | None = None


class ExecRecord(msgspec.Struct, frozen=True):
    """One exec: what was asked, and how it ended; `exit_code` is None until it has.

    A `probe` is the engine's own, of the container's health.
    """

    id: str
    container_id: str
    config: ExecConfig
    created_ns: int
    status: str = "created"
    pid: int = 0
    pid_start: int = 0
    exit_code: int | None = None
    probe: bool = False


class EventRecord(msgspec.Struct, frozen=True):
    """Something that happened; `seq` grows with every event and is never reused."""

    seq: int
    time_ns: int
    type: str
    action: str
    actor_id: str
    attributes: dict[str, str]
    scope: str = "local"
