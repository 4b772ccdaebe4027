"""Which cgroup hierarchies there are, and where: of version 1, 2, or both.

Owns the reading of `/proc/self/mountinfo` for them; must not know what is done with them.
Sources: cgroups(7), proc_pid_mountinfo(5).
"""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiod.native.errors import NativeError

_V1_CONTROLLERS = (
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls",
    "net_prio", "perf_event", "pids", "rdma",
)  # fmt: skip
_USUAL_PLACE = "/sys/fs/cgroup"
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where hierarchies are mounted: v1 by controller, and the unified one."""

    v1: dict[str, Path]
    unified: Path | None
    unified_controllers: frozenset[str]

    def roots(self) -> list[Path]:
        """Every hierarchy once."""
        found = list(dict.fromkeys(self.v1.values()))
        return [*found, self.unified] if self.unified else found


def detect_layout(mountinfo: str | None = None) -> Layout:
    """The hierarchies of proc_pid_mountinfo(5). Raises NativeError if there is none.

    A mount of a whole hierarchy is preferred. In a container that shares the host's cgroup
    namespace there is none, but what is mounted at the usual place is all that it has.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    v1: dict[str, Path] = {}
    unified = None
    for mount in sorted(_cgroup_mounts(text), key=lambda mount: not mount.whole):
        if not mount.whole and not mount.where.is_relative_to(_USUAL_PLACE):
            continue
        if mount.kind == "cgroup2":
            unified = unified or mount.where
        for name in mount.options if mount.kind == "cgroup" else ():
            if name in _V1_CONTROLLERS:
                v1.setdefault(name, mount.where)
    if not v1 and unified is None:
        raise NativeError("cgroup", 0, "no cgroup hierarchy is mounted")
    controllers: frozenset[str] = frozenset()
    if unified is not None:
        with contextlib.suppress(OSError):
            controllers = frozenset((unified / "cgroup.controllers").read_text().split())
    return Layout(v1, unified, controllers)


@dataclass(frozen=True, slots=True)
class _Mount:
    whole: bool
    where: Path
    kind: str
    options: tuple[str, ...]


def _cgroup_mounts(mountinfo: str) -> list[_Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _source, options, *_) = before.split(), [*after.split(), "", "", ""]
        if len(fields) >= 5 and kind in ("cgroup", "cgroup2"):
            where = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
            found.append(_Mount(fields[3] == "/", where, kind, tuple(options.split(","))))
    return found
