"""Takes away what runs leave behind: processes, cgroups, run directories.

Owns the certainty that nothing of a run is left; must not know records' meaning. Blocking.
Every process is known by pid and start time, so an innocent one is never touched.
"""

import contextlib
import logging
import os
import select
import shutil
import signal
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from aiod.config import DaemonConfig, Paths
from aiod.containers import resources, sharing
from aiod.native import cgroups, proc
from aiod.native.errors import NativeError
from aiod.store.records import RunState
from aiod.tasks.shim_client import ShimFiles, read_state, release

log = logging.getLogger(__name__)

_SHIM_END_SECONDS = 5.0
_SHIMS_CGROUP = "shims"
_NOT_CONTAINERS = frozenset({_SHIMS_CGROUP, "daemon"})
_TITLE = b"aiod-shim"


@dataclass(frozen=True, slots=True)
class Known:
    """What a sweep must spare: containers on record, broken ones, and shims in use."""

    containers: Set[str]
    broken: Set[str]
    shims: Set[tuple[int, int]]


class Remnants:
    """What is left of runs on one root."""

    def __init__(self, paths: Paths, config: DaemonConfig) -> None:
        self._paths = paths
        self._parent = config.cgroup_parent

    def cgroup(self, name: str) -> cgroups.Cgroup:
        """A container's cgroup, or another below the daemon's."""
        return cgroups.Cgroup(resources.layout(), f"{self._parent}/{name}")

    def remove_cgroup(self, name: str) -> None:
        """Kill what is in it and take it away; what resists is logged."""
        try:
            group = self.cgroup(name)
            if group.exists():
                group.remove()
        except (NativeError, OSError) as error:
            log.warning("cgroup of %s: %s", name[:12], error)

    def end_run(self, container_id: str, state: RunState) -> None:
        """End the recorded init, and with it all that is in its cgroup."""
        proc.send_signal(state.pid, state.pid_start, signal.SIGKILL)
        self.remove_cgroup(container_id)

    def remove_run_directory(self, container_id: str) -> None:
        """Take the run directory away."""
        sharing.take_shm_away(self._paths.shim(container_id))
        shutil.rmtree(self._paths.shim(container_id), ignore_errors=True)

    def sweep_one(self, container_id: str, files: ShimFiles) -> None:
        """End what is left of a run that no record speaks of, and all its traces."""
        if files.init is not None:
            proc.send_signal(files.init.pid, files.init.start_time, signal.SIGKILL)
        for pid, start in self._shims():
            if _title(pid).endswith(container_id.encode()):
                proc.send_signal(pid, start, signal.SIGKILL)
        if files.shim is not None:
            proc.send_signal(files.shim.pid, files.shim.start_time, signal.SIGKILL)
        self.remove_cgroup(container_id)
        self.remove_run_directory(container_id)

    def sweep(self, known: Known) -> None:
        """Take away whatever belongs to nobody: shims, run and container directories, cgroups."""
        for found in self._paths.shims.iterdir():
            if found.name not in known.containers:
                self.sweep_one(found.name, read_state(found))
                sharing.take_shm_away(found)
                _discard(found)
        for pid, start in self._strangers(known.shims):
            log.warning("shim %d belongs to no container: ended", pid)
            proc.send_signal(pid, start, signal.SIGKILL)
        for name in self._cgroups() - known.containers - _NOT_CONTAINERS:
            self.remove_cgroup(name)
        for found in self._paths.containers.iterdir():
            if found.name not in known.containers | known.broken:
                _discard(found)

    def _strangers(self, known: Set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Shims in nobody's use; what a used one has forked has its title, and is its own."""
        used = {pid for pid, start in known if proc.is_same(pid, start)}
        for pid, start in self._shims():
            with contextlib.suppress(ProcessLookupError):
                if pid not in used and proc.parent(pid) not in used:
                    yield pid, start

    def _shims(self) -> Iterator[tuple[int, int]]:
        """Every shim of this daemon's, also one whose directory is gone or damaged."""
        prefix = _TITLE + b" " + os.fsencode(self._paths.shims) + b"/"
        for pid in self.cgroup(_SHIMS_CGROUP).processes():
            with contextlib.suppress(ProcessLookupError):
                start = proc.start_time(pid)
                if _title(pid).startswith(prefix):
                    yield pid, start

    def _cgroups(self) -> set[str]:
        found: set[str] = set()
        for root in cgroups.detect_layout().roots():
            top = root / self._parent.strip("/")
            with contextlib.suppress(OSError):
                found |= {entry.name for entry in os.scandir(top) if entry.is_dir()}
        return found


def end_shim(pid: int, start: int) -> None:
    """Release a shim whose exit was taken over, and see to it that it ends."""
    descriptor = proc.open_pidfd(pid, start)
    if descriptor is None:
        return
    try:
        release(pid, start)
        if not _ends(descriptor, _SHIM_END_SECONDS):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            _ends(descriptor, _SHIM_END_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _ends(descriptor: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(int(seconds * 1000)))


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0].rstrip()
    except OSError:
        return b""


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
