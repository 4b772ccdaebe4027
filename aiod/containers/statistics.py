"""What containers use, sampled once a second for as long as somebody looks.

One sampler for all who look at the same container; the daemon reads the kernel's files itself,
so that no shim wakes up. Must not know HTTP, nor the files' forms.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from aiod.containers import resources
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.owned import OwnedTasks
from aiod.native import cgroupusage, proc
from aiod.native.cgroupusage import HostCpu, Usage
from aiod.store.records import RunState

INTERVAL = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Counters:
    """What one interface of a network has carried since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a running container; `networks` is None where it has none of its own."""

    time_ns: int
    usage: Usage
    host: HostCpu
    networks: dict[str, Counters] | None


@dataclass(slots=True)
class _Sampler:
    """One container's samples; `arrived` is replaced with each."""

    readers: int = 0
    latest: Sample | None = None
    arrived: "asyncio.Future[None] | None" = None
    task: "asyncio.Task[None] | None" = None
    over: bool = field(default=False)


class Statistics:
    """Samples of one daemon's containers."""

    def __init__(self, directory: Directory, tasks: OwnedTasks, cgroup_parent: str) -> None:
        self._directory = directory
        self._tasks = tasks
        self._parent = cgroup_parent
        self._samplers: dict[str, _Sampler] = {}

    async def now(self, reference: str) -> Sample | None:
        """One sample; None of a container that does not run."""
        return await self._sample(self._directory.find(reference))

    async def follow(self, reference: str) -> AsyncGenerator[Sample | None, None]:
        """A sample now and then one a second, until the container is removed.

        None while it does not run. Who takes them slowly misses some.
        """
        entry = self._directory.find(reference)
        sampler = self._samplers.setdefault(entry.record.id, _Sampler())
        sampler.readers += 1
        if sampler.task is None:
            sampler.arrived = asyncio.get_running_loop().create_future()
            name = f"statistics of {entry.record.id[:12]}"
            sampler.task = self._tasks.own(self._run(entry, sampler), name)
        try:
            while sampler.arrived is not None:
                await asyncio.shield(sampler.arrived)
                if sampler.over:
                    return
                yield sampler.latest
        finally:
            sampler.readers -= 1
            if sampler.readers == 0 and sampler.task is not None:
                self._forget(entry, sampler)  # at once: the next reader gets another
                sampler.task.cancel()

    async def _run(self, entry: Entry, sampler: _Sampler) -> None:
        loop = asyncio.get_running_loop()
        try:
            while entry.record.id in self._directory.by_id:
                begun = loop.time()
                sampler.latest = await self._sample(entry)
                _tell(sampler, loop.create_future())
                await asyncio.sleep(max(0.0, begun + INTERVAL - loop.time()))
        finally:
            self._forget(entry, sampler)
            sampler.over = True
            _tell(sampler, None)

    def _forget(self, entry: Entry, sampler: _Sampler) -> None:
        if self._samplers.get(entry.record.id) is sampler:
            del self._samplers[entry.record.id]

    async def _sample(self, entry: Entry) -> Sample | None:
        state = entry.record.state
        if state.status not in RUNNING:
            return None
        path = f"{self._parent}/{entry.record.id}"
        return await asyncio.to_thread(_look, path, state)


def _tell(sampler: _Sampler, following: "asyncio.Future[None] | None") -> None:
    told, sampler.arrived = sampler.arrived, following
    if told is not None and not told.done():
        told.set_result(None)


def _look(path: str, state: RunState) -> Sample | None:
    host = cgroupusage.host_cpu()
    usage = cgroupusage.read(resources.layout(), path)
    if usage is None:
        return None
    return Sample(time.time_ns(), usage, host, _networks(state))


def _networks(state: RunState) -> dict[str, Counters] | None:
    """Of the init's namespace, unless it is the host's; None if the init is gone."""
    base = Path(f"/proc/{state.pid}")
    try:
        if os.readlink(base / "ns/net") == os.readlink("/proc/self/ns/net"):
            return None
        text = (base / "net/dev").read_text()
    except OSError:
        return None
    if not proc.is_same(state.pid, state.pid_start):
        return None
    return {name: counters for name, counters in map(_counters, text.splitlines()[2:])
            if name != "lo"}  # fmt: skip


def _counters(line: str) -> tuple[str, Counters]:
    """A line of proc_pid_net(5), `dev`."""
    name, _, rest = line.partition(":")
    numbers = list(map(int, rest.split()))
    return name.strip(), Counters(*numbers[0:4], *numbers[8:12])
