"""A container's limits: Docker's options turned into the runtime's, and what this host discards.

Owns the conversion and dockerd's words of what a kernel cannot do; must not know cgroups' files.
"""

import os
from functools import cache
from pathlib import Path

import msgspec

from aiod.containers import devices
from aiod.errors import InvalidParameterError
from aiod.native import spec
from aiod.native.cgroups import Layout, detect_layout
from aiod.store.models import HostConfig, ThrottleDevice, WeightDevice

_THROTTLES = (
    "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps",
)  # fmt: skip
_PERIOD = 100_000


def _memory_nodes() -> int:
    """One more than the last, by sysfs's list of them."""
    try:
        listed = Path("/sys/devices/system/node/online").read_text().strip()
    except OSError:  # a kernel without NUMA
        return 1
    return int(listed.replace("-", ",").rpartition(",")[2] or 0) + 1


MEMORY_NODES = _memory_nodes()  # of the machine; they do not change while it runs
_DISCARDED = "or the cgroup is not mounted. {} discarded."


@cache
def layout() -> Layout:
    """The host's hierarchies, which do not change while it runs."""
    return detect_layout()


def is_unified() -> bool:
    """Whether version 2 alone is there, where Docker's defaults are others."""
    return not layout().v1


def check(host: HostConfig) -> None:
    """Raise InvalidParameterError, in dockerd's words, for impossible values."""
    _check_rates(host)
    weights = [host.BlkioWeight, *(entry.Weight for entry in host.BlkioWeightDevice or ())]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise InvalidParameterError("Range of blkio weight is from 10 to 1000")
    swappiness = host.MemorySwappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidParameterError(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )
    devices.check(host)


def _check_rates(host: HostConfig) -> None:
    for name in _THROTTLES:
        for entry in getattr(host, name) or ():
            if entry.Rate < 0:
                raise InvalidParameterError(f"{name}: a rate cannot be negative: {entry.Rate}")


def possible(host: HostConfig) -> tuple[HostConfig, tuple[str, ...]]:
    """`host` without the limits that this kernel has not, and a warning for each, as dockerd."""
    left: dict[str, object] = {}
    if host.MemorySwappiness == -1:
        left["MemorySwappiness"] = None
    if host.PidsLimit is not None and host.PidsLimit <= 0:
        left["PidsLimit"] = None
    warnings = []
    if host.OomKillDisable and not host.Memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    if is_unified() and host.OomKillDisable:
        left["OomKillDisable"] = None
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    if is_unified() and host.MemorySwappiness not in (None, -1):
        left["MemorySwappiness"] = None
        warnings.append(
            "Your kernel does not support memory swappiness capabilities "
            + _DISCARDED.format("Memory swappiness")
        )
    if host.BlkioWeight and not _has_weights(""):
        left["BlkioWeight"] = 0
        warnings.append(
            "Your kernel does not support Block I/O weight " + _DISCARDED.format("Weight")
        )
    if host.BlkioWeightDevice and not _has_weights("_device"):
        left["BlkioWeightDevice"] = None
        warnings.append(
            "Your kernel does not support Block I/O weight_device "
            + _DISCARDED.format("Weight-device")
        )
    return msgspec.structs.replace(host, **left), tuple(warnings)


def _has_weights(suffix: str) -> bool:
    found = layout()
    if "blkio" in found.v1:
        names = (f"blkio.weight{suffix}", f"blkio.bfq.weight{suffix}")
        return any((found.v1["blkio"] / name).exists() for name in names)
    # The root of version 2 has no such file: its children have it with the controller.
    return "io" in found.unified_controllers


def of(host: HostConfig) -> spec.Resources:
    """The limits; blocking. Raises InvalidParameterError for devices that are not there."""
    return spec.Resources(
        devices=devices.rules(host),
        memory=_memory(host),
        cpu=_cpu(host),
        pids=spec.Pids(host.PidsLimit) if host.PidsLimit else None,
        block_io=_block_io(host),
    )


def changeable(host: HostConfig) -> spec.Resources:
    """Those limits that may change while the container runs; all of them are said."""
    return spec.Resources(
        memory=_memory(host),
        cpu=_cpu(host),
        pids=None if host.PidsLimit is None else spec.Pids(host.PidsLimit or -1),
        block_io=spec.BlockIO(weight=host.BlkioWeight) if host.BlkioWeight else None,
    )


def _memory(host: HostConfig) -> spec.Memory | None:
    swappiness = host.MemorySwappiness
    memory = spec.Memory(
        limit=host.Memory or None,
        reservation=host.MemoryReservation or None,
        swap=(host.MemorySwap or 2 * host.Memory) or None,
        swappiness=None if swappiness == -1 else swappiness,
        disable_oom_killer=bool(host.OomKillDisable),
    )
    return memory if memory != spec.Memory() else None


def _cpu(host: HostConfig) -> spec.Cpu | None:
    quota, period = host.CpuQuota or None, host.CpuPeriod or None
    if host.NanoCpus:
        quota, period = host.NanoCpus * _PERIOD // 10**9, _PERIOD
    cpu = spec.Cpu(
        shares=host.CpuShares or None, quota=quota, period=period,
        cpus=host.CpusetCpus, mems=host.CpusetMems,
    )  # fmt: skip
    return cpu if cpu != spec.Cpu() else None


def _block_io(host: HostConfig) -> spec.BlockIO | None:
    limits = spec.BlockIO(
        weight=host.BlkioWeight or None,
        weight_device=tuple(map(_weight, host.BlkioWeightDevice or ())),
        throttle_read_bps_device=tuple(map(_throttle, host.BlkioDeviceReadBps or ())),
        throttle_write_bps_device=tuple(map(_throttle, host.BlkioDeviceWriteBps or ())),
        throttle_read_iops_device=tuple(map(_throttle, host.BlkioDeviceReadIOps or ())),
        throttle_write_iops_device=tuple(map(_throttle, host.BlkioDeviceWriteIOps or ())),
    )
    return limits if limits != spec.BlockIO() else None


def _weight(entry: WeightDevice) -> spec.WeightDevice:
    return spec.WeightDevice(*_numbers(entry.Path), weight=entry.Weight)


def _throttle(entry: ThrottleDevice) -> spec.ThrottleDevice:
    return spec.ThrottleDevice(*_numbers(entry.Path), rate=entry.Rate)


def _numbers(path: str) -> tuple[int, int]:
    try:
        number = os.stat(path).st_rdev
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidParameterError(f"stat {path}: {reason}") from error
    return os.major(number), os.minor(number)
