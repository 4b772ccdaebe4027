"""dockerd beside aiod: the arbiter of how an Engine API answers.

Its own directories, so that it touches nothing of the host. A bridge and rules only in a
network namespace of its own.
"""

import hashlib
import shutil

from tests.support import mounts
from tests.support.binaries import require
from tests.support.engine import Engine, load_busybox
from tests.support.processes import end_all, naming

_NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")
# Its rules for IPv6 are experimental still in 20.10.
_NETWORK = ("--ipv6", "--fixed-cidr-v6=fd00:17::/64", "--experimental", "--ip6tables")


class Dockerd(Engine):
    """`dockerd` with everything private to `base`."""

    name = "dockerd"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds its containers."""
        return f"/aiod-peer-{hashlib.sha256(str(self.base).encode()).hexdigest()[:10]}"

    def command(self) -> list[str]:
        """dockerd with private directories."""
        return [
            require("dockerd"),
            *("--data-root", str(self.base / "data")),
            *("--exec-root", str(self.base / "exec")),
            *("--pidfile", str(self.base / "pid")),
            *("--host", self.host),
            *("--cgroup-parent", self.cgroup),
            *(_NO_NETWORK if self.namespace is None else _NETWORK),
        ]

    def ensure_base(self) -> None:
        """Load busybox as `base`."""
        load_busybox(self, "base:latest")

    def clean_up(self) -> None:
        """End containerd and its shims, then take away mounts, cgroups and directories."""
        end_all(lambda: mounts.cgroup_pids(self.cgroup) | set(naming(self.base)))
        mounts.unmount_all(self.base)
        mounts.remove_cgroups(self.cgroup)
        shutil.rmtree(self.base)
