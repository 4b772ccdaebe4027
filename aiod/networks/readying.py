"""Has a network ready for whoever is about to join it.

Owns the first need of the default network: its addresses are chosen only then, beside what the
host reaches, and its bridge is made. Must not know netlink.
"""

import asyncio

import msgspec

from aiod.networks import ipam, model
from aiod.networks.assigning import Assigner
from aiod.networks.directory import Directory
from aiod.networks.kernel import Kernel
from aiod.store.networkrecords import NetworkRecord, PoolRecord
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
        if not network.pools and model.is_built_in(network):
            async with self._choosing:
                network = await self._with_pools(network.id)
        await self._kernel.ensure(network)

    async def _with_pools(self, network_id: str) -> NetworkRecord:
        network = self._directory.by_id[network_id]
        if network.pools:
            return network
        taken = await self.taken()
        pool = PoolRecord(str(ipam.choose_pool(4, b"", taken)))
        pool = msgspec.structs.replace(pool, gateway=ipam.gateway_of(pool))
        network = msgspec.structs.replace(network, pools=(pool,))
        await self._repository.update(network)
        self._directory.add(network)
        self._assigner.open(network)
        return network

    async def taken(self) -> set[ipam.Network]:
        """What no new pool may overlap with: other networks, and what the host reaches."""
        own = {one for network in self._directory.by_id.values() for one in model.subnets(network)}
        return own | await self._kernel.subnets()
