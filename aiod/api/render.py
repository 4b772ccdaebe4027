"""A container's record in Docker's words: `inspect` and a row of the list.

Pure functions of the record and of what the caller has looked up; must not know HTTP.
"""

import msgspec

from aiod.api.endpointviews import Endpoint, EndpointViews, NetworkSettings
from aiod.config import Paths
from aiod.containers import mountplan
from aiod.networks.portviews import PortSummary
from aiod.store import records
from aiod.store.models import ContainerConfig, HostConfig
from aiod.store.records import ContainerRecord, Health, HealthStatus, RunState, Status
from aiod.wire.times import rfc3339, span

_ALIVE = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})


class ProbeView(msgspec.Struct, frozen=True):
    """An element of `State.Health.Log`."""

    Start: str
    End: str
    ExitCode: int
    Output: str


class HealthView(msgspec.Struct, frozen=True):
    """`State.Health`."""

    Status: str
    FailingStreak: int
    Log: list[ProbeView]


class StateView(msgspec.Struct, frozen=True):
    """`State` of `inspect`."""

    Status: str
    Running: bool
    Paused: bool
    Restarting: bool
    OOMKilled: bool
    Dead: bool
    Pid: int
    ExitCode: int
    Error: str
    StartedAt: str
    FinishedAt: str
    Health: HealthView | msgspec.UnsetType = msgspec.UNSET


class MountPoint(msgspec.Struct, frozen=True):
    """An element of `Mounts`."""

    Type: str
    Source: str
    Destination: str
    Mode: str
    RW: bool
    Propagation: str
    Name: str | msgspec.UnsetType = msgspec.UNSET
    Driver: str | msgspec.UnsetType = msgspec.UNSET


class GraphDriver(msgspec.Struct, frozen=True):
    """Where the root file system's layers are."""

    Data: dict[str, str]
    Name: str = "overlay2"


class Inspect(msgspec.Struct, frozen=True):
    """The answer of `GET /containers/{id}/json`."""

    Id: str
    Created: str
    Path: str
    Args: tuple[str, ...]
    State: StateView
    Image: str
    ResolvConfPath: str
    HostnamePath: str
    HostsPath: str
    LogPath: str
    Name: str
    RestartCount: int
    ExecIDs: list[str] | None
    HostConfig: HostConfig
    GraphDriver: GraphDriver
    Mounts: list[MountPoint]
    Config: ContainerConfig
    NetworkSettings: NetworkSettings
    SizeRw: int | msgspec.UnsetType = msgspec.UNSET
    SizeRootFs: int | msgspec.UnsetType = msgspec.UNSET
    Driver: str = "overlay2"
    Platform: str = "linux"
    MountLabel: str = ""
    ProcessLabel: str = ""
    AppArmorProfile: str = ""


class HostSummary(msgspec.Struct, frozen=True):
    """What a list's row says of the HostConfig."""

    NetworkMode: str
    Annotations: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class NetworkSummary(msgspec.Struct, frozen=True):
    """What a list's row says of networks."""

    Networks: dict[str, Endpoint]


class Summary(msgspec.Struct, frozen=True):
    """A row of `GET /containers/json`."""

    Id: str
    Names: tuple[str, ...]
    Image: str
    ImageID: str
    Command: str
    Created: int
    Ports: list[PortSummary]
    Labels: dict[str, str]
    State: str
    Status: str
    HostConfig: HostSummary
    NetworkSettings: NetworkSummary
    Mounts: list[MountPoint]
    SizeRw: int | msgspec.UnsetType = msgspec.UNSET
    SizeRootFs: int | msgspec.UnsetType = msgspec.UNSET


class Sizes(msgspec.Struct, frozen=True):
    """Bytes of a container's own changes, and of all it sees."""

    own: int
    total: int


def status_text(state: RunState, now_ns: int) -> str:
    """The list's `Status`, for example `Up 5 seconds` or `Exited (0) 3 minutes ago`."""
    up, ended = span(now_ns - state.started_ns), span(now_ns - state.finished_ns)
    match state.status:
        case Status.RUNNING:
            return f"Up {up}{_health_text(state.health)}"
        case Status.PAUSED:
            return f"Up {up} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {ended} ago"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
    if state.finished_ns:
        return f"Exited ({state.exit_code}) {ended} ago"
    return "Created"


def _health_text(health: Health) -> str:
    if health.status is HealthStatus.NONE:
        return ""
    starting = health.status is HealthStatus.STARTING
    return f" ({'health: ' if starting else ''}{health.status.value})"


def command_text(record: ContainerRecord) -> str:
    """The list's `Command`: arguments with blanks are quoted."""
    parts = [f"'{arg}'" if " " in arg else arg for arg in record.args]
    return " ".join([record.path, *parts])


def state_view(state: RunState) -> StateView:
    """`State` of `inspect`; a pid is shown only while there is a process."""
    status = state.status
    return StateView(
        Status=status.value,
        Running=status in _ALIVE,
        Paused=status is Status.PAUSED,
        Restarting=status is Status.RESTARTING,
        OOMKilled=state.oom_killed,
        Dead=status is Status.DEAD,
        Pid=state.pid if status in (Status.RUNNING, Status.PAUSED) else 0,
        ExitCode=state.exit_code,
        Error=state.error,
        StartedAt=rfc3339(state.started_ns),
        FinishedAt=rfc3339(state.finished_ns),
        Health=_health(state.health) if state.health.status else msgspec.UNSET,
    )


def _health(health: Health) -> HealthView:
    results = [
        ProbeView(rfc3339(r.started_ns), rfc3339(r.ended_ns), r.exit_code, r.output)
        for r in health.log
    ]
    return HealthView(health.status.value, health.failing_streak, results)


def mount_points(record: ContainerRecord, paths: Paths) -> list[MountPoint]:
    """What is mounted, by where it appears in the container."""
    shown = [_mount_point(point, paths) for point in mountplan.points(record)]
    return sorted(shown, key=lambda point: point.Destination)


def _mount_point(point: records.MountPoint, paths: Paths) -> MountPoint:
    volume = point.kind == "volume"
    return MountPoint(
        Type=point.kind,
        Source=str(paths.volume(point.name)) if volume else point.source,
        Destination=point.destination,
        Mode=point.mode,
        RW=point.writable,
        Propagation=point.propagation,
        Name=point.name if volume else msgspec.UNSET,
        Driver=point.driver if volume else msgspec.UNSET,
    )


class Renderer:
    """Renders the records of one daemon."""

    def __init__(self, paths: Paths, ends: EndpointViews) -> None:
        self._paths = paths
        # As texts: joining paths was half of an inspect's time.
        self._containers, self._shims = str(paths.containers), str(paths.shims)
        self._overlay = str(paths.overlay)
        self._ends = ends

    def inspect(self, record: ContainerRecord, exec_ids: list[str], sizes: Sizes | None) -> Inspect:
        """The whole of one container."""
        directory = f"{self._containers}/{record.id}"
        return Inspect(
            Id=record.id,
            Created=rfc3339(record.created_ns),
            Path=record.path,
            Args=record.args,
            State=state_view(record.state),
            Image=record.image_id,
            ResolvConfPath=f"{directory}/resolv.conf",
            HostnamePath=f"{directory}/hostname",
            HostsPath=f"{directory}/hosts",
            LogPath=record.log_path if record.host.LogConfig.Type == "json-file" else "",
            Name=f"/{record.name}",
            RestartCount=record.state.restart_count,
            ExecIDs=exec_ids or None,
            HostConfig=record.host,
            GraphDriver=self._graph(record),
            Mounts=mount_points(record, self._paths),
            Config=self._with_mac(record),
            NetworkSettings=self._ends.settings(record),
            SizeRw=sizes.own if sizes else msgspec.UNSET,
            SizeRootFs=sizes.total if sizes else msgspec.UNSET,
        )

    def _with_mac(self, record: ContainerRecord) -> ContainerConfig:
        """With the address asked for on the first network, whoever asked for it there."""
        address = self._ends.asked_mac(record)
        if not address or record.config.MacAddress:
            return record.config
        return msgspec.structs.replace(record.config, MacAddress=address)

    def summary(self, record: ContainerRecord, now_ns: int, sizes: Sizes | None) -> Summary:
        """One row of the list."""
        return Summary(
            Id=record.id,
            Names=(f"/{record.name}",),
            Image=record.image_name,
            ImageID=record.image_id,
            Command=command_text(record),
            Created=record.created_ns // 10**9,
            Ports=self._ends.ports(record),
            Labels=record.config.Labels or {},
            State=record.state.status.value,
            Status=status_text(record.state, now_ns),
            HostConfig=HostSummary(record.network_mode, record.host.Annotations or msgspec.UNSET),
            NetworkSettings=NetworkSummary(self._ends.networks(record)),
            Mounts=mount_points(record, self._paths),
            SizeRw=sizes.own if sizes else msgspec.UNSET,
            SizeRootFs=sizes.total if sizes else msgspec.UNSET,
        )

    def _graph(self, record: ContainerRecord) -> GraphDriver:
        directory = f"{self._containers}/{record.id}"
        if record.snapshotter == "native":
            return GraphDriver({"ID": record.id, "Dir": f"{directory}/root"}, "vfs")
        lower = [
            f"{self._overlay}/{chain.removeprefix('sha256:')}/diff"
            for chain in reversed(record.layers)
        ]
        return GraphDriver(
            {
                "ID": record.id,
                "LowerDir": ":".join(lower),
                "MergedDir": f"{self._shims}/{record.id}/rootfs",
                "UpperDir": f"{directory}/upper",
                "WorkDir": f"{directory}/work",
            }
        )
