"""Has the kernel be as the records say: bridges, rules, and what runs.

Owns when something of the kernel's is made, at first need or as the daemon starts, and what of a
network is told to whom. A daemon whose containers have no network of ours touches nothing of the
host's. Must not know what is on record, nor how a link is made. Starts wait for one another only
while the network that they share is being made.

What works on the kernel is imported at first need: a daemon is ready sooner, and by threads.
"""

import asyncio
import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Collection
from errno import ENOENT
from typing import TYPE_CHECKING, TypeVar

from aiod.config import DaemonConfig
from aiod.errors import InternalError
from aiod.native.errors import NativeError
from aiod.native.network.description import Port, Sandbox
from aiod.native.network.ruleset import NetworkRules
from aiod.networks import model
from aiod.networks.ipam import Network
from aiod.networks.publishing import all_rules, rules_of
from aiod.store.networkrecords import NetworkRecord

if TYPE_CHECKING:
    from aiod.native.network.elements import Elements

log = logging.getLogger(__name__)

T = TypeVar("T")
OnRecord = tuple[Collection[NetworkRecord], Collection[Port]]
"""All networks, and all ports that containers have."""


class Kernel:
    """What one daemon's networks are in the kernel."""

    def __init__(self, config: DaemonConfig) -> None:
        self._tag = config.tag
        self._table = config.table
        self._made: dict[str, str] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self._opening = threading.Lock()
        self._opened: Elements | None = None
        self.on_record: Callable[[], OnRecord] = lambda: ((), ())

    async def ensure(self, network: NetworkRecord) -> None:
        """Have what the network's containers are to be joined to. Raises InternalError."""
        if self.is_there(network):
            return
        async with self._making.setdefault(network.id, asyncio.Lock()):
            if not self.is_there(network):
                known = self.on_record()
                await _in_thread(lambda: self._make(network, known))
                self._made[network.id] = network.link

    def is_there(self, network: NetworkRecord) -> bool:
        """Whether it was made, and nobody has taken it away since."""
        link = self._made.get(network.id, "" if model.has_addresses(network) else network.link)
        return link == network.link and (not link or _exists(link))

    def _make(self, network: NetworkRecord, known: OnRecord) -> None:
        from aiod.native.network import host, nftables

        if network.driver != model.BRIDGE:
            _make_parent(network, self._alias(network.id))
            return
        if not nftables.exists(self._table):
            self._replace(known)
        was_there = _exists(network.link)  # maybe with containers that run on it
        try:
            self._make_bridge(network)
            self._tell(network, nftables.add_network)
        except NativeError:
            if not was_there:
                host.remove(network.link, self._alias(network.id))
            raise

    def _replace(self, known: OnRecord) -> None:
        """Have the rules be those of the networks that were made, and of all ports."""
        from aiod.native.network import nftables

        networks, ports = known
        made = [one for one in networks if one.id in self._made]
        nftables.replace_all(self._table, all_rules(made), ports)

    def _make_bridge(self, network: NetworkRecord) -> None:
        from aiod.native.network import host

        alias, mac = self._alias(network.id), _mac(network.id)
        host.ensure_bridge(
            host.Bridge(network.link, alias, mac, model.mtu(network), _addresses(network))
        )

    def _tell(self, network: NetworkRecord, tell: Callable[[str, NetworkRules], None]) -> None:
        known = rules_of(network)
        if known is not None:
            tell(self._table, known)

    async def remove(self, network: NetworkRecord) -> None:
        """Take away what was made for a network; another's link stays. Raises InternalError."""
        self._made.pop(network.id, None)
        self._making.pop(network.id, None)
        if model.has_addresses(network) and network.link:
            await _in_thread(lambda: self._remove(network))

    def _remove(self, network: NetworkRecord) -> None:
        from aiod.native.network import host, nftables

        try:
            if nftables.exists(self._table):
                self._tell(network, nftables.remove_network)
        finally:
            host.remove(network.link, self._alias(network.id))

    async def settle(
        self,
        networks: Collection[NetworkRecord],
        sandboxes: Collection[Sandbox],
    ) -> list[str]:
        """As the daemon starts: have what `networks` and the containers that run need, and no more.

        The rules are replaced in one transaction. Returns the names of links that were left over,
        and are gone now. Raises InternalError.
        """
        return await _in_thread(lambda: self._settle(networks, sandboxes))

    def _settle(
        self, networks: Collection[NetworkRecord], sandboxes: Collection[Sandbox]
    ) -> list[str]:
        from aiod.native.network import host, nftables

        known = {self._alias(network.id) for network in networks}
        used = {one.host_name for sandbox in sandboxes for one in sandbox.interfaces}
        swept = host.sweep(self._is_ours, known, used)
        needed = {one.network for sandbox in sandboxes for one in sandbox.interfaces}
        wanted = [one for one in networks if one.id in needed or not model.is_built_in(one)]
        bridged = [one for one in wanted if one.driver == model.BRIDGE and one.link]
        if bridged or nftables.exists(self._table):
            ports = [port for sandbox in sandboxes for port in sandbox.ports]
            nftables.replace_all(self._table, all_rules(bridged), ports)
        for network in bridged:
            try:
                self._make_bridge(network)
            except NativeError as error:  # whoever starts on it tries again, and is told
                log.warning("network %s: %s", network.name, error)
            else:
                self._made[network.id] = network.link
        return swept

    async def change(self, process: tuple[int, int], before: Sandbox, after: Sandbox) -> None:
        """Change the network of a container that runs; `process` is its init's pid and start time.

        Raises InternalError, and then it is as before.
        """
        await _in_thread(lambda: self._change(process, before, after))

    def _change(self, process: tuple[int, int], before: Sandbox, after: Sandbox) -> None:
        from aiod.native.network.change import change

        gone = [port for port in before.ports if port not in after.ports]
        come = [port for port in after.ports if port not in before.ports]
        if gone:
            self._elements().withdraw(gone)
        change(*process, before, after)
        if come:
            self._elements().publish(come)

    async def withdraw(self, ports: Collection[Port]) -> None:
        """The host's ports lead nowhere any more. Raises InternalError."""
        if ports:
            await _in_thread(lambda: self._elements().withdraw(ports))

    async def publish(self, ports: Collection[Port]) -> None:
        """The host's ports lead to the container's. Raises InternalError.

        Until they do, the shim's proxy serves them.
        """
        if ports and not await _in_thread(lambda: self._published(ports)):
            log.warning("nftables table %s was taken away, and is made again", self._table)
            known = self.on_record()
            await _in_thread(lambda: self._replace(known))

    def _published(self, ports: Collection[Port]) -> bool:
        """False where there is no table any more: somebody has flushed the host's rules."""
        try:
            self._elements().publish(ports)
        except NativeError as error:
            if error.errno != ENOENT:
                raise
            return False
        return True

    def _elements(self) -> "Elements":
        from aiod.native.network.elements import Elements

        with self._opening:
            if self._opened is None:
                self._opened = Elements(self._table)
            return self._opened

    async def subnets(self) -> set[Network]:
        """What the host reaches already, so that no pool may overlap with it.

        Raises InternalError.
        """
        return await _in_thread(_subnets)

    def _alias(self, network_id: str) -> str:
        return f"aiod:{self._tag}:{network_id}"

    def _is_ours(self, alias: str) -> bool:
        return alias.startswith(self._alias(""))


def _addresses(network: NetworkRecord) -> tuple[str, ...]:
    """The host's own on a bridge: the gateways."""
    return tuple(
        f"{pool.gateway}/{pool.subnet.partition('/')[2]}" for pool in network.pools if pool.gateway
    )


def _mac(network_id: str) -> str:
    """The same for a network for ever; a bridge without one takes that of whoever joins it."""
    return (b"\x02\x42" + hashlib.sha256(network_id.encode()).digest()[:4]).hex(":")


def _make_parent(network: NetworkRecord, alias: str) -> None:
    """`LINK.TAG` is that VLAN of a link; a name of ours leads nowhere; others are the host's."""
    from aiod.native.network import host

    below, _, tag = network.link.rpartition(".")
    if _exists(network.link):
        return
    if below and tag.isdecimal():
        host.ensure_parent(network.link, alias, below, int(tag))
    elif network.link == nowhere(network.id):
        host.ensure_parent(network.link, alias)
    else:
        raise NativeError(f'find the link "{network.link}"', 19)


def nowhere(network_id: str) -> str:
    """The name of the link that is the parent of a network without one."""
    return f"dm-{network_id[:12]}"


def _exists(link: str) -> bool:
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True


def _subnets() -> set[Network]:
    from aiod.native.network import host

    return host.subnets()


async def _in_thread(work: Callable[[], T]) -> T:
    """What it returns; begun, it is done to its end. Raises InternalError with the step's name."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except NativeError as error:
        raise InternalError(str(error)) from error
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
