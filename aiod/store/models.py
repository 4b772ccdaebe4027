"""What a client asks a container to be: Docker's `Config`, `HostConfig` and their parts.

Owns the shapes, with the Engine API's own names (v1.51, `ContainerConfig`, `HostConfig`,
`Resources`), and their defaults; must not judge which options aiod supports.
"""

from typing import Any

import msgspec

Empty = dict[str, dict[str, Any]]


class HealthConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """How health is probed; durations are nanoseconds, 0 inherits the image's."""

    Test: list[str] | None = None
    Interval: int = 0
    Timeout: int = 0
    Retries: int = 0
    StartPeriod: int = 0
    StartInterval: int = 0


def _words(value: str | list[str] | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


class ContainerConfig(msgspec.Struct, frozen=True):
    """The portable part of a container; `StopTimeout` is in seconds, None for the default."""

    Hostname: str = ""
    Domainname: str = ""
    User: str = ""
    AttachStdin: bool = False
    AttachStdout: bool = False
    AttachStderr: bool = False
    ExposedPorts: Empty | msgspec.UnsetType = msgspec.UNSET
    Tty: bool = False
    OpenStdin: bool = False
    StdinOnce: bool = False
    Env: list[str] | None = None
    Cmd: str | list[str] | None = None
    Healthcheck: HealthConfig | msgspec.UnsetType = msgspec.UNSET
    ArgsEscaped: bool | msgspec.UnsetType = msgspec.UNSET
    Image: str = ""
    Volumes: Empty | None = None
    WorkingDir: str = ""
    Entrypoint: str | list[str] | None = None
    NetworkDisabled: bool | msgspec.UnsetType = msgspec.UNSET
    MacAddress: str | msgspec.UnsetType = msgspec.UNSET
    OnBuild: list[str] | None = None
    Labels: dict[str, str] | None = None
    StopSignal: str | msgspec.UnsetType = msgspec.UNSET
    StopTimeout: int | msgspec.UnsetType = msgspec.UNSET
    Shell: list[str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def command(self) -> list[str] | None:
        """`Cmd` as a list: the API also takes one string."""
        return _words(self.Cmd)

    @property
    def entrypoint(self) -> list[str] | None:
        """`Entrypoint` as a list: the API also takes one string."""
        return _words(self.Entrypoint)


class WeightDevice(msgspec.Struct, frozen=True):
    """A block device's relative weight, 10 to 1000."""

    Path: str = ""
    Weight: int = 0


class ThrottleDevice(msgspec.Struct, frozen=True):
    """A block device's limit, in bytes or operations per second."""

    Path: str = ""
    Rate: int = 0


class DeviceMapping(msgspec.Struct, frozen=True):
    """A host device in the container; permissions are letters of `rwm`."""

    PathOnHost: str = ""
    PathInContainer: str = ""
    CgroupPermissions: str = ""


class DeviceRequest(msgspec.Struct, frozen=True):
    """A request for devices that a driver chooses."""

    Driver: str = ""
    Count: int = 0
    DeviceIDs: list[str] | None = None
    Capabilities: list[list[str]] | None = None
    Options: dict[str, str] | None = None


class Ulimit(msgspec.Struct, frozen=True):
    """One resource limit by getrlimit(2)'s name in lower case, -1 for none."""

    Name: str = ""
    Hard: int = 0
    Soft: int = 0


class LogSettings(msgspec.Struct, frozen=True):
    """The log driver; an empty type stands for the default, json-file."""

    Type: str = ""
    Config: dict[str, str] | None = None


class RestartSettings(msgspec.Struct, frozen=True):
    """`no`, `always`, `unless-stopped` or `on-failure`; a count of 0 is no limit."""

    Name: str = ""
    MaximumRetryCount: int = 0


class BindSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of a mount of type `bind`."""

    Propagation: str = ""
    NonRecursive: bool = False
    CreateMountpoint: bool = False
    ReadOnlyNonRecursive: bool = False
    ReadOnlyForceRecursive: bool = False


class DriverSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume's driver and its options."""

    Name: str = ""
    Options: dict[str, str] | None = None


class VolumeSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of a mount of type `volume`."""

    NoCopy: bool = False
    Labels: dict[str, str] | None = None
    DriverConfig: DriverSettings | None = None
    Subpath: str = ""


class ImageSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of a mount of type `image`."""

    Subpath: str = ""


class TmpfsSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of a mount of type `tmpfs`; the size is in bytes, the mode an integer."""

    SizeBytes: int = 0
    Mode: int = 0
    Options: list[list[str]] | None = None


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of `HostConfig.Mounts`."""

    Type: str = ""
    Source: str = ""
    Target: str = ""
    ReadOnly: bool = False
    Consistency: str = ""
    BindOptions: BindSettings | None = None
    VolumeOptions: VolumeSettings | None = None
    ImageOptions: ImageSettings | None = None
    TmpfsOptions: TmpfsSettings | None = None


class PortBinding(msgspec.Struct, frozen=True):
    """A host address and port, both texts; empty means any."""

    HostIp: str = ""
    HostPort: str = ""


class HostConfig(msgspec.Struct, frozen=True):
    """The part of a container that depends on the host; sizes are bytes.

    `NanoCpus` are billionths of a processor; `CpuPeriod` and `CpuQuota` microseconds.
    """

    Binds: list[str] | None = None
    ContainerIDFile: str = ""
    LogConfig: LogSettings = LogSettings()
    NetworkMode: str = ""
    PortBindings: dict[str, list[PortBinding] | None] | None = None
    RestartPolicy: RestartSettings = RestartSettings()
    AutoRemove: bool = False
    VolumeDriver: str = ""
    VolumesFrom: list[str] | None = None
    ConsoleSize: list[int] | None = None
    Annotations: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    CapAdd: list[str] | None = None
    CapDrop: list[str] | None = None
    CgroupnsMode: str = ""
    Dns: list[str] | None = None
    DnsOptions: list[str] | None = None
    DnsSearch: list[str] | None = None
    ExtraHosts: list[str] | None = None
    GroupAdd: list[str] | None = None
    IpcMode: str = ""
    Cgroup: str = ""
    Links: list[str] | None = None
    OomScoreAdj: int = 0
    PidMode: str = ""
    Privileged: bool = False
    PublishAllPorts: bool = False
    ReadonlyRootfs: bool = False
    SecurityOpt: list[str] | None = None
    StorageOpt: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    Tmpfs: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    UTSMode: str = ""
    UsernsMode: str = ""
    ShmSize: int = 0
    Sysctls: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    Runtime: str = ""
    Isolation: str = ""
    CpuShares: int = 0
    Memory: int = 0
    NanoCpus: int = 0
    CgroupParent: str = ""
    BlkioWeight: int = 0
    BlkioWeightDevice: list[WeightDevice] | None = None
    BlkioDeviceReadBps: list[ThrottleDevice] | None = None
    BlkioDeviceWriteBps: list[ThrottleDevice] | None = None
    BlkioDeviceReadIOps: list[ThrottleDevice] | None = None
    BlkioDeviceWriteIOps: list[ThrottleDevice] | None = None
    CpuPeriod: int = 0
    CpuQuota: int = 0
    CpuRealtimePeriod: int = 0
    CpuRealtimeRuntime: int = 0
    CpusetCpus: str = ""
    CpusetMems: str = ""
    Devices: list[DeviceMapping] | None = None
    DeviceCgroupRules: list[str] | None = None
    DeviceRequests: list[DeviceRequest] | None = None
    KernelMemoryTCP: int | msgspec.UnsetType = msgspec.UNSET
    MemoryReservation: int = 0
    MemorySwap: int = 0
    MemorySwappiness: int | None = None
    OomKillDisable: bool | None = None
    PidsLimit: int | None = None
    Ulimits: list[Ulimit] | None = None
    CpuCount: int = 0
    CpuPercent: int = 0
    IOMaximumIOps: int = 0
    IOMaximumBandwidth: int = 0
    Init: bool | msgspec.UnsetType = msgspec.UNSET
    Mounts: list[Mount] | msgspec.UnsetType = msgspec.UNSET
    MaskedPaths: list[str] | None = None
    ReadonlyPaths: list[str] | None = None


class IpamConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses asked for on one network."""

    IPv4Address: str = ""
    IPv6Address: str = ""
    LinkLocalIPs: list[str] | None = None


class EndpointSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a container joins one network; the fields that an engine fills in are ignored."""

    IPAMConfig: IpamConfig | None = None
    Links: list[str] | None = None
    MacAddress: str = ""
    Aliases: list[str] | None = None
    DriverOpts: dict[str, str] | None = None
    GwPriority: int = 0


class NetworkingConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The networks to join at create, by name."""

    EndpointsConfig: dict[str, EndpointSettings] | None = None


class ExecConfig(msgspec.Struct, frozen=True):
    """What to execute in a running container (`POST /containers/{id}/exec`)."""

    AttachStdin: bool = False
    AttachStdout: bool = False
    AttachStderr: bool = False
    ConsoleSize: list[int] | None = None
    DetachKeys: str = ""
    Tty: bool = False
    Env: list[str] | None = None
    Cmd: list[str] | None = None
    Privileged: bool = False
    User: str = ""
    WorkingDir: str = ""
