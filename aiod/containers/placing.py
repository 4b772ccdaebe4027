"""Finds where a container's network is for the run that begins, and gives it back at the end.

Owns the choice between a namespace of its own, the host's and another container's, and the
errors of the last. Addresses and ports are the networks' affair. Must not know netlink.
"""

from typing import Protocol

from aiod.containers import networking
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.networking import Place
from aiod.errors import ConflictError, InternalError
from aiod.native.network.description import Sandbox
from aiod.store.records import ContainerRecord, Status


class Networks(Protocol):
    """What the running side asks of the networks."""

    async def allocate(self, record: ContainerRecord) -> Place:
        """Give a container that is about to run addresses and ports on record.

        Raises AiodError, having given nothing.
        """

    async def release(self, container_id: str) -> None:
        """Take back what it had; it runs no more. Harmless where there is nothing."""


class NoNetworks:
    """A daemon that has none: admission lets nobody ask for one."""

    async def allocate(self, record: ContainerRecord) -> Place:
        """Refuse. Raises InternalError."""
        raise InternalError(f"network {record.network_mode} not found")

    async def release(self, container_id: str) -> None:
        """There is nothing."""


class Placer:
    """The networks of one daemon's containers, as their runs need them."""

    def __init__(self, directory: Directory, networks: Networks) -> None:
        self._directory = directory
        self._networks = networks

    async def place(self, record: ContainerRecord) -> Place:
        """Where its network is for the run that begins. Raises AiodError."""
        mode = record.network_mode
        if mode == networking.HOST:
            return Place()
        if networking.other_container(mode):
            other = self.joined(record).record
            process = other.state.pid, other.state.pid_start
            return Place(joined=process, host_of=self._owner(other))
        if mode == networking.NONE:
            return Place(Sandbox())
        return await self._networks.allocate(record)

    async def release(self, record: ContainerRecord) -> None:
        """Take back what `place` gave; the run is over, or did not come about."""
        await self._networks.release(record.id)

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

    def _owner(self, record: ContainerRecord) -> ContainerRecord:
        """Whose the namespace is that a container has, which may have joined it itself."""
        seen = {record.id}
        while name := networking.other_container(record.network_mode):
            record = self._directory.find(name).record
            if record.id in seen:
                raise InternalError("cannot join own network")
            seen.add(record.id)
        return record
