"""Puts a process into the shims' cgroup, in every hierarchy there is.

Owns the failure policy: a hierarchy that refuses is left as it is, because a shim in the wrong
cgroup still does its work. Limits nothing; the containers' cgroups are `aiod.native.cgroups`.
"""

import os
import sys
from pathlib import Path

_V1_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def _mounts() -> list[tuple[Path, frozenset[str]]]:
    """Mount points of all cgroup hierarchies with their options, from /proc/self/mounts."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, target, kind, options, *_rest = line.split(" ")
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(target), frozenset(options.split(","))))
    return found


def _seed_cpuset(root: Path, relative: str) -> None:
    """cpuset(7): a new v1 cpuset has no cpus and takes no task until it is given some."""
    current = root
    for part in Path(relative).parts:
        parent, current = current, current / part
        for name in _V1_CPUSET_FILES:
            if not (current / name).read_text().strip():
                (current / name).write_text((parent / name).read_text())


def _join_one(root: Path, options: frozenset[str], relative: str) -> None:
    directory = root / relative
    directory.mkdir(parents=True, exist_ok=True)
    if "cpuset" in options:
        _seed_cpuset(root, relative)
    (directory / "cgroup.procs").write_text(str(os.getpid()))


def join(cgroup: str) -> None:
    """Move the calling process to `cgroup`, a path below every hierarchy's root.

    Reports a hierarchy that refuses on standard error and goes on.
    """
    relative = cgroup.strip("/")
    for root, options in _mounts():
        try:
            _join_one(root, options, relative)
        except OSError as error:
            print(f"aiod: cgroup {root}/{relative}: {error}", file=sys.stderr)
