"""What containers are called on their networks, and what each of them may ask for.

Owns when tables of names, the resolvers' files and the files below `/etc` are written, from the
records of containers and of their ends of networks. Must not know how a network is made.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from aiod.config import Paths
from aiod.containers import etcfiles
from aiod.containers.entries import RUNNING, Directory
from aiod.errors import AiodError, InternalError
from aiod.native.network import texts
from aiod.native.network.texts import Holder, Resolver, Scope
from aiod.networks import hostfiles, links, model
from aiod.networks.hostfiles import Ends, HostLine
from aiod.networks.links import Link, Linked
from aiod.networks.names import NameTables, Table, dns_names, replace
from aiod.networks.sandboxes import End
from aiod.store.networkrecords import EndpointRecord, NetworkRecord
from aiod.store.records import ContainerRecord
from aiod.tasks import shim_network

log = logging.getLogger(__name__)

_SHORT_ID = 12


class Networks(Protocol):
    """What is asked of the networks."""

    def ends(self, container_id: str) -> list[End]:
        """What a running container has of networks."""

    def endpoints(self, container_id: str) -> list[EndpointRecord]:
        """A container's ends of networks, whether or not it runs."""

    def ends_on(self, network_id: str) -> list[EndpointRecord]:
        """All ends of a network."""

    def find(self, reference: str) -> NetworkRecord:
        """A network by its name or id."""

    def list(self) -> list[NetworkRecord]:
        """All of them."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a run that begins is to have: the files' say on networks, files for the run
    directory, and variables."""

    ends: Ends = field(default_factory=Ends)
    files: tuple[tuple[str, bytes], ...] = ()
    variables: tuple[str, ...] = ()


class Naming:
    """The names of one daemon's containers."""

    def __init__(self, paths: Paths, directory: Directory, networks: Networks) -> None:
        self._paths = paths
        self._directory = directory
        self._networks = networks
        self._tables = NameTables(paths, self._table)

    # ---- one container ----

    async def begin(self, record: ContainerRecord) -> Named:
        """A container is about to run, with what its networks have for it on record.

        From now on others find it. Raises AiodError or OSError.
        """
        linked = tuple(self._linked(record))
        ends = self.ends(record, linked)
        files: tuple[tuple[str, bytes], ...] = ()
        if ends.resolver:
            text = await asyncio.to_thread(self._resolver, record, ends)
            files = ((texts.RESOLVER_FILE, text.encode()),)
        await self._tables.write(self._named_networks(record.id))
        await self._tell_linking(record)
        variables = (line for one in linked for line in links.variables(one, record.name))
        return Named(ends, files, tuple(variables))

    async def end(self, record: ContainerRecord) -> None:
        """It runs no more, and has nothing of its networks: others find it no longer."""
        await self._rewrite(self._named_networks(record.id))

    async def renamed(self, record: ContainerRecord) -> None:
        """It has another name."""
        await self._rewrite(self._named_networks(record.id))

    async def changed(self, record: ContainerRecord, before: Ends, networks: Iterable[str]) -> None:
        """A container that runs has come to some networks, or left them: `before` is what `ends`
        said. Raises NativeError or OSError; done again, it comes to the same end."""
        after = self.ends(record)
        await asyncio.to_thread(self._change_files, record, before, after)
        await self._tables.write(networks)
        state = record.state
        await shim_network.reload(self._paths.shim(record.id), state.shim_pid, state.shim_start)

    def _change_files(self, record: ContainerRecord, before: Ends, after: Ends) -> None:
        etcfiles.change(self._paths.container(record.id), record, before, after)
        place = self._paths.shim(record.id) / texts.RESOLVER_FILE
        if after.resolver or place.exists():
            replace(place, self._resolver(record, after))

    async def settle(self) -> None:
        """As a daemon starts, and before anything else does: all tables are as the records are."""
        known = [one.id for one in self._networks.list() if self._table(one.id) is not None]
        try:
            await self._tables.settle(known)
        except OSError as error:
            log.error("tables of names: %s", error)

    async def _rewrite(self, networks: Iterable[str]) -> None:
        """Nobody is there to be told of a failure; the next change writes it again."""
        try:
            await self._tables.write(networks)
        except OSError as error:
            log.error("tables of names: %s", error)

    # ---- tables ----

    def _named_networks(self, container_id: str) -> list[str]:
        """Its networks that have tables."""
        ends = self._networks.endpoints(container_id)
        return [end.network_id for end in ends if end.network_name not in model.BUILT_IN]

    def _table(self, network_id: str) -> Table | None:
        """Who is on a network now; None where nobody is."""
        ends = self._networks.ends_on(network_id)
        holders = tuple(filter(None, map(self._holder, ends)))
        if not holders or ends[0].network_name in model.BUILT_IN:
            return None
        return Table(ends[0].network_name, holders)

    def _holder(self, end: EndpointRecord) -> Holder | None:
        entry, has = self._directory.by_id.get(end.container_id), end.assigned
        if entry is None or has is None:
            return None
        names = self.names(entry.record, end)
        addresses = (_bare(address) for address in (has.ipv4, has.ipv6) if address)
        return Holder(tuple(addresses), tuple(names))

    @staticmethod
    def names(record: ContainerRecord, end: EndpointRecord) -> list[str]:
        """What a container is called on one of its networks."""
        return dns_names(record.name, record.id, record.hostname, end.settings.Aliases or ())

    # ---- what one may ask ----

    def now(self, record: ContainerRecord) -> Ends:
        """What the files of a container that runs say of the networks that it has now."""
        return self.ends(record)

    def ends(self, record: ContainerRecord, linked: Sequence[Linked] = ()) -> Ends:
        """What the files of a container say of the networks that it has now."""
        ends = self._networks.ends(record.id)
        addresses = (text for end in ends for text in (end.has.ipv4, end.has.ipv6) if text)
        return Ends(
            addresses=tuple(map(_bare, addresses)),
            links=tuple(map(links.host_line, linked)),
            resolver=any(not model.is_built_in(end.network) for end in ends),
            gateway=self._gateway(record, ends),
            asks_others=any(not end.network.internal for end in ends),
        )

    def _gateway(self, record: ContainerRecord, ends: Iterable[End]) -> str:
        """The host's address as a container sees it: on the default network, or its own."""
        pools = self._networks.find(model.DEFAULT).pools
        found = [pool.gateway for pool in pools] + [end.gateway(4) for end in ends]
        of_host = "127.0.0.1" if record.network_mode == model.HOST else ""
        return next((_bare(one) for one in found if one), of_host)

    def _resolver(self, record: ContainerRecord, ends: Ends) -> str:
        scopes = tuple(
            Scope(str(self._paths.names(end.network.id)), tuple(self._private(record, end)))
            for end in self._networks.ends(record.id)
            if not model.is_built_in(end.network)
        )
        asked = hostfiles.servers(record.host, ends, etcfiles.of_host())
        return texts.resolver_text(Resolver(scopes, asked))

    def _private(self, record: ContainerRecord, end: End) -> Iterator[tuple[str, str]]:
        """The names that it alone has for others of a network: by their ids, which stay."""
        asked = list(end.endpoint.settings.Links or ())
        if end.network.name == record.network_mode:
            asked += record.host.Links or ()
        for link in map(links.parse, asked):
            yield link.alias, self._target(link)

    def _target(self, link: Link) -> str:
        try:
            return self._directory.find(link.target).record.id[:_SHORT_ID]
        except AiodError:
            return link.target  # it may come

    # ---- links on the default network ----

    def _linked(self, record: ContainerRecord) -> Iterator[Linked]:
        """What its links lead to. Raises InternalError if one of them does not run."""
        for link in _links_of(record):
            found = self._running(link)
            if found is None:
                entry = self._directory.by_id.get(link.target)
                name = entry.record.name if entry else link.target
                raise InternalError(
                    f"Cannot link to a non running container: /{name} "
                    f"AS /{record.name}/{link.alias}"
                )
            yield found

    def _running(self, link: Link) -> Linked | None:
        """What a link leads to, if that runs on the default network."""
        entry, address = self._directory.by_id.get(link.target), ""
        if entry is not None and entry.record.state.status in RUNNING:
            address = self._default_address(link.target)
        return _linked(entry.record, link.alias, address) if entry and address else None

    def with_variables(self, record: ContainerRecord) -> ContainerRecord:
        """A record whose environment has the variables of those links that lead to somebody."""
        found = filter(None, map(self._running, _links_of(record)))
        lines = [line for one in found for line in links.variables(one, record.name)]
        if not lines:
            return record
        config = msgspec.structs.replace(record.config, Env=[*lines, *(record.config.Env or ())])
        return msgspec.structs.replace(record, config=config)

    def _default_address(self, container_id: str) -> str:
        ends = self._networks.ends(container_id)
        found = (end.has.ipv4 for end in ends if end.network.name == model.DEFAULT)
        return _bare(next(found, ""))

    async def _tell_linking(self, record: ContainerRecord) -> None:
        """Those that run and link to it see its new address."""
        address = self._default_address(record.id)
        for entry in list(self._directory.by_id.values()) if address else ():
            other = entry.record
            if not other.host.Links or other.state.status not in RUNNING:
                continue
            for line in _lines_to(record, other, address):
                own = self._paths.container(other.id)
                await asyncio.to_thread(etcfiles.change_link, own, line)


def _links_of(record: ContainerRecord) -> Iterator[Link]:
    """Its links on the default network, each to a container by its id."""
    if record.network_mode == model.DEFAULT:
        yield from map(links.parse, record.host.Links or ())


def _lines_to(target: ContainerRecord, other: ContainerRecord, address: str) -> Iterator[HostLine]:
    for link in _links_of(other):
        if link.target == target.id:
            yield links.host_line(_linked(target, link.alias, address))


def _linked(other: ContainerRecord, alias: str, address: str) -> Linked:
    return Linked(
        alias,
        other.name,
        other.hostname,
        address,
        tuple(other.config.ExposedPorts or ()),
        tuple(other.config.Env or ()),
    )


def _bare(address: str) -> str:
    return address.partition("/")[0]
