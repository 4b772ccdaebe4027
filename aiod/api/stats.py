"""`GET /containers/{id}/stats`: samples in the form that clients compute percentages from.

Must not know where samples come from.
"""

import contextlib
import os

from aiohttp import web

from aiod.api import params, replies
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.containers.statistics import Sample
from aiod.errors import InvalidParameterError
from aiod.native.cgroupusage import BlockCount, CpuUsage, MemoryUsage
from aiod.store.records import ContainerRecord
from aiod.wire.times import ZERO, rfc3339

Json = dict[str, object]

_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
_NOTHING: Json = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}
_NOT_TOLD = (
    "io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive",
    "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip


class StatsRoutes:
    """`stats`."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/containers/{id}/stats", self._stats, interruptible=True)]

    async def _stats(self, call: Call) -> web.StreamResponse:
        query = call.query()
        stream = params.boolean(query, "stream", default=True)
        at_once = params.boolean(query, "one-shot")
        if stream and at_once:
            raise InvalidParameterError("cannot have stream=true and one-shot=true")
        record = self._containers.get(call.id)
        if stream:
            return await self._follow(call, record)
        return replies.json(await (self._now(record) if at_once else self._once(record)))

    async def _now(self, record: ContainerRecord) -> Json:
        return document(record, await self._containers.statistics.now(record.id), None)

    async def _once(self, record: ContainerRecord) -> Json:
        """Two looks, a second apart: clients compute a rate from one answer."""
        before: Sample | None = None
        async with contextlib.aclosing(self._containers.statistics.follow(record.id)) as samples:
            async for sample in samples:
                if sample is None or before is not None:
                    return document(self._named(record), sample, before)
                before = sample
        return document(record, None, None)

    async def _follow(self, call: Call, record: ContainerRecord) -> web.StreamResponse:
        before: Sample | None = None
        async with (
            replies.JsonLines(call, end=b"\n") as lines,
            contextlib.aclosing(self._containers.statistics.follow(record.id)) as samples,
        ):
            async for sample in samples:
                await lines.send(document(self._named(record), sample, before))
                before = sample
        return lines.response

    def _named(self, record: ContainerRecord) -> ContainerRecord:
        """With the name of now."""
        found = self._containers.list()
        return next((now for now in found if now.id == record.id), record)


def document(record: ContainerRecord, sample: Sample | None, before: Sample | None) -> Json:
    """One answer; without a sample that of a container that does not run."""
    usage = sample.usage if sample else None
    pids = {"current": usage.pids, "limit": usage.pids_limit} if usage else {}
    found: Json = {
        "name": f"/{record.name}",
        "id": record.id,
        "read": rfc3339(sample.time_ns) if sample else ZERO,
        "preread": rfc3339(before.time_ns) if before else ZERO,
        "pids_stats": {key: value for key, value in pids.items() if value},
        "blkio_stats": _block(sample),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample) if sample else _NOTHING,
        "precpu_stats": _cpu(before) if before else _NOTHING,
        "memory_stats": _memory(usage.memory) if usage else {},
    }
    if sample is not None and sample.networks:
        found["networks"] = sample.networks
    return found


def _cpu(sample: Sample) -> Json:
    cpu = sample.usage.cpu
    return {
        "cpu_usage": _times(cpu),
        "system_cpu_usage": sample.host.total_ns,
        "online_cpus": sample.host.online,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_ns,
        },
    }


def _times(cpu: CpuUsage) -> Json:
    per_cpu = {"percpu_usage": cpu.per_cpu_ns} if cpu.per_cpu_ns else {}
    return {
        "total_usage": cpu.total_ns,
        **per_cpu,
        "usage_in_kernelmode": cpu.system_ns,
        "usage_in_usermode": cpu.user_ns,
    }


def _memory(memory: MemoryUsage) -> Json:
    """Without a limit of its own the machine's memory is one."""
    limit = memory.limit if 0 < memory.limit < _MEMORY else _MEMORY
    more = {"max_usage": memory.max_usage, "failcnt": memory.failures}
    return {
        "usage": memory.usage,
        **{key: value for key, value in more.items() if value},
        "stats": memory.details or {},
        "limit": limit,
    }


def _block(sample: Sample | None) -> Json:
    served = sample.usage.bytes if sample else None
    done = sample.usage.operations if sample else None
    return {
        "io_service_bytes_recursive": _counts(served),
        "io_serviced_recursive": _counts(done),
        **dict.fromkeys(_NOT_TOLD, [] if done is not None else None),
    }


def _counts(counts: tuple[BlockCount, ...] | None) -> list[Json] | None:
    if counts is None:
        return None
    return [
        {"major": one.major, "minor": one.minor, "op": one.operation, "value": one.value}
        for one in counts
    ]
