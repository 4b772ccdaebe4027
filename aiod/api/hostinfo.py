"""What `/info` tells of this machine, read from the kernel and os-release(5).

Blocking: call it in a thread. Must not know the engine's records.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_GO_ARCHES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The machine; `memory` in bytes."""

    name: str
    kernel: str
    machine: str
    system: str
    system_version: str
    cpus: int
    memory: int
    filesystem: str
    ipv4_forwarding: bool
    cgroup_version: str
    controllers: frozenset[str]
    swap_limit: bool
    cpu_quota: bool
    oom_kill_disable: bool
    security: tuple[str, ...]
    warnings: tuple[str, ...]


def go_arch(machine: str) -> str:
    """An architecture, as uname(2) has it, in Docker's words."""
    return _GO_ARCHES.get(machine, machine)


def host_info(root: Path) -> HostInfo:
    """Look at the machine now; `root` tells which file system is meant."""
    uname = os.uname()
    release = _os_release()
    unified = (_CGROUP / "cgroup.controllers").exists()
    controllers = _controllers(unified)
    return HostInfo(
        name=uname.nodename,
        kernel=uname.release,
        machine=uname.machine,
        system=release.get("PRETTY_NAME", "Linux"),
        system_version=release.get("VERSION_ID", ""),
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        filesystem=_filesystem(root),
        ipv4_forwarding=_read(Path("/proc/sys/net/ipv4/ip_forward")).strip() == "1",
        cgroup_version="2" if unified else "1",
        controllers=controllers,
        swap_limit=_swap_limit(unified, controllers),
        cpu_quota="cpu" in controllers
        and (unified or (_CGROUP / "cpu" / "cpu.cfs_quota_us").exists()),
        oom_kill_disable=not unified and "memory" in controllers,
        security=_security(unified),
        warnings=_warnings(controllers),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _controllers(unified: bool) -> frozenset[str]:
    if unified:
        return frozenset(_read(_CGROUP / "cgroup.controllers").split())
    mounted = {name for path in _CGROUP.glob("*/") for name in path.name.split(",")}
    rows = [line.split() for line in _read(Path("/proc/cgroups")).splitlines()[1:]]
    return frozenset(row[0] for row in rows if row[3] == "1" and row[0] in mounted)


def _swap_limit(unified: bool, controllers: frozenset[str]) -> bool:
    if "memory" not in controllers:
        return False
    if unified:
        return any(_CGROUP.glob("*/memory.swap.max"))
    return (_CGROUP / "memory" / "memory.memsw.limit_in_bytes").exists()


def _filesystem(root: Path) -> str:
    """The type of the mount that holds `root`."""
    best, kind = "", "unknown"
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        if (str(root) + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _security(unified: bool) -> tuple[str, ...]:
    """What containers get by default, in `docker info`'s words."""
    status = _read(Path("/proc/self/status"))
    seccomp = ("name=seccomp,profile=builtin",) if "Seccomp:" in status else ()
    return (*seccomp, "name=cgroupns") if unified else seccomp


def _warnings(controllers: frozenset[str]) -> tuple[str, ...]:
    words = {
        "memory": "No memory limit support",
        "cpu": "No cpu shares support",
        "cpuset": "No cpuset support",
        "pids": "No pids limit support",
    }
    return tuple(f"WARNING: {text}" for name, text in words.items() if name not in controllers)
