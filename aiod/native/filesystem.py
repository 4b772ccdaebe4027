"""The steps that make a container's file system: root, mounts, devices, masks.

Owns their order. Touches nothing of the system; must not know of processes.
Source: runtime-spec `config-linux.md` ("Default Filesystems", "Default Devices", "Masked Paths")
and `config.md` ("Mounts").
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from aiod.native import mountoptions, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Flag, Op, Step, Sync

_DEVICES = (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9))
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)
_DEVICE_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_NOT_SEPARATE = "is not in a separate kernel namespace"
_MS_REC = 0x4000
# namespaces(7): those that each ipc namespace has.
_IPC_SYSCTLS = {
    f"kernel/{name}"
    for name in (
        "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced",
    )
}  # fmt: skip
# File systems that belong to the host's user namespace, and are mounted before the child has
# given its rights there up.
_PREPARED = {"overlay", "ext4", "xfs", "btrfs", "squashfs", "erofs"}


@dataclass(frozen=True)
class CgroupMount:
    """One hierarchy as the container sees it below its mount of type `cgroup`.

    `name` is the directory there ("" for a unified hierarchy alone), `path` the host's directory
    of the container's own cgroup, `links` further names of the hierarchy.
    """

    name: str
    path: str
    links: tuple[str, ...] = ()


def console(process: spec.Process, path: str) -> Step:
    """The step that makes the terminal, bound on `path` unless that is empty."""
    size = process.console_size or spec.ConsoleSize()
    return Step(Op.CONSOLE, "open a terminal", path=path, number=(size.height << 16) | size.width)


class Builder:
    """Builds the steps of one container; `made` are its new namespaces."""

    def __init__(
        self,
        container: spec.Spec,
        bundle: Path,
        cgroups: tuple[CgroupMount, ...],
        *,
        made: frozenset[str],
    ) -> None:
        self._container = container
        self._bundle = bundle
        self._cgroups = cgroups
        self._made = made
        self._late: list[Step] = []

    def steps(self) -> list[Step]:
        """From the inherited mount tree to the container's own, entered."""
        container, linux = self._container, self._container.linux
        mounts = list(container.mounts)
        steps = [self._inherited(), self._root(mounts)]
        for mount in mounts:
            steps += self._mount(mount)
        steps += self._dev(mounts)
        steps += [
            Step(Op.WRITE, f'set sysctl "{key}"', path=self._sysctl(key), source=value)
            for key, value in linux.sysctl.items()
        ]
        hooks = container.hooks or spec.Hooks()
        if hooks.prestart or hooks.create_runtime or hooks.create_container:
            steps.append(Step(Op.SYNC, "run the hooks", flags=Flag.TELL, sync=Sync.HOOKS))
        steps.append(Step(Op.PIVOT, "make it the root"))
        steps += self._root_propagation()
        steps += self._late
        if container.root is not None and container.root.readonly:
            read_only = mountoptions.RDONLY
            steps.append(Step(Op.ATTRIBUTES, "make the root read-only", path="/", set=read_only))
        steps += [Step(Op.READONLY, f'make "{p}" read-only', path=p) for p in linux.readonly_paths]
        steps += [Step(Op.MASK, f'mask "{p}"', path=p) for p in linux.masked_paths]
        return steps

    def _sysctl(self, key: str) -> str:
        """`net.ipv4.ip_forward` as a path; a name with slashes may have dots in its parts.

        Raises NativeError for one that is not the container's alone, in runc's words.
        """
        path = key if "/" in key else key.replace(".", "/")
        kinds = {namespace.type for namespace in self._container.linux.namespaces}
        problem = ""
        if path.startswith("net/"):
            problem = "" if "network" in kinds else "not allowed in host network namespace"
        elif path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
            problem = "" if "ipc" in kinds else "not allowed in host ipc namespace"
        elif path != "kernel/domainname" or "uts" not in kinds:
            problem = _NOT_SEPARATE
        if problem or ".." in path.split("/"):
            raise NativeError("linux.sysctl", 22, f'sysctl "{key}" {problem or _NOT_SEPARATE}')
        return f"/proc/sys/{path}"

    def _inherited(self) -> Step:
        """Nothing mounted here reaches the host; what the host mounts later reaches this."""
        private = self._container.linux.rootfs_propagation in ("private", "rprivate")
        flag = mountoptions.PRIVATE if private else mountoptions.SLAVE
        return Step(Op.PROPAGATION, "leave the host's mounts", flags=flag | _MS_REC)

    def _root_propagation(self) -> list[Step]:
        asked = self._container.linux.rootfs_propagation
        if asked in ("", "private", "rprivate", "slave", "rslave"):
            return []
        found = mountoptions.propagation_of(asked)
        if found is None:
            raise NativeError("linux.rootfsPropagation", 22, f"unknown: {asked!r}")
        flags = found[0] | (_MS_REC if found[1] else 0)
        return [Step(Op.ROOT_PROPAGATION, f"make the root {asked}", flags=flags)]

    def _root(self, mounts: list[spec.Mount]) -> Step:
        """The root: the mount on "/" if that is the first, else the directory itself."""
        root = self._container.root
        if root is None:
            raise NativeError("root", 22, "missing")
        path = str(self._bundle / root.path)
        if not mounts or mounts[0].destination != "/":
            name = f'bind the root "{path}"'
            flags = int(Flag.RECURSIVE) | self._prepared("bind")
            return Step(Op.ROOT_BIND, name, path=path, source=path, flags=flags)
        mount = mounts.pop(0)
        name = f'mount "{mount.type}" on "/"'
        options = mountoptions.parse(mount.options, name)
        if options.bind or mount.type == "bind":
            source = str(self._bundle / mount.source)
            flags = _bind_flags(options) | self._prepared("bind")
            return Step(
                Op.ROOT_BIND, f'bind "{source}" on "/"', path, source,
                flags=flags, set=options.set, clear=options.clear,
            )  # fmt: skip
        return Step(
            Op.ROOT_MOUNT, name, path, mount.source, mount.type,
            options=_layers(options.data), set=options.set, flags=self._prepared(mount.type),
        )  # fmt: skip

    def _prepared(self, kind: str) -> int:
        hosts = "user" in self._made and kind in _PREPARED | {"bind"}
        return int(Flag.PREPARED) if hosts else 0

    def _mount(self, mount: spec.Mount) -> list[Step]:
        if not mount.destination.startswith("/"):
            raise NativeError("mounts", 22, f"destination {mount.destination!r} is not absolute")
        if mount.uid_mappings or mount.gid_mappings:
            raise NativeError(f'mount on "{mount.destination}"', 95, "id maps are not supported")
        if mount.type in ("cgroup", "cgroup2"):
            return self._cgroup(mount)
        name = f'mount "{mount.type}" on "{mount.destination}"'
        options = mountoptions.parse(mount.options, name)
        if mount.type == "bind" or options.bind:
            return [self._bind(mount.source, mount.destination, options)]
        return [self._filesystem(mount, name, options)]

    def _filesystem(self, mount: spec.Mount, name: str, options: mountoptions.MountOptions) -> Step:
        attributes = options.set
        flags = self._prepared(mount.type)
        if mount.type == "tmpfs":
            if all(key != "mode" for key, _ in options.data):
                flags |= Flag.KEEP_MODE
            if options.readonly:  # what is mounted below it needs its directories made first
                attributes &= ~mountoptions.RDONLY
                self._late.append(_read_only(mount.destination))
        return Step(
            Op.MOUNT, name, mount.destination, mount.source or mount.type, mount.type,
            options=_layers(options.data), flags=flags | _propagation_flags(options),
            set=attributes, propagation=options.propagation,
        )  # fmt: skip

    def _bind(self, source: str, destination: str, options: mountoptions.MountOptions) -> Step:
        path = str(self._bundle / source)
        part = dict(options.data).get("subpath") or ""  # an option of our own
        shown = f"{path}/{part}" if part else path
        return Step(
            Op.BIND, f'bind "{shown}" on "{destination}"', destination, path, part,
            flags=_bind_flags(options) | self._prepared("bind") | _peer(options),
            set=options.set, clear=options.clear, propagation=options.propagation,
        )  # fmt: skip

    def _cgroup(self, mount: spec.Mount) -> list[Step]:
        """The hierarchies: version 2 itself, version 1 a directory for each below a tmpfs."""
        name = f'mount "{mount.type}" on "{mount.destination}"'
        options = mountoptions.parse(mount.options, name)
        unified = [entry for entry in self._cgroups if not entry.name]
        if unified and "cgroup" in self._made:
            typed = spec.Mount(mount.destination, "cgroup2", "cgroup", mount.options)
            return [self._filesystem(typed, name, options)]
        if unified:
            return [self._bind(unified[0].path, mount.destination, options)]
        if not self._cgroups:
            raise NativeError(name, 22, "the container has no cgroup")
        base = spec.Mount(mount.destination, "tmpfs", "tmpfs", (*mount.options, "mode=755"))
        steps = [self._filesystem(base, name, mountoptions.parse(base.options, name))]
        for entry in self._cgroups:
            target = f"{mount.destination}/{entry.name}"
            steps.append(self._bind(entry.path, target, options))
            steps += [
                Step(Op.LINK, f'link "{link}"', f"{mount.destination}/{link}", entry.name)
                for link in entry.links
            ]
        return steps

    def _dev(self, mounts: list[spec.Mount]) -> list[Step]:
        """Devices and links, unless somebody else's /dev is bound there."""
        steps: list[Step] = []
        bound = any(
            mount.destination.rstrip("/") == "/dev"
            and (mount.type == "bind" or {"bind", "rbind"} & set(mount.options))
            for mount in mounts
        )
        if not bound:
            devices = {device.path: device for device in _default_devices()}
            devices |= {device.path: device for device in self._container.linux.devices}
            steps += [_device(device) for device in devices.values()]
            steps += [Step(Op.LINK, f'link "{path}"', path, to) for path, to in _LINKS]
        process = self._container.process
        if process is not None and process.terminal:
            steps.append(console(process, "/dev/console"))
        return steps


def _bind_flags(options: mountoptions.MountOptions) -> int:
    flags = Flag.RECURSIVE if options.recursive else 0
    return flags | (Flag.ATTRIBUTES_BELOW if options.below else 0) | _propagation_flags(options)


def _peer(options: mountoptions.MountOptions) -> int:
    """What is mounted below it in the container shows on the host only if it was taken from
    there, before the container left the host's mounts (mount_namespaces(7))."""
    return int(Flag.PREPARED) if options.propagation == mountoptions.SHARED else 0


def _propagation_flags(options: mountoptions.MountOptions) -> int:
    return Flag.PROPAGATION_BELOW if options.propagation_below else 0


def _read_only(path: str) -> Step:
    name = f'make "{path}" read-only'
    return Step(Op.ATTRIBUTES, name, path=path, set=mountoptions.RDONLY)


def _layers(data: tuple[tuple[str, str | None], ...]) -> tuple[tuple[str, str | None], ...]:
    """Overlay's lower directories one by one, also those given as one colon-separated option."""
    result: list[tuple[str, str | None]] = []
    for key, value in data:
        if key == "lowerdir" and value:
            result += [("lowerdir+", directory) for directory in value.split(":")]
        else:
            result.append((key, value))
    return tuple(result)


def _default_devices() -> list[spec.Device]:
    devices = [spec.Device("c", f"/dev/{name}", 1, minor) for name, minor in _DEVICES]
    return [*devices, spec.Device("c", "/dev/tty", 5, 0)]


def _device(device: spec.Device) -> Step:
    kind = _DEVICE_TYPES.get(device.type)
    if kind is None:
        raise NativeError(f'device "{device.path}"', 22, f"unknown type {device.type!r}")
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    return Step(
        Op.DEVICE, f'make the device "{device.path}"', device.path,
        number=os.makedev(device.major, device.minor), mode=kind | mode,
        uid=device.uid, gid=device.gid,
    )  # fmt: skip
