"""What containers that run have of networks: given at a start, taken back at an end.

Owns the order of memory and disk: chosen in memory, on disk before anything is made of it, and
free only when the disk says so. Must not know netlink, nor how a container is run.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from aiod import failpoints
from aiod.errors import InternalError
from aiod.native.network.description import Port, Sandbox
from aiod.networks import joining
from aiod.networks.assigning import Assigner
from aiod.networks.directory import Directory
from aiod.networks.happenings import event, joined
from aiod.networks.kernel import Kernel
from aiod.networks.readying import Readier
from aiod.networks.sandboxes import End, describe, of_gateway
from aiod.store.networkrecords import EndpointRecord, NetworkRecord
from aiod.store.networks import NetworkRepository
from aiod.store.records import ContainerRecord, EventRecord

log = logging.getLogger(__name__)

ALLOCATED = failpoints.declare("network.allocated")
RELEASED = failpoints.declare("network.released")


class Ports(Protocol):
    """Who gives the host's ports away."""

    def choose(self, record: ContainerRecord, ipv4: End | None, ipv6: End | None) -> list[Port]:
        """The ports that `record` publishes, by way of the ends that have its gateways.

        Raises AiodError where one is taken, having given nothing.
        """

    def hold(self, ports: Iterable[Port]) -> None:
        """They have been given away before."""

    def give_back(self, ports: Iterable[Port]) -> None:
        """They are free again."""


class NoPorts:
    """Nothing is published."""

    def choose(self, record: ContainerRecord, ipv4: End | None, ipv6: End | None) -> list[Port]:
        """None."""
        return []

    def hold(self, ports: Iterable[Port]) -> None:
        """Nothing to hold."""

    def give_back(self, ports: Iterable[Port]) -> None:
        """Nothing to give back."""


class Running:
    """What one daemon's running containers have."""

    def __init__(
        self,
        repository: NetworkRepository,
        directory: Directory,
        assigner: Assigner,
        kernel: Kernel,
        readier: Readier,
        table: str,
    ) -> None:
        self._repository = repository
        self._kernel = kernel
        self._readier = readier
        self._directory = directory
        self._assigner = assigner
        self._table = table
        self.ports: Ports = NoPorts()

    async def allocate(self, record: ContainerRecord) -> Sandbox:
        """Give a container that is about to run all that its networks have for it, on disk.

        Raises AiodError, having given nothing.
        """
        await self.release(record.id)
        before = self._directory.ends_of(record.id)
        for end in before:
            await self.ready(self._directory.network_of(end))
        given = self._give(record, before)
        self.show(before, given)
        try:
            events = joined(map(self._directory.network_of, given), "connect", record.id)
            await self._repository.put(given, events, gone=_moved(before, given))
        except BaseException:
            self.show(given, before)
            self.take_back(given)
            raise
        failpoints.reach(ALLOCATED)
        return self.describe(record.id)

    async def ready(self, network: NetworkRecord) -> None:
        """Have what its ends are to be joined to. Raises AiodError."""
        await self._readier.ready(network)

    def show(self, before: Iterable[EndpointRecord], after: Iterable[EndpointRecord]) -> None:
        """In memory, these ends are instead of those: nobody removes a network in between."""
        for end in before:
            self._directory.take_out(end.container_id, end.network_id)
        self._directory.put(after)

    def _give(
        self, record: ContainerRecord, ends: Iterable[EndpointRecord]
    ) -> list[EndpointRecord]:
        given: list[EndpointRecord] = []
        try:
            for end in ends:
                names = [one.assigned.interface for one in given if one.assigned]
                given.append(self.given(end, names))
            self._publish(record, given)
        except BaseException:
            self.take_back(given)
            raise
        return given

    def given(self, end: EndpointRecord, interfaces: Collection[str]) -> EndpointRecord:
        """An end with what it has from now on, in memory alone. Raises AiodError."""
        network = self._directory.network_of(end)
        joining.check_on(network, end.settings)
        assigned = self._assigner.assign(network, end, interfaces)
        return msgspec.structs.replace(
            end, network_id=network.id, network_name=network.name, assigned=assigned
        )

    def _publish(self, record: ContainerRecord, given: list[EndpointRecord]) -> None:
        """Ports are the affair of the end that has the gateway."""
        ends = self.ends_of(given)
        first, second = of_gateway(ends, 4), of_gateway(ends, 6)
        holder = first or second
        if holder is None:
            return
        ports = tuple(self.ports.choose(record, first, second))
        place = given.index(holder.endpoint)
        assigned = msgspec.structs.replace(holder.has, ports=ports)
        given[place] = msgspec.structs.replace(holder.endpoint, assigned=assigned)

    def ends_of(self, endpoints: Iterable[EndpointRecord]) -> list[End]:
        """Those of the ends that have what they need."""
        return [
            End(self._directory.network_of(end), end, end.assigned)
            for end in endpoints
            if end.assigned is not None
        ]

    def take_back(self, endpoints: Iterable[EndpointRecord]) -> None:
        """What these ends had is free again, in memory."""
        for end in endpoints:
            if end.assigned is not None:
                self._assigner.give_back(end.network_id, end.assigned)
                self.ports.give_back(end.assigned.ports)

    def ends(self, container_id: str) -> list[End]:
        """What a container has now; nothing while it does not run."""
        return self.ends_of(self._directory.ends_of(container_id))

    def describe(self, container_id: str) -> Sandbox:
        """What its network namespace is to have now."""
        return describe(self.ends(container_id), self._table)

    async def release(self, container_id: str) -> None:
        """Take back what it had; it runs no more. Harmless where it has nothing."""
        await self._release(self._directory.ends_of(container_id))

    async def _release(self, endpoints: Iterable[EndpointRecord]) -> None:
        held = [end for end in endpoints if end.assigned is not None]
        if not held:
            return
        await self._withdraw(held)
        bare = [msgspec.structs.replace(end, assigned=None) for end in held]
        await self._repository.put(bare, self._left(held))
        failpoints.reach(RELEASED)
        self._directory.put(bare)
        self.take_back(held)

    def _left(self, held: Iterable[EndpointRecord]) -> list[EventRecord]:
        known = self._directory.by_id
        return [
            event(known[end.network_id], "disconnect", container=end.container_id)
            for end in held
            if end.network_id in known
        ]

    async def _withdraw(self, held: Iterable[EndpointRecord]) -> None:
        """Nothing is to come any more to addresses that may be another's soon."""
        ports = [port for end in held if end.assigned for port in end.assigned.ports]
        try:
            await self._kernel.withdraw(ports)
        except InternalError as error:
            log.warning("%s", error.message)

    async def settle(self, running: Collection[str]) -> None:
        """As the daemon starts: containers that run keep what they have, all else is free."""
        held = [end for end in self._directory.all_ends() if end.assigned is not None]
        for end in held:
            self._assigner.hold(end)
            if end.assigned is not None:
                self.ports.hold(end.assigned.ports)
        await self._release(end for end in held if end.container_id not in running)


def _moved(
    before: Iterable[EndpointRecord], after: Iterable[EndpointRecord]
) -> list[EndpointRecord]:
    """Ends whose network was made anew: they are kept under its new id."""
    kept = {end.network_id for end in after}
    return [end for end in before if end.network_id not in kept]
