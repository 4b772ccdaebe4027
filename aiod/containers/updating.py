"""Changes what a container may use, and whether it is started again, also while it runs.

The record first, with what was there before, then the kernel: a daemon that dies in between
finds the old limits on record beside the new, and has the kernel follow. Must not know HTTP.
"""

import asyncio
import contextlib
import os

import msgspec

from aiod import failpoints
from aiod.containers import limits, resources
from aiod.containers.admission import check_restart_policy
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.happenings import event
from aiod.containers.ledger import Ledger
from aiod.containers.remnants import Remnants
from aiod.errors import ConflictError, InternalError, UnsupportedError
from aiod.native.errors import NativeError
from aiod.store.models import HostConfig
from aiod.store.records import Status

RECORDED = failpoints.declare("update.recorded")
APPLIED = failpoints.declare("update.applied")

_GONE = (Status.DEAD, Status.REMOVING)
# Zero, or nothing, leaves each as it is.
_CHANGEABLE = (
    "BlkioWeight", "CpuShares", "NanoCpus", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems",
    "Memory", "MemorySwap", "MemoryReservation", "PidsLimit",
)  # fmt: skip
_NOTHING = HostConfig()
_MEANINGLESS = (("MemorySwappiness", -1),)
_TAKEN = (
    ("NanoCpus", "CpuPeriod", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("NanoCpus", "CpuQuota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("CpuPeriod", "NanoCpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("CpuQuota", "NanoCpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)


class Updater:
    """Updates one daemon's containers."""

    def __init__(self, directory: Directory, ledger: Ledger, remnants: Remnants) -> None:
        self._directory = directory
        self._ledger = ledger
        self._remnants = remnants

    async def update(self, reference: str, asked: HostConfig) -> tuple[str, ...]:
        """Give it what `asked` says; returns warnings.

        Raises InvalidParameterError for what cannot be, ConflictError for what does not go with
        the container, InternalError where the kernel refuses; then nothing has changed.
        """
        asked, warnings = check(asked)
        entry = self._directory.find(reference)
        async with entry.verb:
            self._directory.find(entry.record.id)
            try:
                await self._update(entry, asked)
            except (ConflictError, InternalError) as error:
                told = f"Cannot update container {entry.record.id}: {error.message}"
                raise type(error)(told) from error
        return warnings

    async def _update(self, entry: Entry, asked: HostConfig) -> None:
        if entry.record.state.status in _GONE:
            raise ConflictError('container is marked for removal and cannot be "update"')
        before = entry.record.host
        after = merged(before, asked)
        await self._ledger.rewrite(entry, host=after, host_before=before)
        failpoints.reach(RECORDED)
        try:
            await self._apply(entry, after)
        except NativeError as error:
            await self._undo(entry, before)
            raise InternalError(str(error)) from error
        failpoints.reach(APPLIED)
        await self._ledger.rewrite(entry, (event(entry.record, "update"),), host_before=None)

    async def _undo(self, entry: Entry, before: HostConfig) -> None:
        """Some of the limits may have been set before the one that was refused."""
        with contextlib.suppress(NativeError):
            await self._apply(entry, before)
        await self._ledger.rewrite(entry, host=before, host_before=None)

    async def _apply(self, entry: Entry, host: HostConfig) -> None:
        if entry.record.state.status in RUNNING:
            group = self._remnants.cgroup(entry.record.id)
            await asyncio.to_thread(group.update, resources.changeable(host))

    async def recover(self) -> None:
        """Finish what a dead daemon was at."""
        for entry in list(self._directory.by_id.values()):
            before = entry.record.host_before
            if before is None:
                continue
            async with entry.verb:
                try:
                    await self._apply(entry, entry.record.host)
                except NativeError:
                    await self._undo(entry, before)
                else:
                    told = (event(entry.record, "update"),)
                    await self._ledger.rewrite(entry, told, host_before=None)


def check(asked: HostConfig) -> tuple[HostConfig, tuple[str, ...]]:
    """What of `asked` this kernel can do, and warnings of the rest.

    Raises InvalidParameterError, and UnsupportedError for what only a create can set.
    """
    _refuse_what_create_sets(asked)
    limits.check(asked, os.cpu_count() or 1, resources.MEMORY_NODES, update=True)
    resources.check(asked)
    if asked.RestartPolicy.Name:
        check_restart_policy(asked)
    unlimited = asked.PidsLimit is not None and asked.PidsLimit <= 0
    possible, warnings = resources.possible(asked)
    return msgspec.structs.replace(
        possible, PidsLimit=0 if unlimited else asked.PidsLimit
    ), warnings


def _refuse_what_create_sets(asked: HostConfig) -> None:
    """Clients send all fields they know: those that are empty ask for nothing."""
    for name in HostConfig.__struct_fields__:
        value = getattr(asked, name)
        if name in _CHANGEABLE or name == "RestartPolicy" or value is msgspec.UNSET:
            continue
        if value and value != getattr(_NOTHING, name) and (name, value) not in _MEANINGLESS:
            raise UnsupportedError(f"update: {name} is not supported by aiod: create sets it")


def merged(host: HostConfig, asked: HostConfig) -> HostConfig:
    """`host` with what is asked for. Raises ConflictError, in dockerd's words."""
    for name, taken, told in _TAKEN:
        if getattr(asked, name) > 0 and getattr(host, taken) > 0:
            raise ConflictError(f"Conflicting options: {told}")
    swap = host.MemorySwap or 2 * host.Memory
    if asked.Memory and asked.Memory > swap and not asked.MemorySwap:
        raise ConflictError(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    changes: dict[str, object] = {
        name: getattr(asked, name)
        for name in _CHANGEABLE
        if getattr(asked, name) or (name == "PidsLimit" and asked.PidsLimit is not None)
    }
    if asked.Memory and not asked.MemorySwap and not host.MemorySwap:
        changes["MemorySwap"] = swap  # what it was by default is not to change with the memory
    if asked.RestartPolicy.Name:
        if host.AutoRemove and asked.RestartPolicy.Name != "no":
            raise ConflictError(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        changes["RestartPolicy"] = asked.RestartPolicy
    return msgspec.structs.replace(host, **changes)
