"""The verbs on networks, as the API and containers call them.

Owns the putting together: each topic has a module of its own. Must not know HTTP, SQL, netlink,
nor how a container is run.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable

import msgspec

from aiod.config import DaemonConfig
from aiod.errors import AiodError, InternalError, InvalidParameterError, NotFoundError
from aiod.native.network.description import Port, Sandbox
from aiod.networks import joining, model, selection
from aiod.networks.administering import Administrator
from aiod.networks.assigning import Assigner
from aiod.networks.changing import Changer
from aiod.networks.directory import Directory
from aiod.networks.kernel import Kernel
from aiod.networks.ports import HostPorts
from aiod.networks.publishing import Publisher, unbound
from aiod.networks.readying import Readier
from aiod.networks.running import Running
from aiod.networks.sandboxes import End
from aiod.store.models import EndpointSettings
from aiod.store.networkrecords import EndpointRecord, NetworkRecord
from aiod.store.networks import NetworkRepository
from aiod.store.records import ContainerRecord

log = logging.getLogger(__name__)


class NetworkService:
    """All networks of one daemon."""

    def __init__(self, config: DaemonConfig, repository: NetworkRepository, engine_id: str) -> None:
        self._config = config
        self._repository = repository
        self._engine_id = engine_id
        self._directory = Directory()
        self._assigner = Assigner()
        self.kernel = Kernel(config)
        self.kernel.on_record = self._on_record
        self.readier = Readier(repository, self._directory, self._assigner, self.kernel)
        self.running = Running(
            repository, self._directory, self._assigner, self.kernel, self.readier, config.table
        )
        self.changer = Changer(repository, self._directory, self.running)
        administrator = Administrator(
            repository, self._directory, self._assigner, self.kernel, engine_id
        )
        self._used = administrator.used
        self.create, self.remove = administrator.create, administrator.remove
        self.prune = administrator.prune
        self.find, self.ends_on = self._directory.find, self._directory.ends_on
        self._is_new = False
        self.unreadable = administrator.unreadable

    async def load(self) -> None:
        """Take up what is on record; the built-in networks are always there."""
        loaded = await self._repository.load_all()
        for known, problem in loaded.broken:
            log.warning("a record of %s's networks cannot be understood: %s", known, problem)
        for network in loaded.networks:
            self._take_up(network)
        for network_id, text in loaded.held:
            self._assigner.hold_address(network_id, text)
        self.unreadable.update(known for known, _ in loaded.broken)
        for name in model.BUILT_IN:
            await self._have_built_in(name)
        self._directory.put(loaded.endpoints)
        self.running.ports = Publisher(await asyncio.to_thread(HostPorts.of_host))

    async def _have_built_in(self, name: str) -> None:
        """What is not there is made; the bridge is the one that this daemon was told."""
        known = self._directory.named(name)
        link = self._config.bridge
        if known is None:
            self._is_new = True
            known = model.built_in(self._engine_id, name, link, time.time_ns())
        elif known.link in ("", link):
            return
        else:
            known = msgspec.structs.replace(
                known, link=link, options={**known.options, model.LINK_NAME: link}
            )
        await self._repository.replace(known)
        self._take_up(known)

    def _take_up(self, network: NetworkRecord) -> None:
        self._directory.add(network)
        self._assigner.open(network)

    async def choose_default(self) -> None:
        """Have addresses for the default network, to be shown; they may yet be others at its first
        need, if the host reaches those by then. What resists is told to whoever starts on it."""
        network = self._directory.named(model.DEFAULT)
        if network is not None and not network.pools:
            try:
                await self.readier.with_pools(network)
            except AiodError as error:
                log.info("network %s: %s", network.name, error.message)

    def list(self) -> "Networks":
        """All networks, in the order of their making."""
        return sorted(self._directory.by_id.values(), key=lambda one: one.created_ns)

    def select(self, filters: selection.Filters) -> "Networks":
        """The networks that filters let through. Raises InvalidParameterError."""
        return selection.select(self.list(), filters, self._used())

    def is_known(self, network_id: str) -> bool:
        """Whether there is a network of that very id."""
        return network_id in self._directory.by_id

    def endpoints(self, container_id: str) -> "Endpoints":
        """A container's ends of networks, in the order in which they were joined."""
        return self._directory.ends_of(container_id)

    def ends(self, container_id: str) -> "Ends":
        """What a running container has of networks; those of `none` and `host` aside."""
        return self.running.ends(container_id)

    def _on_record(self) -> tuple["Networks", "tuple[Port, ...]"]:
        """What the rules are to know: all networks, and the ports that containers have."""
        has = [end.assigned for end in self._directory.all_ends() if end.assigned is not None]
        return self.list(), tuple(port for one in has for port in one.ports)

    def unbound(self, record: ContainerRecord, reason: str) -> InternalError:
        """What a start answers whose ports the host would not have; `reason` is the kernel's."""
        return unbound(record, self.ends(record.id), reason)

    def endpoints_of(self, record: ContainerRecord) -> tuple[EndpointRecord, ...]:
        """The ends that a new container is to have, in the order in which it joins them.

        They are inserted with its record; `add` takes them up then. A network that is not there
        is looked for by its name at the start. Raises InvalidParameterError, ForbiddenError.
        """
        asked = joining.wanted(record)
        found = [self._endpoint(record, *one, place) for place, one in enumerate(asked.items())]
        joining.check_together([end.network_name for end in found])
        return tuple(found)

    def _endpoint(
        self, record: ContainerRecord, name: str, settings: EndpointSettings, place: int
    ) -> EndpointRecord:
        joining.check_form(settings)
        try:
            network = self._directory.find(name)
        except (NotFoundError, InvalidParameterError):
            return EndpointRecord(record.id, name, name, settings, place)
        joining.check_on(network, settings)
        return EndpointRecord(record.id, network.id, network.name, settings, place)

    async def complete(self, containers: Iterable[ContainerRecord]) -> None:
        """Containers that were made before networks were on record get their ends."""
        if not self._is_new:
            return
        known = [record for record in containers if not self._directory.ends_of(record.id)]
        missing = [end for record in known for end in self.endpoints_of(record)]
        if missing:
            await self._repository.put(missing)
            self._directory.put(missing)

    def add(self, endpoints: Collection[EndpointRecord]) -> None:
        """A container's ends are on disk."""
        self._directory.put(endpoints)

    def forget(self, container_id: str) -> None:
        """A container's record is gone, and its ends' with it."""
        self._directory.forget(container_id)

    async def allocate(self, record: ContainerRecord) -> Sandbox | None:
        """What a container that is about to run has of its networks, written down.

        None for one that has no network namespace of its own. Raises AiodError, having given
        nothing.
        """
        if record.network_mode.startswith(joining.CONTAINER):
            return None
        found = await self.running.allocate(record)
        return None if record.network_mode == model.HOST else found

    async def publish(self, sandbox: Sandbox) -> None:
        """Have the host's ports lead to a container that was made. Raises InternalError."""
        await self.kernel.publish(sandbox.ports)

    async def release(self, container_id: str) -> None:
        """Take back what it had; it runs no more. Harmless where it has nothing."""
        await self.running.release(container_id)

    async def settle(self, running: Collection[str]) -> None:
        """As the daemon starts: containers that run keep what they have, all else is free.

        The kernel has what they and the networks need then, and nothing else of ours; where that
        cannot be, the daemon goes on, and whoever starts on such a network is told.
        """
        await self.running.settle(running)
        sandboxes = [self.running.describe(container) for container in running]
        try:
            swept = await self.kernel.settle(self.list(), sandboxes)
        except InternalError as error:
            log.error("networks: %s", error.message)
        else:
            if swept:
                log.warning("links that nobody needed: %s", ", ".join(swept))


Networks = list[NetworkRecord]
Endpoints = list[EndpointRecord]
Ends = list[End]
