"""One image pulled from one registry by whoever can: time, memory, and what was transferred.

Owns the clocks and counters; must not know what is in the image, nor how figures are shown.
"""

import os
import re
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import mounts
from tests.support.binaries import find
from tests.support.engine import Engine
from tests.support.processes import read_proc
from tests.support.registry import Registry

NAME = "bench"
_MIB = 1 << 20
_PERIOD = 0.05  # seconds between two looks at the memory
_SERVED = re.compile(r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]{64})\S* HTTP/[\d.]+" 20[06] (\d+)')


class FailedError(Exception):
    """A pull did not succeed."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a registry sent: `layers` are different ones, `megabytes` millions of bytes."""

    layers: int
    megabytes: float


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull; `peak` in MiB is of the puller alone, `tree` with all its children."""

    seconds: float
    peak: float
    tree: float | None
    transferred: Transferred


class Puller(ABC):
    """Something that pulls into a directory of its own, empty at first."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self.base = base

    @property
    @abstractmethod
    def version(self) -> str:
        """What it calls its version."""

    def start(self) -> None:
        """Get ready, off the clock."""
        self.base.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def pull(self, address: str, tag: str) -> tuple[float, float | None]:
        """Pull NAME:`tag` from the registry at `address`; returns `peak` and `tree`."""

    @abstractmethod
    def stop(self) -> None:
        """End it, and leave its files: deleting them would slow down whoever comes next."""

    def clean_up(self) -> None:
        """Unmount what it mounted."""
        mounts.unmount_all(self.base)


class EnginePuller(Puller):
    """A daemon that is asked through its API."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.name, engine.base)
        self._engine = engine

    @property
    def version(self) -> str:
        """As the API says."""
        with self._engine.api() as api:
            return str(api.call("GET", "/version")["Version"])

    def start(self) -> None:
        """Start the daemon."""
        super().start()
        self._engine.start()

    def pull(self, address: str, tag: str) -> tuple[float, float | None]:
        """As `docker pull` asks."""
        pid = self._engine.pid
        _forget_peak(pid)
        with _watched(pid) as memory, self._engine.api(timeout=600) as api:
            query = {"fromImage": f"{address}/{NAME}", "tag": tag}
            reply = api.send("POST", "/images/create", **query)
        if reply.status != 200 or b'"error"' in reply.body:
            raise FailedError(f"{self.name}: {reply.status} {reply.body[-500:].decode()}")
        return _peak(pid), memory.most / _MIB

    def stop(self) -> None:
        """End the daemon."""
        self._engine.stop()

    def clean_up(self) -> None:
        """End and unmount all that is left, and delete the files."""
        self._engine.clean_up()


class CommandPuller(Puller):
    """A command that pulls by itself."""

    @property
    def version(self) -> str:
        """As `--version` says."""
        command = [find(self.name) or self.name, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout.split()[2]

    @abstractmethod
    def command(self, address: str, tag: str) -> list[str]:
        """What pulls."""

    def pull(self, address: str, tag: str) -> tuple[float, float | None]:
        """Run it; the kernel keeps account of its memory."""
        with (self.base / "output").open("w+b") as output:
            process = subprocess.Popen(self.command(address, tag), stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                raise FailedError(f"{self.name}: {output.read()[-500:].decode().strip()}")
        return usage.ru_maxrss / 1024, None

    def stop(self) -> None:
        """It has ended."""


class Skopeo(CommandPuller):
    """`skopeo copy` to an OCI layout: no layer is unpacked."""

    def command(self, address: str, tag: str) -> list[str]:
        """Both images share a layout, and so their layers."""
        source, target = f"docker://{address}/{NAME}:{tag}", f"oci:{self.base}/layout:{tag}"
        return [find("skopeo") or "skopeo", "copy", "--src-tls-verify=false", source, target]


class Podman(CommandPuller):
    """`podman pull` into an overlay store."""

    def command(self, address: str, tag: str) -> list[str]:
        """With storage of its own."""
        return [
            find("podman") or "podman",
            *("--root", str(self.base / "root"), "--runroot", str(self.base / "run")),
            *("--storage-driver", "overlay", "pull", "--tls-verify=false"),
            f"{address}/{NAME}:{tag}",
        ]


def measured(puller: Puller, registry: Registry, tag: str, layers: set[str]) -> Pull:
    """One pull of NAME:`tag` whose `layers` have these digests."""
    os.sync()  # nobody pays for what others wrote
    begin = _settled(registry.log)
    clock = time.perf_counter()
    peak, tree = puller.pull(registry.address, tag)
    seconds = time.perf_counter() - clock
    _settled(registry.log)
    with registry.log.open() as log:
        log.seek(begin)
        served = [(digest, int(size)) for digest, size in _SERVED.findall(log.read())]
    sent = [(digest, size) for digest, size in served if digest in layers]
    total = sum(size for _, size in sent) / 1e6
    return Pull(seconds, peak, tree, Transferred(len({digest for digest, _ in sent}), total))


def _settled(log: Path) -> int:
    """The size of a log once nothing is added: requests are logged after their end."""
    size = -1
    while (now := log.stat().st_size) != size:
        size = now
        time.sleep(0.1)
    return size


class _Memory:
    """The most that a process and all below it had in memory at one time, in bytes."""

    def __init__(self) -> None:
        self.most = 0


@contextmanager
def _watched(pid: int) -> Iterator[_Memory]:
    memory, over = _Memory(), threading.Event()

    def watch() -> None:
        while not over.wait(_PERIOD):
            memory.most = max(memory.most, sum(_resident(one) for one in _tree(pid)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return
    for thread in threads:
        for child in read_proc(pid, f"task/{thread}/children").split():
            yield from _tree(int(child))


def _resident(pid: int) -> int:
    fields = read_proc(pid, "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _forget_peak(pid: int) -> None:
    """proc_pid_clear_refs(5): 5 resets the peak to what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> float:
    for line in read_proc(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"no process {pid}")
