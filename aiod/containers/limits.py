"""Which values of resource limits are possible, refused in dockerd's words.

Pure; must not know which limits are carried out, nor how.
"""

import re

from aiod.errors import InvalidParameterError
from aiod.native.processsteps import RLIMITS
from aiod.store.models import HostConfig, Ulimit

_LEAST_MEMORY = 6 << 20
_PERIODS = (1000, 1_000_000)  # microseconds
_LEAST_QUOTA = 1000  # microseconds
_NUMBER = re.compile(r"[0-9]{1,6}\Z")
_SCORES = (-1000, 1000)


def check(host: HostConfig, cpus: int, nodes: int, *, update: bool = False) -> None:
    """Raise InvalidParameterError for what cannot be.

    `cpus` and memory `nodes` are how many the machine has. An `update` may say a part of what is
    there.
    """
    _check_memory(host, update=update)
    _check_cpu(host, cpus)
    _check_cpuset("cpus", "CPUs", host.CpusetCpus, cpus)
    _check_cpuset("mems", "memory nodes", host.CpusetMems, nodes)
    if host.ShmSize < 0:
        raise InvalidParameterError("SHM size can not be less than 0")
    if not _SCORES[0] <= host.OomScoreAdj <= _SCORES[1]:
        raise InvalidParameterError(
            f"Invalid value {host.OomScoreAdj}, range for oom score adj is [-1000, 1000]"
        )
    for ulimit in host.Ulimits or ():
        _check_ulimit(ulimit)


def _check_memory(host: HostConfig, *, update: bool) -> None:
    if host.Memory and host.Memory < _LEAST_MEMORY:
        raise InvalidParameterError("Minimum memory limit allowed is 6MB")
    if host.MemoryReservation and host.MemoryReservation < _LEAST_MEMORY:
        raise InvalidParameterError("Minimum memory reservation allowed is 6MB")
    if host.Memory and host.Memory < host.MemoryReservation:
        raise InvalidParameterError(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if host.MemorySwap > 0 and not host.Memory and not update:
        raise InvalidParameterError(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < host.MemorySwap < host.Memory:
        raise InvalidParameterError(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )


def _check_cpu(host: HostConfig, cpus: int) -> None:
    if host.NanoCpus and (host.CpuQuota or host.CpuPeriod):
        other = "Quota" if host.CpuQuota else "Period"
        raise InvalidParameterError(
            f"Conflicting options: Nano CPUs and CPU {other} cannot both be set."
        )
    if not 0 <= host.NanoCpus <= cpus * 10**9:
        raise InvalidParameterError(
            f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if host.CpuPeriod and not _PERIODS[0] <= host.CpuPeriod <= _PERIODS[1]:
        raise InvalidParameterError(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.CpuQuota < _LEAST_QUOTA:
        raise InvalidParameterError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.CpuShares < 0:
        raise InvalidParameterError(
            f"invalid CPU shares ({host.CpuShares}): value must be a positive integer"
        )


def _check_cpuset(kind: str, things: str, text: str, available: int) -> None:
    """The list format of cpuset(7): `0-2,5`."""
    if not text:
        return
    last = -1
    for part in text.split(","):
        first, dash, end = part.partition("-")
        end = end if dash else first
        numbers = [int(number) for number in (first, end) if _NUMBER.match(number)]
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            raise InvalidParameterError(
                f"Invalid value {text} for cpuset {kind}: invalid format: {part}"
            )
        last = max(last, numbers[1])
    if last >= available:
        there = f"0-{available - 1}" if available > 1 else "0"
        raise InvalidParameterError(
            f"Requested {things} are not available - requested {text}, available: {there}"
        )


def _check_ulimit(limit: Ulimit) -> None:
    if f"RLIMIT_{limit.Name.upper()}" not in RLIMITS:
        raise InvalidParameterError(f"invalid ulimit type: {limit.Name}")
    if limit.Hard != -1 and not -1 < limit.Soft <= limit.Hard:
        raise InvalidParameterError(
            "ulimit soft limit must be less than or equal to hard limit: "
            f"{limit.Soft} > {limit.Hard}"
        )
