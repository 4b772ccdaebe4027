"""aiod under test: its own root, state and socket, crash points, and everything it may leave.

Knows the layout of `aiod.config.Paths`; must not know what a test wants.
"""

import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import ClassVar

from aiod.config import DaemonConfig, Paths
from tests.support import hostnet, mounts
from tests.support.engine import Engine, eventually
from tests.support.processes import command_line, end_all, naming, read_proc, running_pids


def armed(point: str, nth: int = 1) -> dict[str, str]:
    """The environment of a daemon that is to die at the `nth` time `point` is reached."""
    return {"AIOD_CRASH_POINT": f"{point}:{nth}"}


class AiodDaemon(Engine):
    """`python -m aiod serve` in its own directories (short: a socket's path has 108 bytes)."""

    name = "aiod"
    module = "aiod"
    made: ClassVar[list[DaemonConfig]] = []  # in this process, for the check at its end

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.paths = Paths(base / "r", base / "s")
        self.config = DaemonConfig(paths=self.paths)
        self.made.append(self.config)
        self.cgroup = self.config.cgroup_parent
        self.flags: list[str] = []

    def command(self) -> list[str]:
        """The daemon as a module of this interpreter."""
        flags = ["--root", str(self.paths.root), "--state", str(self.paths.state)]
        command = [sys.executable, "-m", self.module, "serve", *flags, "--host", self.host]
        return [*command, *self.flags]

    def ensure_base(self) -> None:
        """Nothing to do: `base` is built in."""

    def crash_at(self, point: str, nth: int = 1) -> None:
        """Start armed to die at the `nth` time `point` is reached."""
        self.start(armed(point, nth))

    def processes(self) -> dict[int, str]:
        """Every process of this daemon but itself: by cgroup, arguments or root file system."""
        found = mounts.cgroup_pids(self.cgroup) | set(naming(self.paths.state))
        ours = os.readlink("/proc/self/ns/mnt")
        found |= {pid for pid in running_pids() if self._rooted_here(pid, ours)}
        found -= {self.process.pid if self.process else 0, os.getpid()}
        live = set(running_pids())
        return {pid: command_line(pid) for pid in sorted(found & live)}

    def _rooted_here(self, pid: int, our_namespace: str) -> bool:
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == our_namespace:
                return False
        except OSError:
            return False
        lines = read_proc(pid, "mountinfo").splitlines()
        return any(line.split()[4] == "/" and str(self.base) in line for line in lines)

    def database_problems(self) -> list[str]:
        """What SQLite's integrity and foreign key checks report."""
        connection = sqlite3.connect(f"file:{self.paths.database}?mode=ro", uri=True)
        try:
            verdict = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
            foreign = [str(row) for row in connection.execute("PRAGMA foreign_key_check")]
        finally:
            connection.close()
        return [line for line in verdict if line != "ok"] + foreign

    def clean_up(self) -> None:
        """End every process, then take away mounts, cgroups, links and directories."""
        end_all(self.processes)
        mounts.unmount_all(self.base)
        eventually(lambda: mounts.remove_cgroups(self.cgroup), lambda resisting: not resisting)
        with self.there():
            hostnet.remove(self.config)
        shutil.rmtree(self.base)
