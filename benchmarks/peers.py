"""What runs beside aiod: Podman's Docker-compatible service, and runc and crun without an engine.

Owns how those two are started and cleaned up; must not know what is measured.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support import mounts
from tests.support.binaries import find
from tests.support.engine import Engine
from tests.support.processes import Identity, command_line, running_pids, send, wait_gone


class PodmanService(Engine):
    """`podman system service` with storage of its own."""

    name = "podman"

    def command(self) -> list[str]:
        """The service, on an overlay store in `base`."""
        return [
            find("podman") or "podman",
            *("--root", str(self.base / "root")),
            *("--runroot", str(self.base / "run")),
            *("--storage-driver", "overlay"),
            *("--cgroup-manager", "cgroupfs"),
            *("system", "service", "--time=0", self.host),
        ]

    def launch(self, env: Mapping[str, str] | None = None) -> bool:
        """Start with limits that a machine without CAP_SYS_RESOURCE can set."""
        config = self.base / "containers.conf"
        config.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        )
        return super().launch({"CONTAINERS_CONF": str(config), **(env or {})})

    def ensure_base(self) -> None:
        """Images are loaded by the measurements."""

    def clean_up(self) -> None:
        """End its monitors, then take away mounts and directories."""
        for pid in running_pids():
            if str(self.base) not in command_line(pid):
                continue
            process = Identity.of(pid)
            send(process)
            wait_gone(process)
        mounts.unmount_all(self.base)
        shutil.rmtree(self.base, ignore_errors=True)


class OciBundle:
    """A directory that an OCI runtime's `run` takes: a root filesystem, no network."""

    def __init__(self, base: Path, runtime: str, rootfs_tar: bytes, command: list[str]) -> None:
        self.runtime = runtime
        self._base = base
        self._program = find(runtime) or runtime
        self._count = 0
        rootfs = base / "rootfs"
        rootfs.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(rootfs)], input=rootfs_tar, check=True)
        subprocess.run([self._program, "spec"], cwd=base, check=True)
        config = json.loads((base / "config.json").read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = command
        (base / "config.json").write_text(json.dumps(config))

    def version(self) -> str:
        """As `--version` says."""
        command = [self._program, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout.split()[2]

    def run(self) -> None:
        """Create, start, wait and delete one container."""
        self._count += 1
        name = f"{self._base.name}-{self._count}"
        command = [self._program, "--root", str(self._base / "state"), "run", name]
        done = subprocess.run(
            command, cwd=self._base, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")

    def clean_up(self) -> None:
        """Remove the bundle."""
        shutil.rmtree(self._base)
