"""What a cgroup uses now, by the files of whichever version each controller has here.

Owns the files' forms; must not know what a container is, nor how usage is shown. Blocking.
Sources: the kernel's `admin-guide/cgroup-v1/` and `admin-guide/cgroup-v2.rst`, proc_stat(5).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiod.native.cgrouplayout import Layout

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_MICRO = 1000
_UNLIMITED_ABOVE = 1 << 62
_NOT_COUNTED = frozenset({"Total"})


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """Times in nanoseconds; `per_cpu` is empty where the kernel does not tell."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Bytes; `limit` 0 for none, `details` those of the kernel, by its names."""

    usage: int = 0
    max_usage: int = 0
    failures: int = 0
    limit: int = 0
    details: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class BlockCount:
    """Of one device, bytes or operations of one kind."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything; `pids_limit` 0 for none, `operations` None where they are not told apart."""

    cpu: CpuUsage
    memory: MemoryUsage
    pids: int
    pids_limit: int
    bytes: tuple[BlockCount, ...] = ()
    operations: tuple[BlockCount, ...] | None = None


@dataclass(frozen=True, slots=True)
class HostCpu:
    """What all processors have done, in nanoseconds, and how many there are."""

    total_ns: int
    online: int


def read(layout: Layout, path: str) -> Usage | None:
    """The usage of the cgroup `path` in every hierarchy; None if it is not there any more."""
    relative = path.strip("/")
    if not any((root / relative).exists() for root in layout.roots()):
        return None
    unified = (layout.unified or Path("/nowhere")) / relative
    found = {name: root / relative for name, root in layout.v1.items()}
    pids = found.get("pids", unified)
    served, done = _block_v1(found["blkio"]) if "blkio" in found else _block_v2(unified)
    return Usage(
        cpu=_cpu_v1(found) if "cpuacct" in found else _cpu_v2(unified),
        memory=_memory_v1(found["memory"]) if "memory" in found else _memory_v2(unified),
        pids=_number(pids / "pids.current"),
        pids_limit=_number(pids / "pids.max"),
        bytes=served,
        operations=done,
    )


def host_cpu() -> HostCpu:
    """All processors (proc_stat(5)): time in every state but waiting as a guest, or stolen."""
    lines = Path("/proc/stat").read_text().splitlines()
    ticks = sum(map(int, lines[0].split()[1:8]))
    online = sum(1 for line in lines if line.startswith("cpu") and line[3].isdigit())
    return HostCpu(ticks * _TICK_NS, online)


def _cpu_v1(found: dict[str, Path]) -> CpuUsage:
    acct = found["cpuacct"]
    spent = _pairs(acct / "cpuacct.stat")
    throttled = _pairs(found.get("cpu", acct) / "cpu.stat")
    return CpuUsage(
        total_ns=_number(acct / "cpuacct.usage"),
        user_ns=spent.get("user", 0) * _TICK_NS,
        system_ns=spent.get("system", 0) * _TICK_NS,
        per_cpu_ns=tuple(map(int, _text(acct / "cpuacct.usage_percpu").split())),
        periods=throttled.get("nr_periods", 0),
        throttled_periods=throttled.get("nr_throttled", 0),
        throttled_ns=throttled.get("throttled_time", 0),
    )


def _cpu_v2(directory: Path) -> CpuUsage:
    found = _pairs(directory / "cpu.stat")
    return CpuUsage(
        total_ns=found.get("usage_usec", 0) * _MICRO,
        user_ns=found.get("user_usec", 0) * _MICRO,
        system_ns=found.get("system_usec", 0) * _MICRO,
        periods=found.get("nr_periods", 0),
        throttled_periods=found.get("nr_throttled", 0),
        throttled_ns=found.get("throttled_usec", 0) * _MICRO,
    )


def _memory_v1(directory: Path) -> MemoryUsage:
    return MemoryUsage(
        usage=_number(directory / "memory.usage_in_bytes"),
        max_usage=_number(directory / "memory.max_usage_in_bytes"),
        failures=_number(directory / "memory.failcnt"),
        limit=_number(directory / "memory.limit_in_bytes"),
        details=_pairs(directory / "memory.stat"),
    )


def _memory_v2(directory: Path) -> MemoryUsage:
    return MemoryUsage(
        usage=_number(directory / "memory.current"),
        failures=_pairs(directory / "memory.events").get("oom", 0),
        limit=_number(directory / "memory.max"),
        details=_pairs(directory / "memory.stat"),
    )


_Counts = tuple[BlockCount, ...]


def _block_v1(directory: Path) -> tuple[_Counts, _Counts | None]:
    return tuple(_rows_v1(directory, "io_service_bytes")), tuple(_rows_v1(directory, "io_serviced"))


def _rows_v1(directory: Path, name: str) -> Iterator[BlockCount]:
    """The files of the scheduler that counts; others are there, and empty."""
    for prefix in ("blkio.bfq", "blkio", "blkio.throttle"):
        rows = [
            line.split() for line in _text(directory / f"{prefix}.{name}_recursive").split("\n")
        ]
        rows = [row for row in rows if len(row) == 3 and row[1] not in _NOT_COUNTED]
        if rows:
            for device, operation, value in rows:
                major, _, minor = device.partition(":")
                yield BlockCount(int(major), int(minor), operation.lower(), int(value))
            return


def _block_v2(directory: Path) -> tuple[_Counts, _Counts | None]:
    found = []
    for line in _text(directory / "io.stat").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        counts = dict(word.split("=", 1) for word in words if "=" in word)
        for key, operation in (("rbytes", "read"), ("wbytes", "write")):
            if key in counts and major.isdigit():
                found.append(BlockCount(int(major), int(minor), operation, int(counts[key])))
    return tuple(found), None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(file: Path) -> int:
    """0 for what is unlimited, or not told."""
    text = _text(file).strip()
    value = int(text) if text.isdigit() else 0
    return value if value < _UNLIMITED_ABOVE else 0


def _pairs(file: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
