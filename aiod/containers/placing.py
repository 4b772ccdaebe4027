"""Finds where a container's network is for the run that begins, and gives it back at the end.

Owns the choice between a namespace of its own, the host's and another container's, and the
errors of the last. Addresses and ports are the networks' affair. Must not know netlink.
"""

from collections.abc import Collection
from typing import Protocol

from aiod.config import Paths
from aiod.containers import networking, sharing
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.naming import Naming
from aiod.containers.networking import Place
from aiod.containers.sharing import Shared
from aiod.errors import (
    AiodError,
    ConflictError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
)
from aiod.native.network.description import Sandbox
from aiod.native.network.texts import PORTS_FILE, ports_text
from aiod.store.records import ContainerRecord, Status
from aiod.tasks.shim_client import SpawnError

_LISTEN = "listen "  # how the steps begin that hold a port: src/netports.c


class Networks(Protocol):
    """What the running side asks of the networks."""

    async def allocate(self, record: ContainerRecord) -> Sandbox | None:
        """Give a container that is about to run what its networks have for it, on disk.

        None for one that has no network namespace of its own. Raises AiodError, having given
        nothing.
        """

    async def publish(self, sandbox: Sandbox) -> None:
        """Have the host's ports lead to a container that was made. Raises InternalError."""

    def unbound(self, record: ContainerRecord, reason: str) -> InternalError:
        """What a start answers whose ports the host would not have."""

    async def release(self, container_id: str) -> None:
        """Take back what it had; it runs no more. Harmless where there is nothing."""

    async def settle(self, running: Collection[str]) -> None:
        """As the daemon starts: containers that run keep what they have, all else is free."""


class Placer:
    """The networks of one daemon's containers, as their runs need them."""

    def __init__(self, directory: Directory, networks: Networks, naming: Naming) -> None:
        self._directory = directory
        self._networks = networks
        self._naming = naming

    async def place(self, record: ContainerRecord) -> Place:
        """Where its network is for the run that begins. Raises AiodError or OSError."""
        if networking.other_container(record.network_mode):
            other = self.joined(record).record
            process = other.state.pid, other.state.pid_start
            return Place(joined=process, host_of=self._owner(other))
        sandbox = await self._networks.allocate(record)
        named = await self._naming.begin(record)
        files = named.files
        if sandbox is not None and sandbox.ports:
            files += ((PORTS_FILE, ports_text(sandbox.ports).encode()),)
        return Place(sandbox, files=files, ends=named.ends, variables=named.variables)

    async def publish(self, place: Place) -> None:
        """Have its ports lead to it, as its shim holds them by now. Raises InternalError."""
        if place.sandbox is not None:
            await self._networks.publish(place.sandbox)

    def explained(self, record: ContainerRecord, error: SpawnError) -> AiodError | SpawnError:
        """Why no container came of it, in the networks' words where it was their affair.

        To be asked before `release`.
        """
        if not error.step.startswith(_LISTEN):
            return error
        return self._networks.unbound(record, f"{error.step}: {error.message}")

    def shared(self, record: ContainerRecord, paths: Paths) -> Shared:
        """The other namespaces that it shares in the run that begins. Raises AiodError."""
        return sharing.find(record, lambda name: self._directory.find(name).record, paths)

    async def release(self, record: ContainerRecord) -> None:
        """Take back what `place` gave; the run is over, or did not come about."""
        await self._networks.release(record.id)
        await self._naming.end(record)

    async def settle(self) -> None:
        """As the daemon starts, and every container is on record as it is."""
        entries = self._directory.by_id.values()
        await self._networks.settle(
            {entry.record.id for entry in entries if entry.record.state.status in RUNNING}
        )
        await self._naming.settle()

    def joined(self, record: ContainerRecord) -> Entry:
        """The container whose network it is to have.

        Raises NotFoundError, ConflictError or InternalError in dockerd's words.
        """
        other = self._directory.find(networking.other_container(record.network_mode))
        if other.record.id == record.id:
            raise InternalError("cannot join own network")
        status = other.record.state.status
        if status is Status.RESTARTING:
            raise ConflictError(
                f"Container {other.record.id} is restarting, wait until the container is running"
            )
        if status not in RUNNING:
            raise ConflictError(
                f"cannot join network of a non running container: {other.record.id}"
            )
        return other

    def needed(self, record: ContainerRecord) -> Entry | None:
        """The container whose network it is to have, if there is such a one."""
        try:
            return self._directory.find(networking.other_container(record.network_mode))
        except (NotFoundError, InvalidParameterError):
            return None

    def _owner(self, record: ContainerRecord) -> ContainerRecord:
        """Whose the namespace is that a container has, which may have joined it itself."""
        seen = {record.id}
        while name := networking.other_container(record.network_mode):
            record = self._directory.find(name).record
            if record.id in seen:
                raise InternalError("cannot join own network")
            seen.add(record.id)
        return record
