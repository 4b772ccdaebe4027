"""Has containers join and leave networks.

Owns the order for one that runs: the record, the kernel, the files that its shim reads, and last
`network.json`, which says what has been done: a change that its daemon did not live to finish is
done again by the next one. Must not know what is chosen for an end of a network, nor netlink.
"""

import asyncio
import dataclasses
import logging
import os
from pathlib import Path

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import networking
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.lifecycle import Lifecycle
from aiod.errors import AiodError, ConflictError, InternalError, NotFoundError
from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.native.network import texts
from aiod.native.network.description import Sandbox
from aiod.networks.changing import Plan
from aiod.networks.hostfiles import Ends
from aiod.networks.names import replace
from aiod.networks.service import NetworkService
from aiod.shim import protocol
from aiod.store.models import EndpointSettings
from aiod.store.records import ContainerRecord, Status

log = logging.getLogger(__name__)

CHANGED = failpoints.declare("network.changed-in-kernel")
TOLD = failpoints.declare("network.shim-told")

_FAILURES = (AiodError, NativeError, OSError)


class Connector:
    """The joining and leaving of one daemon's containers."""

    def __init__(
        self, paths: Paths, networks: NetworkService, directory: Directory, lifecycle: Lifecycle
    ) -> None:
        self._paths = paths
        self._networks = networks
        self._directory = directory
        self._lifecycle = lifecycle

    async def connect(self, network: str, container: str, settings: EndpointSettings) -> None:
        """Have a container join a network, at once if it runs. Raises AiodError."""
        network = self._networks.find(network).id
        entry = self._directory.find(container)
        await self._lifecycle.tasks.whole(self._connect(entry, network, settings))

    async def _connect(self, entry: Entry, network: str, settings: EndpointSettings) -> None:
        async with entry.verb:
            self._check(entry)
            if entry.record.state.status not in RUNNING:
                await self._networks.changer.note_join(entry.record, network, settings)
                return
            said = self._lifecycle.naming.now(entry.record)
            plan = await self._networks.changer.join(entry.record, network, settings)
            await self._carry_out(entry, plan, said)

    async def disconnect(self, network: str, container: str, *, force: bool) -> None:
        """Have a container leave a network, at once if it runs. Raises AiodError."""
        try:
            entry = self._directory.find(container)
        except NotFoundError:
            self._networks.find(network)
            if force:
                raise NotFoundError(f"endpoint {container} not found") from None
            raise
        await self._lifecycle.tasks.whole(self._disconnect(entry, network))

    async def _disconnect(self, entry: Entry, network: str) -> None:
        async with entry.verb:
            self._check(entry)
            if entry.record.state.status not in RUNNING:
                await self._networks.changer.note_leave(entry.record, network)
                return
            said = self._lifecycle.naming.now(entry.record)
            plan = await self._networks.changer.leave(entry.record, network)
            await self._carry_out(entry, plan, said)

    def _check(self, entry: Entry) -> None:
        record = entry.record
        if record.id not in self._directory.by_id:
            raise NotFoundError(f"No such container: {record.id}")
        if record.state.status in (Status.REMOVING, Status.DEAD):
            raise ConflictError(
                f"container {record.id} is marked for removal and cannot be connected "
                "or disconnected"
            )

    async def _carry_out(self, entry: Entry, plan: Plan, said: Ends) -> None:
        record = entry.record
        try:
            await self._apply(record, plan.before, plan.after, said, plan.network.id)
        except _FAILURES as error:
            if _runs(record):
                await self._undo(record, plan)
                raise _told(error) from error
        self._networks.changer.done(plan)
        await self._release_ended(entry)

    async def _release_ended(self, entry: Entry) -> None:
        """A run that ended meanwhile may have given back what it had before this was recorded.

        The change is one of a container that does not run then.
        """
        if _runs(entry.record):
            return
        if entry.run is not None:
            await asyncio.wait((entry.run,))
        await self._networks.release(entry.record.id)

    async def _undo(self, record: ContainerRecord, plan: Plan) -> None:
        """As it was; what cannot be undone now is by the next daemon."""
        said = self._lifecycle.naming.now(record)
        await self._networks.changer.undo(record, plan)
        try:
            await self._apply(record, plan.after, plan.before, said, plan.network.id)
        except _FAILURES as error:
            log.error("container %s: its networks: %s", record.id[:12], error)

    async def _apply(
        self, record: ContainerRecord, before: Sandbox, after: Sandbox, said: Ends, *networks: str
    ) -> None:
        state, run = record.state, self._paths.shim(record.id)
        await self._networks.kernel.change((state.pid, state.pid_start), before, after)
        failpoints.reach(CHANGED)
        if before.ports or after.ports:
            text = texts.ports_text(after.ports)
            await asyncio.to_thread(replace, run / texts.PORTS_FILE, text)
        await self._lifecycle.naming.changed(record, said, networks)
        failpoints.reach(TOLD)
        done = networking.with_settings(after, record)
        await asyncio.to_thread(protocol.write_struct, run / protocol.NETWORK_FILE, done)

    async def settle(self) -> None:
        """As the daemon starts: finish what the one before it had begun."""
        for entry in list(self._directory.by_id.values()):
            async with entry.verb:
                if entry.record.state.status in RUNNING:
                    try:
                        await self._finish(entry.record)
                    except _FAILURES as error:
                        log.error("container %s: its networks: %s", entry.record.id[:12], error)

    async def _finish(self, record: ContainerRecord) -> None:
        file = self._paths.shim(record.id) / protocol.NETWORK_FILE
        done = await asyncio.to_thread(_read, file)
        if done is None or not networking.has_own(record.network_mode):
            return
        wanted = networking.with_settings(self._networks.running.describe(record.id), record)
        if done == wanted:
            return
        said = _said(self._lifecycle.naming.now(record), done)
        for end in self._networks.ends(record.id):
            await self._networks.running.ready(end.network)
        touched = {one.network for one in (*done.interfaces, *wanted.interfaces)}
        await self._apply(record, done, wanted, said, *touched)


def _runs(record: ContainerRecord) -> bool:
    """Whether it still has its networks: one that is ending has none, before it is dead."""
    try:
        os.stat(f"/proc/{record.state.pid}/ns/net")
    except OSError:
        return False
    return proc.is_same(record.state.pid, record.state.pid_start)


def _told(error: AiodError | NativeError | OSError) -> AiodError:
    return error if isinstance(error, AiodError) else InternalError(str(error))


def _read(file: Path) -> Sandbox | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Sandbox)
    except (OSError, msgspec.MsgspecError):
        return None


def _said(now: Ends, done: Sandbox) -> Ends:
    """What the files of a container say that has what `done` says."""
    addresses = (text.partition("/")[0] for one in done.interfaces for text in one.addresses)
    return dataclasses.replace(now, addresses=tuple(addresses), resolver=done.resolver)
