"""Probes of control groups: how they are mounted, which controllers there are, who may use them.

Tries a cgroup of its own in every hierarchy and takes it away; must not know containers.
"""

import os
from pathlib import Path

from aiod.doctor.findings import AbsentError, LessError, Probe, Subject
from aiod.native.cgroups import Cgroup, Layout, detect_layout
from aiod.native.errors import NativeError

_TOPIC = "cgroups"
_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


def _detected() -> Layout:
    try:
        return detect_layout()
    except NativeError as error:
        raise AbsentError(str(error)) from error


def _mounted(subject: Subject) -> str:
    layout = _detected()
    if not layout.v1:
        return f"version 2 at {layout.unified}"
    if layout.unified is None:
        return "version 1"
    return f"version 1, and version 2 at {layout.unified}"


def _controllers(subject: Subject) -> str:
    layout = _detected()
    there = set(layout.v1) | layout.unified_controllers
    # Version 1 calls the controller of disks by another name.
    there |= {"io"} if "blkio" in there else set()
    if missing := [name for name in _CONTROLLERS if name not in there]:
        raise LessError(f"without {', '.join(missing)}: limits of that kind are refused")
    return ", ".join(name for name in (*_CONTROLLERS, "devices", "freezer") if name in there)


def _writable(subject: Subject) -> str:
    group = Cgroup(_detected(), f"/aiod-doctor-{os.getpid()}")
    try:
        group.create()
        seen = _delegated(group)
    except NativeError as error:
        raise AbsentError(str(error)) from error
    finally:
        for directory in _directories(group):
            if directory.is_dir():
                directory.rmdir()
    return seen


def _directories(group: Cgroup) -> list[Path]:
    return [root / group.path.strip("/") for root in _detected().roots()]


def _delegated(group: Cgroup) -> str:
    layout = _detected()
    if layout.unified is None or not layout.unified_controllers:
        return "groups can be made"
    given = Path(layout.unified, group.path.strip("/"), "cgroup.controllers").read_text().split()
    lost = [name for name in _CONTROLLERS
            if name in layout.unified_controllers and name not in given]  # fmt: skip
    if lost:
        raise LessError(f"groups can be made, but get no {', '.join(lost)}")
    return f"groups can be made, with {', '.join(given)}"


PROBES = (
    Probe(_TOPIC, "hierarchies", _mounted, "mount -t cgroup2 none /sys/fs/cgroup"),
    Probe(_TOPIC, "controllers", _controllers,
          "boot with cgroup_enable=memory, or without cgroup_disable=", needed=False),
    Probe(_TOPIC, "delegation", _writable,
          "run as root with /sys/fs/cgroup writable; Delegate=yes in a unit, --cgroupns=host and"
          " a writable mount in a container"),
)  # fmt: skip
