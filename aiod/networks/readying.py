"""Has a network ready for whoever is about to join it.

Owns the first need of the default network: its addresses are chosen only then, beside what the
host reaches, and its bridge is made. Must not know netlink.
"""

import asyncio

import msgspec

from aiod.networks import ipam, model, pools
from aiod.networks.assigning import Assigner
from aiod.networks.directory import Directory
from aiod.networks.kernel import Kernel
from aiod.store.networkrecords import NetworkRecord
from aiod.store.networks import NetworkRepository


class Readier:
    """The networks of one daemon, as they are needed."""

    def __init__(
        self,
        repository: NetworkRepository,
        directory: Directory,
        assigner: Assigner,
        kernel: Kernel,
    ) -> None:
        self._repository = repository
        self._directory = directory
        self._assigner = assigner
        self._kernel = kernel
        self._choosing = asyncio.Lock()

    async def ready(self, network: NetworkRecord) -> None:
        """Have its addresses and its links. Raises AiodError."""
        if not model.has_addresses(network):
            return
        if model.is_built_in(network) and not self._kernel.is_there(network):
            network = await self.with_pools(network)
        await self._kernel.ensure(network)

    async def with_pools(self, network: NetworkRecord) -> NetworkRecord:
        """A built-in network with addresses, chosen now if it has none that can be had.

        Raises AiodError.
        """
        if not model.has_addresses(network):
            return network
        async with self._choosing:
            return await self._with_pools(network.id)

    async def _with_pools(self, network_id: str) -> NetworkRecord:
        network = self._directory.by_id[network_id]
        # Once its bridge is there, what the host reaches by it is in nobody's way.
        if network.pools and (model.link_exists(network) or self._is_used(network_id)):
            return network
        taken = await self._taken(network)
        if network.pools and not any(
            ipam.overlaps(own, other) for own in model.subnets(network) for other in taken
        ):
            return network
        network = msgspec.structs.replace(network, pools=(pools.chosen(4, taken, b""),))
        await self._repository.update(network)
        self._directory.add(network)
        self._assigner.open(network)
        return network

    def _is_used(self, network_id: str) -> bool:
        return any(end.assigned is not None for end in self._directory.ends_on(network_id))

    async def _taken(self, network: NetworkRecord) -> set[ipam.Network]:
        """What its pool may not overlap with: other networks, and what the host reaches."""
        others = (one for one in self._directory.by_id.values() if one.id != network.id)
        own = {subnet for other in others for subnet in model.subnets(other)}
        return own | await self._kernel.subnets()
