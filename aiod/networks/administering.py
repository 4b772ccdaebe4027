"""Makes and removes networks: wholly or not at all.

Owns the order: a network is made in the kernel, then recorded; it is forgotten, then unmade. What
a crash leaves between the two has our mark and no record, and is swept at the next start. Must
not know netlink, nor who asks.
"""

import asyncio
import hashlib
import logging
import socket
import time

from aiod import failpoints
from aiod.errors import AiodError, ForbiddenError, InvalidParameterError, NotFoundError
from aiod.networks import making, model, selection
from aiod.networks.assigning import Assigner
from aiod.networks.directory import Directory
from aiod.networks.happenings import event, pruned
from aiod.networks.kernel import Kernel
from aiod.networks.making import Surroundings
from aiod.networks.requests import NetworkRequest
from aiod.networks.selection import Filters
from aiod.store.networkrecords import NetworkRecord
from aiod.store.networks import NetworkRepository
from aiod.store.records import EventRecord

log = logging.getLogger(__name__)

MADE = failpoints.declare("network.made")
CREATED = failpoints.declare("network.recorded")
REMOVED = failpoints.declare("network.forgotten")


class Administrator:
    """The making and removing of one daemon's networks."""

    def __init__(
        self,
        repository: NetworkRepository,
        directory: Directory,
        assigner: Assigner,
        kernel: Kernel,
        engine_id: str,
    ) -> None:
        self._repository = repository
        self._directory = directory
        self._assigner = assigner
        self._kernel = kernel
        self._seed = hashlib.sha256(engine_id.encode()).digest()[:5]
        self.unreadable: set[str] = set()
        self._alone = asyncio.Lock()  # pools are chosen beside one another

    async def create(self, request: NetworkRequest) -> tuple[NetworkRecord, str]:
        """Make a network; its record, and what of the request was not granted.

        Raises AiodError.
        """
        async with self._alone:
            networks = list(self._directory.by_id.values())
            making.check(request, Surroundings(networks, (), self._seed))
            around = Surroundings(networks, await self._kernel.subnets(), self._seed)
            made = making.record(request, around, time.time_ns())
            _check_parent(made)
            await self._make(made)
        return made, making.warning(request)

    async def _make(self, made: NetworkRecord) -> None:
        if model.has_addresses(made):
            await self._kernel.ensure(made)
        failpoints.reach(MADE)
        try:
            await self._repository.insert(made, (event(made, "create"),))
        except BaseException:
            await self._unmake(made)
            raise
        failpoints.reach(CREATED)
        self._directory.add(made)
        self._assigner.open(made)

    async def _unmake(self, network: NetworkRecord) -> None:
        """What resists is swept at the next start."""
        try:
            await self._kernel.remove(network)
        except AiodError as error:
            log.warning("network %s: %s", network.name, error.message)

    async def remove(self, reference: str) -> None:
        """Remove a network that nobody is on, or a record that cannot be read, by its id.

        Raises ForbiddenError or NotFoundError.
        """
        async with self._alone:
            if reference in self.unreadable:
                await self._repository.delete((reference,))
                self.unreadable.discard(reference)
                return
            network = self._directory.find(reference)
            if model.is_built_in(network):
                raise ForbiddenError(
                    f"{network.name} is a pre-defined network and cannot be removed"
                )
            await self._remove(network)

    async def _remove(self, network: NetworkRecord, *events: EventRecord) -> None:
        self._check_unused(network)
        # Whoever wants to join it does not find it any more.
        self._directory.drop(network)
        try:
            await self._repository.delete((network.id,), (event(network, "destroy"), *events))
        except BaseException:
            self._directory.add(network)
            raise
        failpoints.reach(REMOVED)
        self._assigner.close(network.id)
        await self._unmake(network)

    def _check_unused(self, network: NetworkRecord) -> None:
        start = "error while removing network: "
        if network.id in self.used():
            raise ForbiddenError(
                f"{start}network {network.name} id {network.id} has active endpoints"
            )
        borrowers = self._directory.by_id.values()
        if network.config_only and any(one.config_from == network.name for one in borrowers):
            raise ForbiddenError(f'{start}configuration network "{network.name}" is in use')

    def used(self) -> set[str]:
        """The ids of networks that a running container is on."""
        return {end.network_id for end in self._directory.all_ends() if end.assigned is not None}

    async def prune(self, filters: Filters, until_ns: int | None) -> list[str]:
        """Remove what nobody is on; the names of what is gone."""
        gone = []
        async with self._alone:
            networks = list(self._directory.by_id.values())
            for network in selection.prunable(networks, filters, self.used(), until_ns):
                try:
                    await self._remove(network)
                except (ForbiddenError, NotFoundError) as error:
                    log.info("network %s: %s", network.name, error.message)
                else:
                    gone.append(network.name)
            await self._repository.record((pruned(),))
        return gone


def _check_parent(network: NetworkRecord) -> None:
    """What cannot be found must be a name from which it can be made: `LINK.TAG`."""
    parent = network.options.get(model.PARENT, "")
    if network.driver not in (model.MACVLAN, model.IPVLAN) or not parent:
        return
    below, _, tag = parent.rpartition(".")
    if parent in {name for _, name in socket.if_nameindex()} or (below and tag.isdecimal()):
        return
    raise InvalidParameterError(
        f"invalid subinterface vlan name {parent}, example formatting is eth0.10"
    )
