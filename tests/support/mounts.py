"""Mounts and cgroups below a directory, and how to take them away.

Owns /proc/self/mountinfo and the cgroup hierarchies; must not know about engines.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_MNT_DETACH = 2


def _unescape(field: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def mount_points(below: Path, pid: str = "self") -> list[str]:
    """Mount points of this namespace at or below a directory, innermost last."""
    prefix = str(below)
    found = []
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            point = _unescape(line.split()[4])
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return found


def unmount_all(below: Path) -> list[str]:
    """Detach every mount at or below a directory; returns what there was."""
    libc = ctypes.CDLL(None, use_errno=True)
    points = mount_points(below)
    for point in sorted(points, key=len, reverse=True):
        if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            code = ctypes.get_errno()
            if point in mount_points(below):  # and did not go with another meanwhile
                raise OSError(code, f"umount {point}")
    return points


def hierarchies() -> list[Path]:
    """The mount points of every cgroup hierarchy, version 1 and 2."""
    with open("/proc/self/mounts") as mounts:
        rows = [line.split() for line in mounts]
    return [Path(row[1]) for row in rows if row[2] in ("cgroup", "cgroup2")]


def cgroups(name: str) -> Iterator[Path]:
    """Every cgroup at or below `/name` in each hierarchy, parents first."""
    for hierarchy in hierarchies():
        top = hierarchy / name.strip("/")
        for directory, _, _ in os.walk(top):
            yield Path(directory)


def cgroups_like(pattern: str) -> list[Path]:
    """The cgroups whose name, from the root of a hierarchy, matches a glob pattern."""
    return [found for hierarchy in hierarchies() for found in hierarchy.glob(pattern)]


def cgroup_pids(name: str) -> set[int]:
    """Processes in the cgroup `/name` or below it, in any hierarchy."""
    pids: set[int] = set()
    for group in cgroups(name):
        with contextlib.suppress(OSError):
            pids |= {int(word) for word in (group / "cgroup.procs").read_text().split()}
    return pids


def remove_cgroups(name: str) -> list[str]:
    """Remove the cgroup `/name` and all below it; returns what could not be removed."""
    resisting = []
    for group in reversed(list(cgroups(name))):
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            resisting.append(f"{group}: {error.strerror}")
    return resisting
