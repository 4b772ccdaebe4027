"""A container's cgroup in every hierarchy this host has: v1, v2 or both.

Owns the files of the controllers, on the hierarchies that `cgrouplayout` finds; must not know
what a container is. Sources: cgroups(7), the kernel's `admin-guide/cgroup-v1/` and
`admin-guide/cgroup-v2.rst`; the conversion of shares to weights is that of the OCI runtime
specification's implementations: 1 + (shares - 2) * 9999 / 262142.
"""

import contextlib
import os
import select
import signal
from errno import EINVAL
from pathlib import Path

from aiod.native import spec
from aiod.native.cgrouplayout import Layout, detect_layout
from aiod.native.errors import NativeError

__all__ = ["Cgroup", "Layout", "detect_layout", "io_weight", "weight"]

_EVENT_SECONDS = 10.0  # how long a freeze or the end of killed processes is waited for
_ROUNDS = 200
_UNLIMITED_ABOVE = 1 << 62


def weight(shares: int) -> int:
    """cpu.weight for v1 shares of 2 to 262144."""
    return 1 + ((min(max(shares, 2), 262_144) - 2) * 9_999) // 262_142


def io_weight(weight: int) -> int:
    """io.weight for a v1 weight of 10 to 1000, as OCI runtimes convert it."""
    return 1 + (min(max(weight, 10), 1000) - 10) * 9_999 // 990


class Cgroup:
    """One path below the root of every hierarchy."""

    def __init__(self, layout: Layout, path: str) -> None:
        self.path = path
        self._layout = layout
        self._relative = path.strip("/")
        self._directories = [root / self._relative for root in layout.roots()]

    def directory(self, controller: str) -> Path | None:
        """Where a controller's files are; None if this host does not have it."""
        if controller in self._layout.v1:
            return self._layout.v1[controller] / self._relative
        unified = self._layout.unified
        if unified is not None and controller in self._layout.unified_controllers:
            return unified / self._relative
        return None

    def _is_v2(self, controller: str) -> bool:
        return controller not in self._layout.v1

    def create(self) -> None:
        """Make the directories; those that are there are taken. Raises NativeError."""
        for root, directory in zip(self._layout.roots(), self._directories, strict=True):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise NativeError(f'make cgroup "{directory}"', error.errno or 0) from error
            if root == self._layout.unified:
                self._delegate(root)
        cpuset = self._layout.v1.get("cpuset")
        if cpuset is not None:
            self._seed_cpuset(cpuset)

    def _delegate(self, root: Path) -> None:
        """Let the children of every ancestor use the controllers (v2, "Enabling")."""
        if not self._layout.unified_controllers:
            return
        words = " ".join(f"+{name}" for name in sorted(self._layout.unified_controllers))
        current = root
        for part in Path(self._relative).parts:
            # A controller that is refused shows when a limit needs it.
            with contextlib.suppress(OSError):
                (current / "cgroup.subtree_control").write_text(words)
            current /= part

    def _seed_cpuset(self, root: Path) -> None:
        current = root
        for part in Path(self._relative).parts:
            parent, current = current, current / part
            for name in ("cpuset.cpus", "cpuset.mems"):
                try:
                    if not (current / name).read_text().strip():
                        _write(current / name, (parent / name).read_text().strip())
                except OSError as error:
                    raise NativeError(f"cgroup {name}", error.errno or 0) from error

    def add(self, pid: int) -> None:
        """Move a process into it, in every hierarchy. Raises NativeError."""
        for directory in self._directories:
            _write(directory / "cgroup.procs", str(pid))

    def into_fd(self) -> int | None:
        """A descriptor for CLONE_INTO_CGROUP where the unified hierarchy is the only one."""
        if self._layout.v1 or self._layout.unified is None:
            return None
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        return os.open(self._layout.unified / self._relative, flags)

    # limits

    def apply(self, resources: spec.Resources) -> None:
        """Set every limit asked for. Raises NativeError naming the file or the controller."""
        if resources.memory:
            self._memory(resources.memory)
        if resources.cpu:
            self._cpu(resources.cpu)
        if resources.pids and resources.pids.limit != 0:
            limit = resources.pids.limit
            self._set("pids", "pids.max", "pids.max", "max" if limit < 0 else str(limit))
        if resources.block_io:
            self._block_io(resources.block_io)
        self._devices(resources.devices)
        for limit_ in resources.hugepage_limits:
            name = f"hugetlb.{limit_.page_size}"
            value = str(limit_.limit)
            self._set("hugetlb", f"{name}.limit_in_bytes", f"{name}.max", value)
        for name, value in resources.unified.items():
            if self._layout.unified is None or "/" in name:
                raise NativeError(f"cgroup {name}", 22, "not a file of the unified hierarchy")
            _write(self._layout.unified / self._relative / name, value)

    def update(self, resources: spec.Resources) -> None:
        """Change limits of what runs. Raises NativeError naming the file or the controller.

        In version 1 memory may not exceed memory with swap at any instant: whichever order of
        the two works is taken.
        """
        try:
            self.apply(resources)
        except NativeError as error:
            memory = resources.memory
            if error.errno != EINVAL or memory is None or not memory.swap:
                raise
            self._swap(memory.swap, memory.limit or 0, self._is_v2("memory"))
            self.apply(resources)

    def _set(self, controller: str, v1: str, v2: str, value: str) -> None:
        directory = self.directory(controller)
        name = v2 if self._is_v2(controller) else v1
        if directory is None:
            raise NativeError(f"cgroup {name}", 0, f"this host has no {controller} controller")
        if not name:
            raise NativeError(f"cgroup {v1}", 0, "there is no such limit in cgroup v2")
        _write(directory / name, value)

    def _memory(self, memory: spec.Memory) -> None:
        v2 = self._is_v2("memory")
        if memory.limit:
            self._set("memory", "memory.limit_in_bytes", "memory.max", _bytes(memory.limit, v2))
        if memory.reservation:
            value = _bytes(memory.reservation, v2)
            self._set("memory", "memory.soft_limit_in_bytes", "memory.low", value)
        if memory.swap:
            self._swap(memory.swap, memory.limit or 0, v2)
        if memory.swappiness is not None:
            self._set("memory", "memory.swappiness", "", str(memory.swappiness))
        if memory.disable_oom_killer:
            self._set("memory", "memory.oom_control", "", "1")

    def _swap(self, swap: int, limit: int, v2: bool) -> None:
        directory = self.directory("memory")
        name = "memory.swap.max" if v2 else "memory.memsw.limit_in_bytes"
        if directory is not None and not (directory / name).exists():
            return  # the kernel does not account swap: nothing to bound
        value = swap - limit if v2 and swap > 0 else swap
        self._set("memory", name, name, _bytes(value, v2))

    def _cpu(self, cpu: spec.Cpu) -> None:
        v2 = self._is_v2("cpu")
        if cpu.shares:
            value = str(weight(cpu.shares)) if v2 else str(cpu.shares)
            self._set("cpu", "cpu.shares", "cpu.weight", value)
        if v2 and (cpu.quota or cpu.period):
            quota = "max" if not cpu.quota or cpu.quota < 0 else str(cpu.quota)
            self._set("cpu", "", "cpu.max", f"{quota} {cpu.period or 100_000}")
        elif not v2:
            if cpu.period:
                self._set("cpu", "cpu.cfs_period_us", "", str(cpu.period))
            if cpu.quota:
                self._set("cpu", "cpu.cfs_quota_us", "", str(cpu.quota))
        if cpu.realtime_period:
            self._set("cpu", "cpu.rt_period_us", "", str(cpu.realtime_period))
        if cpu.realtime_runtime:
            self._set("cpu", "cpu.rt_runtime_us", "", str(cpu.realtime_runtime))
        if cpu.cpus:
            self._set("cpuset", "cpuset.cpus", "cpuset.cpus", cpu.cpus)
        if cpu.mems:
            self._set("cpuset", "cpuset.mems", "cpuset.mems", cpu.mems)

    def _block_io(self, block: spec.BlockIO) -> None:
        self._weights(block)
        throttles = (
            ("blkio.throttle.read_bps_device", "rbps", block.throttle_read_bps_device),
            ("blkio.throttle.write_bps_device", "wbps", block.throttle_write_bps_device),
            ("blkio.throttle.read_iops_device", "riops", block.throttle_read_iops_device),
            ("blkio.throttle.write_iops_device", "wiops", block.throttle_write_iops_device),
        )
        for v1, v2, devices in throttles:
            for device in devices:
                number = f"{device.major}:{device.minor}"
                if "blkio" in self._layout.v1:
                    self._set("blkio", v1, "", f"{number} {device.rate}")
                else:
                    self._set("io", "", "io.max", f"{number} {v2}={device.rate}")

    def _weights(self, block: spec.BlockIO) -> None:
        """The bfq scheduler's file takes Docker's range and single devices; others do not."""
        v1 = "blkio" in self._layout.v1
        controller, prefix = ("blkio", "blkio") if v1 else ("io", "io")
        directory = self.directory(controller)
        bfq = directory is not None and (directory / f"{prefix}.bfq.weight").exists()
        if block.weight:
            value = str(block.weight if v1 or bfq else io_weight(block.weight))
            self._set(
                controller,
                "blkio.bfq.weight" if bfq else "blkio.weight",
                "io.bfq.weight" if bfq else "io.weight",
                value,
            )
        for device in block.weight_device:
            name = "blkio.bfq.weight_device" if bfq else "blkio.weight_device"
            value = f"{device.major}:{device.minor} {device.weight or 0}"
            self._set(controller, name, "io.bfq.weight", value)

    def _devices(self, rules: tuple[spec.DeviceCgroup, ...]) -> None:
        directory = self._layout.v1.get("devices")
        if not rules:
            return
        if directory is None:
            self._filter_devices(rules)
            return
        for rule in rules:
            name = "devices.allow" if rule.allow else "devices.deny"
            major = "*" if rule.major is None or rule.major < 0 else str(rule.major)
            minor = "*" if rule.minor is None or rule.minor < 0 else str(rule.minor)
            everything = rule.type in ("a", "") and major == minor == "*"
            text = "a" if everything else f"{rule.type} {major}:{minor} {rule.access}"
            _write(directory / self._relative / name, text)

    def _filter_devices(self, rules: tuple[spec.DeviceCgroup, ...]) -> None:
        """Version 2 has no files for it; a hybrid host may have no devices controller at all."""
        from aiod.native import devicefilter  # nothing of it is needed where version 1 rules

        if self._layout.unified is not None:
            devicefilter.attach(rules, self._layout.unified / self._relative)

    # processes

    def processes(self) -> list[int]:
        """Pids of every process in it or below it, in any hierarchy."""
        found: set[int] = set()
        for directory in self._directories:
            for where, _, _ in os.walk(directory):
                with contextlib.suppress(OSError):
                    found.update(map(int, Path(where, "cgroup.procs").read_text().split()))
        return sorted(found)

    def freeze(self) -> None:
        """Stop every process, and return when all are stopped. Raises NativeError."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Let them go on. Raises NativeError."""
        self._set_frozen(False)

    def frozen(self) -> bool:
        """Whether it was told to stop its processes; false if it is gone."""
        v1 = self._layout.v1.get("freezer")
        try:
            if v1 is not None:
                return (v1 / self._relative / "freezer.state").read_text().strip() != "THAWED"
            assert self._layout.unified is not None
            frozen = (self._layout.unified / self._relative / "cgroup.freeze").read_text()
            return frozen.strip() == "1"
        except OSError:
            return False

    def _set_frozen(self, frozen: bool) -> None:
        v1 = self._layout.v1.get("freezer")
        if v1 is not None:
            file, word = v1 / self._relative / "freezer.state", "FROZEN" if frozen else "THAWED"
            for _ in range(_ROUNDS):
                _write(file, word)
                if file.read_text().strip() == word:
                    return
                select.select((), (), (), _EVENT_SECONDS / _ROUNDS)  # v1 tells nobody
            _write(file, "THAWED")
            raise NativeError("cgroup freezer.state", 0, "the processes did not stop in time")
        assert self._layout.unified is not None
        directory = self._layout.unified / self._relative
        _write(directory / "cgroup.freeze", "1" if frozen else "0")
        self._await_event(directory, "frozen", "1" if frozen else "0")

    def _await_event(self, directory: Path, key: str, wanted: str) -> None:
        with (directory / "cgroup.events").open() as events:
            poller = select.poll()
            poller.register(events, select.POLLPRI)
            for _ in range(_ROUNDS):
                events.seek(0)
                if dict(line.split() for line in events).get(key) == wanted:
                    return
                poller.poll(int(_EVENT_SECONDS * 1000 / _ROUNDS))
        raise NativeError(f"cgroup {key}", 0, "did not happen in time")

    def kill_all(self) -> None:
        """SIGKILL to every process, also to those that fork meanwhile; returns at once."""
        unified = self._layout.unified
        if unified is not None:
            with contextlib.suppress(OSError):
                (unified / self._relative / "cgroup.kill").write_text("1")
        for _ in range(_ROUNDS):
            pids = self.processes()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(NativeError, OSError):
                self.thaw()
            select.select((), (), (), 0.005)  # the dead leave the cgroup when they are reaped

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for memory."""
        directory = self.directory("memory")
        if directory is None:
            return 0
        name = "memory.events" if self._is_v2("memory") else "memory.oom_control"
        try:
            lines = (directory / name).read_text().splitlines()
        except OSError:
            return 0
        counts = dict(line.split() for line in lines)
        return int(counts.get("oom_kill", 0))

    def remove(self) -> None:
        """Kill what is left and take the directories away; no error if they are gone."""
        self.kill_all()
        for directory in self._directories:
            for where, _, _ in os.walk(directory, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    _remove(Path(where))

    def exists(self) -> bool:
        """Whether any of its directories is there."""
        return any(directory.exists() for directory in self._directories)


def _remove(directory: Path) -> None:
    for attempt in range(_ROUNDS):
        try:
            directory.rmdir()
        except OSError as error:
            if isinstance(error, FileNotFoundError) or attempt == _ROUNDS - 1:
                raise
            select.select((), (), (), 0.005)
        else:
            return


def _bytes(value: int, v2: bool) -> str:
    if value < 0 or value >= _UNLIMITED_ABOVE:
        return "max" if v2 else "-1"
    return str(value)


def _write(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NativeError(f"cgroup {file.name}", error.errno or 0) from error
