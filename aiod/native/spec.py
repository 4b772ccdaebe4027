"""The OCI runtime specification's `config.json` as frozen structs.

Owns the shapes of the parts that a Linux runtime carries out, and their decoding; must not know
what is done with them. Source: opencontainers/runtime-spec, `config.md` and `config-linux.md`
(1.2). Unknown fields are ignored, as the specification's "Extensibility" asks.
"""

import msgspec

from aiod.native.errors import NativeError


class _Base(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class ConsoleSize(_Base, frozen=True):
    """Rows and columns of the terminal."""

    height: int = 0
    width: int = 0


class User(_Base, frozen=True):
    """Who the process runs as, inside the container's user namespace."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class Capabilities(_Base, frozen=True):
    """The five sets of capabilities(7), each by names such as `CAP_CHOWN`."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(_Base, frozen=True):
    """One limit of setrlimit(2); 2**64-1 means unlimited."""

    type: str
    soft: int
    hard: int


class Process(_Base, frozen=True):
    """The process to execute. `cwd` must be absolute."""

    args: tuple[str, ...] = ()
    cwd: str = "/"
    env: tuple[str, ...] = ()
    user: User = User()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class Root(_Base, frozen=True):
    """The root filesystem: a directory, absolute or relative to the bundle."""

    path: str = "rootfs"
    readonly: bool = False


class IdMapping(_Base, frozen=True):
    """One range of user_namespaces(7)."""

    container_id: int = msgspec.field(name="containerID", default=0)
    host_id: int = msgspec.field(name="hostID", default=0)
    size: int = 0


class Mount(_Base, frozen=True):
    """One mount, in the order given. A bind's `type` is "bind" or its options have `bind`."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(_Base, frozen=True):
    """A program run at a point of the lifecycle; the state is on its standard input."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(_Base, frozen=True):
    """The hooks' points (config.md, "POSIX-platform Hooks")."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(_Base, frozen=True):
    """A namespace to make, or with `path` to join."""

    type: str
    path: str = ""


class Device(_Base, frozen=True):
    """A device node to make. `file_mode` is its permission bits."""

    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int = 0
    gid: int = 0


class DeviceCgroup(_Base, frozen=True):
    """One rule of the devices controller; None matches every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(_Base, frozen=True):
    """Bytes; -1 is unlimited. `swap` counts memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = msgspec.field(name="disableOOMKiller", default=False)


class Cpu(_Base, frozen=True):
    """Shares (v1 weight), quota and period in microseconds, cpusets as lists."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    burst: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    idle: int | None = None
    cpus: str = ""
    mems: str = ""


class Pids(_Base, frozen=True):
    """The most tasks; -1 or 0 is unlimited."""

    limit: int = -1


class WeightDevice(_Base, frozen=True):
    """A weight of one block device, 10 to 1000."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(_Base, frozen=True):
    """A rate of one block device, bytes or operations a second."""

    major: int
    minor: int
    rate: int


class BlockIO(_Base, frozen=True):
    """Block IO weights and limits."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(
        name="throttleReadIOPSDevice", default=()
    )
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(
        name="throttleWriteIOPSDevice", default=()
    )


class HugepageLimit(_Base, frozen=True):
    """A limit in bytes of one page size, such as `2MB`."""

    page_size: str
    limit: int


class Resources(_Base, frozen=True):
    """What the container's cgroup allows."""

    devices: tuple[DeviceCgroup, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(name="blockIO", default=None)
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    unified: dict[str, str] = {}


class SeccompArg(_Base, frozen=True):
    """A comparison of one argument of a system call."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscalls(_Base, frozen=True):
    """One rule: these calls, if every argument matches, get this action."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


class Seccomp(_Base, frozen=True):
    """A filter (config-linux.md, "Seccomp")."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[SeccompSyscalls, ...] = ()
    listener_path: str = ""


class Linux(_Base, frozen=True):
    """The Linux part."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources | None = None
    sysctl: dict[str, str] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""


class Spec(_Base, frozen=True):
    """A whole `config.json`."""

    oci_version: str = "1.2.0"
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux = Linux()


def decode(data: bytes) -> Spec:
    """The specification in `data`; raises NativeError (step `config.json`) if it is none."""
    try:
        return msgspec.json.decode(data, type=Spec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NativeError("config.json", 22, str(error)) from error


def encode(spec: Spec) -> bytes:
    """The `config.json` of `spec`."""
    return msgspec.json.encode(spec)
