"""dockerd beside aiod: the arbiter of how an Engine API answers.

Its own directories, no bridge and no firewall rules, so that it touches nothing of the host.
"""

import hashlib
import shutil

from tests.support import mounts
from tests.support.binaries import require
from tests.support.engine import Engine, load_busybox
from tests.support.processes import Identity, naming, send, wait_gone


class Dockerd(Engine):
    """`dockerd` with everything private to `base`."""

    name = "dockerd"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds its containers."""
        return f"/aiod-peer-{hashlib.sha256(str(self.base).encode()).hexdigest()[:10]}"

    def command(self) -> list[str]:
        """dockerd with private directories and no network."""
        return [
            require("dockerd"),
            *("--data-root", str(self.base / "data")),
            *("--exec-root", str(self.base / "exec")),
            *("--pidfile", str(self.base / "pid")),
            *("--host", self.host),
            *("--cgroup-parent", self.cgroup),
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]

    def ensure_base(self) -> None:
        """Load busybox as `base`."""
        load_busybox(self, "base:latest")

    def clean_up(self) -> None:
        """End containerd and its shims, then take away mounts, cgroups and directories."""
        pids = mounts.cgroup_pids(self.cgroup)
        pids |= set(naming(self.base))
        for pid in pids:
            try:
                process = Identity.of(pid)
            except ProcessLookupError:
                continue
            send(process)
            wait_gone(process)
        mounts.unmount_all(self.base)
        mounts.remove_cgroups(self.cgroup)
        shutil.rmtree(self.base)
