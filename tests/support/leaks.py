"""What a daemon left that it should not have: the check at the end of every drill and of the suite.

Compares processes, mounts, cgroups and directories with the containers that should exist.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from aiod.native.network import sandbox
from aiod.shim import protocol
from tests.support import hostnet, mounts
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.processes import command_line, naming, parent, start_time

_OWN_CGROUPS = {"shims", "daemon"}


@dataclass(frozen=True, slots=True)
class Expected:
    """Full ids of the containers that exist, and of those that run; the volumes that exist, and

    where those of running containers are; full ids of networks.
    """

    existing: Set[str] = frozenset()
    running: Set[str] = frozenset()
    volumes: Set[str] = frozenset()
    in_use: Set[str] = frozenset()
    networks: Set[str] = frozenset()


def expected(daemon: AiodDaemon) -> Expected:
    """What the API says exists and runs."""
    with daemon.api() as api:
        rows = api.containers()
        volumes = api.call("GET", "/volumes")["Volumes"]
        networks = api.call("GET", "/networks")
    running = [row for row in rows if row["State"] in {"running", "paused"}]
    return Expected(
        {row["Id"] for row in rows},
        {row["Id"] for row in running},
        {volume["Name"] for volume in volumes},
        {point["Source"] for row in running for point in row["Mounts"]},
        {network["Id"] for network in networks},
    )


def _listing(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _directories(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    paths = daemon.paths
    for directory, allowed in (
        (paths.containers, wanted.existing),
        (paths.shims, wanted.existing),
        (paths.networks, wanted.networks),
        (paths.ingest, frozenset[str]()),
        (paths.builds, frozenset[str]()),
    ):
        for name in sorted(_listing(directory) - allowed):
            yield f"directory {directory / name}"
    for name in sorted(wanted.existing - _listing(paths.containers)):
        yield f"no directory for container {name}"
    for name in sorted(_listing(paths.overlay)):
        if name.startswith("tmp-"):
            yield f"unfinished layer {name}"


def _volumes(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    top = daemon.paths.volumes
    for name in sorted(_listing(top) ^ wanted.volumes):
        yield f"volume {top / name} is {'there' if (top / name).exists() else 'not there'}"
    for name in sorted(_listing(top) & wanted.volumes):
        for entry in sorted(_listing(top / name / "_data")):
            if entry.startswith(".aiod-"):
                yield f"unfinished content {top / name / '_data' / entry}"


def _cgroups(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    for hierarchy in mounts.hierarchies():
        top = hierarchy / daemon.cgroup.strip("/")
        names = {name for name in _listing(top) if (top / name).is_dir()}
        for name in sorted(names - wanted.running - _OWN_CGROUPS):
            yield f"cgroup {top / name}"


def _mounts(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    for point in mounts.mount_points(daemon.base):
        used = any(container in point for container in wanted.running)
        if not used and point not in wanted.in_use:
            yield f"mount {point}"


def _container_pids(daemon: AiodDaemon, wanted: Expected) -> set[int]:
    allowed: set[int] = set()
    for container in wanted.running:
        allowed |= mounts.cgroup_pids(f"{daemon.cgroup}/{container}")
    return allowed


def _processes(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    found = daemon.processes()
    # Afterwards: containers go on beginning processes, and ending them.
    contained = _container_pids(daemon, wanted)
    shims = {parent(pid) for pid in contained}
    daemon_pid = daemon.pid if daemon.running else 0
    for pid, command in found.items():
        if pid in contained or pid in shims or (daemon_pid and parent(pid) == daemon_pid):
            continue
        if start_time(pid) is None:
            continue
        if daemon_pid and str(daemon.paths.shims) not in command and "zygote" in command:
            continue
        yield f"process {pid} (parent {parent(pid)}): {command}"


def _links(daemon: AiodDaemon, wanted: Expected) -> Iterator[str]:
    """The host's ends of links of containers that do not run; the kernel is a moment behind."""
    described = (daemon.paths.shim(one) / protocol.NETWORK_FILE for one in wanted.running)
    known: set[str] = set()
    for file in described:
        with contextlib.suppress(FileNotFoundError):  # of none, or of one that has ended meanwhile
            known |= {one.host_name for one in sandbox.decode(file.read_bytes()).interfaces}
    with daemon.there():
        ports = hostnet.ports_of(daemon.config)
    for name in sorted(ports - known):
        yield f"link {name}"


def find(daemon: AiodDaemon, wanted: Expected) -> list[str]:
    """Everything there is beyond `wanted`, in words."""
    return [
        *_directories(daemon, wanted),
        *_volumes(daemon, wanted),
        *_cgroups(daemon, wanted),
        *_mounts(daemon, wanted),
        *_processes(daemon, wanted),
        *_links(daemon, wanted),
    ]


def assert_none(daemon: AiodDaemon) -> None:
    """Nothing is there that the API does not list, and the database is sound.

    A shim ends shortly after its exit was taken over, and the API shows no event for that; one
    that waits for its next start may have it meanwhile.
    """
    eventually(lambda: find(daemon, expected(daemon)), lambda found: not found)
    assert daemon.database_problems() == []


def remaining(
    directories: list[Path], groups: Iterable[str] = (), seconds: float = 10.0
) -> list[str]:
    """For the end of the suite: mounts below and processes naming any of `directories`, and

    cgroups that match a pattern of `groups`. What is on its way out has so long.
    """
    deadline = time.monotonic() + seconds
    while (found := _remaining(directories, groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _remaining(directories: list[Path], groups: Iterable[str]) -> list[str]:
    found = [f"mount {point}" for path in directories for point in mounts.mount_points(path)]
    found += [f"cgroup {one}" for pattern in groups for one in mounts.cgroups_like(pattern)]
    pids = {pid for path in directories for pid in naming(path)}
    return found + [f"process {pid}: {command_line(pid)}" for pid in sorted(pids)]
