"""The units in systemd/ under a real systemd: process 1 of namespaces made for it.

It sees the machine's programs, and none of the machine's units, state or cgroups.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import mounts
from tests.support.binaries import require
from tests.support.engine import eventually
from tests.support.http import Api
from tests.support.witness import counted, counting_command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces")

UNITS = Path(__file__).parents[2] / "systemd"
SYSTEMD = "/usr/lib/systemd/systemd"
TARGETS = ("basic", "sysinit", "sockets", "shutdown", "local-fs", "network-online", "multi-user")
WATCHDOG_SECONDS = 2


def _join(cgroup: str) -> list[str]:
    """Shell lines that put the shell into a cgroup of every hierarchy."""
    lines = []
    for top in mounts.hierarchies():
        lines.append(f"mkdir -p {top}/{cgroup}")
        lines += [
            f"cat {top}/{name} > {top}/{cgroup}/{name}"
            for name in ("cpuset.cpus", "cpuset.mems")
            if (top / name).exists()
        ]
        lines.append(f"echo $$ > {top}/{cgroup}/cgroup.procs")
    return lines


def _hierarchies() -> list[str]:
    """Shell lines that mount the same hierarchies with that cgroup as their root."""
    lines = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            lines += [f"mkdir -p {place}", f"mount -t cgroup2 cgroup2 {place}"]
        elif kind == "cgroup":
            named = [word for word in options.split(",") if word.startswith("name=")]
            wanted = f"none,{named[0]}" if named else Path(place).name
            lines += [f"mkdir -p {place}", f"mount -t cgroup -o {wanted} cgroup {place}"]
    return ["mount -t tmpfs tmpfs /sys/fs/cgroup", *lines]


def _boot() -> list[str]:
    """Shell lines that become systemd, with these units and no others."""
    drop_in = "/run/systemd/system/aiod.service.d"
    hidden = ("/run", "/var/lib", "/etc/systemd/system", "/usr/lib/systemd/system",
              "/usr/lib/systemd/system-generators")  # fmt: skip
    return [
        "mount -t proc proc /proc",
        # The host's settings are not this systemd's to make, but those of its network are.
        "mount --bind /proc/sys /proc/sys && mount --bind /proc/sys/net /proc/sys/net",
        "mount -o remount,bind,ro /proc/sys",
        *_hierarchies(),
        *(f"mount -t tmpfs -o mode=755 tmpfs {place}" for place in hidden),
        f"mkdir -p {drop_in}",
        f"printf '[Service]\\nEnvironment=PATH={Path(sys.executable).parent}:/usr/bin:/bin\\n"
        f"WatchdogSec={WATCHDOG_SECONDS}\\n' > {drop_in}/test.conf",
        f"cp {UNITS}/aiod.socket {UNITS}/aiod.service /run/systemd/system",
        *(f"echo '[Unit]' > /run/systemd/system/{name}.target" for name in TARGETS),
        f"exec env -i container=other PATH=/usr/bin:/bin {SYSTEMD} --unit=basic.target "
        "--log-target=console",
    ]


class Systemd:
    """A running service manager and the API of the aiod that it runs."""

    def __init__(self, log: Path) -> None:
        self.cgroup = f"aiod-systemd-{uuid.uuid4().hex[:8]}"
        inner = " && ".join(_boot())
        outer = " && ".join([*_join(self.cgroup), 'exec unshare "$@"'])
        flags = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--fork"]
        flags += ["--kill-child", "--propagation", "private"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", outer, "sh", *flags, "sh", "-c", inner],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._log = log

    def _first(self) -> int:
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int((path.read_text().split() or ["0"])[0])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        inside = ["nsenter", "-t", str(self._first()), "-m", "-p", "-C", "-n", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)

    def systemctl(self, *arguments: str) -> str:
        """What systemctl says; it must succeed."""
        done = self.run("systemctl", *arguments)
        assert done.returncode == 0, f"{done.stderr}\n{self._log.read_text()}"
        return done.stdout.strip()

    def wait_started(self) -> None:
        """Wait until it takes orders."""
        eventually(
            lambda: self._first() and self.run("systemctl", "is-system-running").stdout,
            lambda said: said in ("running\n", "degraded\n"),
        )

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.systemctl("show", "--value", "-p", name, "aiod.service")

    def api(self) -> Api:
        """A connection to the socket inside."""
        return Api(Path(f"/proc/{self._first()}/root/run/aiod/aiod.sock"))

    def close(self) -> None:
        """End it and everything that it started."""
        self._process.kill()
        self._process.wait()
        eventually(lambda: mounts.cgroup_pids(self.cgroup), lambda pids: not pids)
        assert mounts.remove_cgroups(self.cgroup) == []


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    require("systemd-analyze")
    manager = Systemd(tmp_path / "systemd.log")
    try:
        manager.wait_started()
        manager.systemctl("service-watchdogs", "no")  # only where one is meant to bite
        manager.systemctl("start", "aiod.socket", "aiod.service")
        yield manager
    finally:
        manager.close()


def test_whatever_happens_to_the_service_the_container_goes_on(systemd: Systemd) -> None:
    with systemd.api() as api:
        container = api.run(*counting_command())
        init = api.state(container)["Pid"]

    def undisturbed() -> None:
        with systemd.api() as api:
            state = api.state(container)
            assert (state["Status"], state["Pid"]) == ("running", init)
            before = counted(api.logs(container))
            eventually(lambda: counted(api.logs(container)), lambda now: now > before)

    first = systemd.show("MainPID")
    systemd.systemctl("restart", "aiod.service")
    assert systemd.show("MainPID") != first
    undisturbed()

    systemd.systemctl("kill", "--kill-who=main", "--signal=KILL", "aiod.service")
    undisturbed()

    systemd.systemctl("stop", "aiod.service")
    assert systemd.run("test", "-d", f"/proc/{init}").returncode == 0
    assert systemd.run("test", "-d", f"/run/aiod/shims/{container}").returncode == 0
    undisturbed()  # the request starts it

    restarts = int(systemd.show("NRestarts"))
    systemd.systemctl("service-watchdogs", "yes")
    systemd.systemctl("kill", "--kill-who=main", "--signal=STOP", "aiod.service")
    eventually(lambda: int(systemd.show("NRestarts")), lambda count: count > restarts)
    systemd.systemctl("service-watchdogs", "no")
    undisturbed()

    shim = systemd.run("cat", f"/proc/{init}/cgroup").stdout
    assert "aiod.service" not in shim
    with systemd.api() as api:
        api.remove(container)
        assert api.containers() == []
