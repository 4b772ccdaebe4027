"""A record turned into an OCI `config.json` (opencontainers/runtime-spec, `config.md`).

Owns what a container sees by default, which is what Docker's sees: mounts, devices, masks,
capabilities and limits. Must not know how it is carried out.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aiod.config import Paths
from aiod.containers import devices, etcfiles, mountplan, networking, resources, security, sharing
from aiod.containers.identity import Identity
from aiod.containers.sharing import Shared
from aiod.native import capabilities, initprogram, seccomp, spec
from aiod.store.models import ExecConfig, HostConfig
from aiod.store.records import ContainerRecord

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SHM = 64 << 20
_INIT = "/sbin/docker-init"
_UNLIMITED = (1 << 64) - 1
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NOTHING = ("nosuid", "noexec", "nodev")
_BELOW_DEV = ("/dev/pts", "/dev/mqueue")


@dataclass(frozen=True, slots=True)
class Places:
    """What a bundle stands on: the mounts that make its root, the directory of its files below
    `/etc`, the daemon's directories, the network namespace that it joins, empty for one of its
    own or the host's, and what else it shares."""

    root: tuple[spec.Mount, ...]
    etc: Path
    paths: Paths
    joined: str = ""
    shared: Shared = field(default_factory=Shared)


def build(record: ContainerRecord, identity: Identity, places: Places) -> spec.Spec:
    """The container's specification; blocking.

    Raises InvalidParameterError for a device that the host does not have.
    """
    shared = places.shared
    return spec.Spec(
        process=_process(record, identity),
        root=spec.Root("rootfs", record.host.ReadonlyRootfs),
        hostname="" if shared.is_hosts("uts") else record.hostname,
        domainname="" if shared.is_hosts("uts") else record.config.Domainname,
        mounts=(*places.root, *_mounts(record, places)),
        linux=_linux(record, places),
        annotations=dict(record.host.Annotations or {}),
    )


def _process(record: ContainerRecord, identity: Identity) -> spec.Process:
    config, host = record.config, record.host
    held = capabilities.resolve(host.CapAdd, host.CapDrop, privileged=host.Privileged)
    effective = held if identity.uid == 0 else ()
    asked = security.parse(host.SecurityOpt or ())
    size = host.ConsoleSize or [0, 0]
    return spec.Process(
        args=_args(record),
        cwd=config.WorkingDir or "/",
        env=environment(record, identity),
        user=_user(identity),
        terminal=config.Tty,
        console_size=spec.ConsoleSize(size[0], size[1]) if config.Tty and any(size) else None,
        capabilities=spec.Capabilities(held, effective, (), effective, ()),
        rlimits=tuple(
            spec.Rlimit(f"RLIMIT_{limit.Name.upper()}", limit.Soft % (_UNLIMITED + 1),
                        limit.Hard % (_UNLIMITED + 1))
            for limit in host.Ulimits or ()
        ),
        # Said also when it is 0: the shim has that of the service, which is precious.
        oom_score_adj=host.OomScoreAdj,
        no_new_privileges=asked.no_new_privileges,
        apparmor_profile=_apparmor(asked, host),
    )  # fmt: skip


def _args(record: ContainerRecord) -> tuple[str, ...]:
    """The command, below an init of ours if one was asked for and would be the first process."""
    command = (record.path, *record.args)
    return (_INIT, "--", *command) if _has_init(record.host) else command


def _has_init(host: HostConfig) -> bool:
    return host.Init is True and sharing.has_own_processes(host)


def _user(identity: Identity) -> spec.User:
    """The main group is a further one too: a negative permission by it must not be lost."""
    groups = dict.fromkeys((identity.gid, *identity.groups))
    return spec.User(identity.uid, identity.gid, additional_gids=tuple(groups))


def _apparmor(asked: security.Security, host: HostConfig) -> str:
    return security.UNCONFINED if host.Privileged and not asked.apparmor else asked.apparmor


def exec_process(
    record: ContainerRecord,
    config: ExecConfig,
    identity: Identity,
    console_size: tuple[int, int] | None,
) -> bytes:
    """The JSON of a further process of the container."""
    host = record.host
    privileged = config.Privileged or host.Privileged
    asked = security.parse(host.SecurityOpt or ())
    held = capabilities.resolve(host.CapAdd, host.CapDrop, privileged=privileged)
    effective = held if identity.uid == 0 else ()
    changed = msgspec.structs.replace(
        record.config, Env=[*(record.config.Env or ()), *(config.Env or ())], Tty=config.Tty
    )
    height, width = console_size or config.ConsoleSize or (0, 0)
    return msgspec.json.encode(
        spec.Process(
            args=tuple(config.Cmd or ()),
            cwd=config.WorkingDir or record.config.WorkingDir or "/",
            env=environment(msgspec.structs.replace(record, config=changed), identity),
            user=_user(identity),
            terminal=config.Tty,
            console_size=spec.ConsoleSize(height, width) if height and width else None,
            capabilities=spec.Capabilities(held, effective, (), effective, ()),
            oom_score_adj=host.OomScoreAdj,
            no_new_privileges=asked.no_new_privileges,
            apparmor_profile=_apparmor(asked, host),
        )
    )


def environment(record: ContainerRecord, identity: Identity) -> tuple[str, ...]:
    """The variables, asked-for ones last said winning; a name alone is taken out."""
    found = {"PATH": DEFAULT_PATH.partition("=")[2], "HOSTNAME": record.hostname}
    if record.config.Tty:
        found["TERM"] = "xterm"
    for line in record.config.Env or ():
        name, separator, value = line.partition("=")
        if separator:
            found[name] = value
        else:
            found.pop(name, None)
    found.setdefault("HOME", identity.home)
    return tuple(f"{name}={value}" for name, value in found.items())


def _common(host: HostConfig, places: Places) -> list[spec.Mount]:
    read_only = () if host.Privileged else ("ro",)
    mounts = [
        spec.Mount("/proc", "proc", "proc", _NOTHING),
        spec.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        spec.Mount("/dev/pts", "devpts", "devpts",
                   ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        spec.Mount("/sys", "sysfs", "sysfs", (*_NOTHING, *read_only)),
        spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*_NOTHING, *_cgroup_access(host))),
        spec.Mount("/dev/mqueue", "mqueue", "mqueue", _NOTHING),
        *_shm(host, places.shared),
    ]  # fmt: skip
    if _has_init(host):
        mounts.append(spec.Mount(_INIT, "bind", str(initprogram.PROGRAM), ("bind", "ro")))
    for name in etcfiles.NAMES:
        options = ("rbind", "rprivate")
        mounts.append(spec.Mount(f"/etc/{name}", "bind", str(places.etc / name), options))
    return mounts


def _shm(host: HostConfig, shared: Shared) -> list[spec.Mount]:
    """`/dev/shm`: its own, another's, the host's, or none."""
    place = "/dev/shm"
    if not shared.has_shm:
        return []
    if shared.shm is not None:
        return [spec.Mount(place, "bind", str(shared.shm), ("rbind", "rprivate"))]
    size = f"size={host.ShmSize or _SHM}"
    return [spec.Mount(place, "tmpfs", "shm", (*_NOTHING, "mode=1777", size))]


def _mounts(record: ContainerRecord, places: Places) -> list[spec.Mount]:
    """What was asked for, and what every container has elsewhere; outer places first."""
    wanted = mountplan.mounts(record, places.paths)
    taken = {mount.destination for mount in wanted}
    others = [one for one in _common(record.host, places) if not _covered(one, taken)]
    return sorted([*others, *wanted], key=lambda mount: mount.destination.count("/"))


def _covered(mount: spec.Mount, taken: Set[str]) -> bool:
    """Whether a client's own mount is there instead; its own `/dev` has all but what is shared."""
    place = mount.destination
    return place in taken or ("/dev" in taken and place in _BELOW_DEV)


def _cgroup_access(host: HostConfig) -> tuple[str, ...]:
    asked = security.parse(host.SecurityOpt or ())
    return () if host.Privileged or asked.writable_cgroups else ("ro",)


def cgroup_namespace(host: HostConfig) -> str:
    """`private` or `host`: by default private only where version 2 is alone."""
    return host.CgroupnsMode or ("private" if resources.is_unified() else "host")


def _namespaces(record: ContainerRecord, places: Places) -> tuple[spec.Namespace, ...]:
    shared = places.shared.paths
    kinds = ["mount", *(kind for kind in ("pid", "ipc", "uts") if kind not in shared)]
    if networking.has_own(record.network_mode):
        kinds.append("network")
    if cgroup_namespace(record.host) == "private":
        kinds.append("cgroup")
    joined = {**shared, "network": places.joined}
    others = (spec.Namespace(kind, path) for kind, path in joined.items() if path)
    return (*map(spec.Namespace, kinds), *others)


def _linux(record: ContainerRecord, places: Places) -> spec.Linux:
    host = record.host
    held = capabilities.resolve(host.CapAdd, host.CapDrop, privileged=host.Privileged)
    asked = security.parse(host.SecurityOpt or ())
    return spec.Linux(
        namespaces=_namespaces(record, places),
        resources=resources.of(host),
        devices=devices.nodes(host),
        sysctl=networking.settings(record)[1],
        seccomp=security.profile_of(asked, held, privileged=host.Privileged),
        masked_paths=_paths(host, host.MaskedPaths, MASKED),
        readonly_paths=_paths(host, host.ReadonlyPaths, READ_ONLY),
    )


def _paths(host: HostConfig, asked: list[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if host.Privileged:
        return ()
    return default if asked is None else tuple(asked)


def write(container: spec.Spec, run: Path, name: str) -> None:
    """Put `config.json` below the name it has in `run`, and the filter's program beside it.

    Raises OSError or NativeError.
    """
    (run / name).write_bytes(spec.encode(container))
    if container.linux.seccomp is not None:
        seccomp.save(container.linux.seccomp, run)
