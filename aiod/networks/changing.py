"""Has containers join and leave networks, while they run and while they do not.

Owns what changes on record, and how it is taken back when the kernel does not follow. Must not
know netlink, nor files of a run directory: `Plan` says what a container is to have.
"""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from aiod import failpoints
from aiod.errors import ForbiddenError, InternalError, InvalidParameterError
from aiod.native.network.description import Port, Sandbox
from aiod.networks import joining, model
from aiod.networks.directory import Directory
from aiod.networks.happenings import joined
from aiod.networks.running import Running
from aiod.networks.sandboxes import End, of_gateway
from aiod.store.models import EndpointSettings
from aiod.store.networkrecords import EndpointRecord, NetworkRecord
from aiod.store.networks import NetworkRepository
from aiod.store.records import ContainerRecord

JOINED = failpoints.declare("network.joined")
LEFT = failpoints.declare("network.left")


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of a container that runs: what it had, what it is to have, and how it was."""

    network: NetworkRecord
    before: Sandbox
    after: Sandbox
    rows_before: tuple[EndpointRecord, ...]
    rows_after: tuple[EndpointRecord, ...]


class Changer:
    """The joining and leaving of one daemon's containers."""

    def __init__(
        self, repository: NetworkRepository, directory: Directory, running: Running
    ) -> None:
        self._repository = repository
        self._directory = directory
        self._running = running

    # ---- containers that do not run ----

    async def note_join(
        self, record: ContainerRecord, reference: str, settings: EndpointSettings
    ) -> None:
        """It is to join a network at its next start. Raises AiodError."""
        network = self._directory.find(reference)
        self._check_join(record, network, settings)
        row = self._row(record, network, settings)
        gone = [one for one in self._rows(record) if one.network_name == network.name]
        await self._repository.put((row,), gone=gone)
        self._running.show(gone, (row,))

    async def note_leave(self, record: ContainerRecord, reference: str) -> None:
        """It is not to join a network any more. Raises AiodError."""
        row = self._joined(record, reference)
        await self._repository.put((), gone=(row,))
        self._directory.take_out(row.container_id, row.network_id)

    # ---- containers that run ----

    async def join(
        self, record: ContainerRecord, reference: str, settings: EndpointSettings
    ) -> Plan:
        """A running container is on a network from now on, on record. Raises AiodError."""
        network = self._directory.find(reference)
        self._check_join(record, network, settings)
        if any(row.network_id == network.id for row in self._rows(record)):
            raise ForbiddenError(
                f"endpoint with name {record.name} already exists in network {network.name}"
            )
        await self._running.ready(network)
        before = self._rows(record)
        names = [row.assigned.interface for row in before if row.assigned]
        given = self._running.given(self._row(record, network, settings), names)
        return await self._change(record, network, "connect", before, (*before, given))

    async def leave(self, record: ContainerRecord, reference: str) -> Plan:
        """A running container is not on a network any more, on record. Raises AiodError."""
        row = self._joined(record, reference)
        network = self._directory.network_of(row)
        before = self._rows(record)
        after = tuple(one for one in before if one is not row)
        return await self._change(record, network, "disconnect", before, after)

    async def _change(
        self,
        record: ContainerRecord,
        network: NetworkRecord,
        action: str,
        before: tuple[EndpointRecord, ...],
        after: tuple[EndpointRecord, ...],
    ) -> Plan:
        had = self._running.describe(record.id)
        after = self._with_ports(record, before, after)
        self._running.show(before, after)
        plan = Plan(network, had, self._running.describe(record.id), before, after)
        try:
            await self._write(before, after, action, network, record.id)
        except BaseException:
            self._running.show(after, before)
            self._running.take_back(_new(before, after))
            raise
        failpoints.reach(JOINED if action == "connect" else LEFT)
        return plan

    async def _write(
        self,
        before: Collection[EndpointRecord],
        after: Collection[EndpointRecord],
        action: str,
        network: NetworkRecord,
        container_id: str,
    ) -> None:
        changed = [row for row in after if row not in before]
        kept = {row.network_id for row in after}
        gone = [row for row in before if row.network_id not in kept]
        await self._repository.put(changed, joined((network,), action, container_id), gone=gone)

    def done(self, plan: Plan) -> None:
        """The kernel has followed: what was left is free."""
        self._running.take_back(_new(plan.rows_after, plan.rows_before))

    async def undo(self, record: ContainerRecord, plan: Plan) -> None:
        """The kernel did not follow: it is as it was."""
        action = "disconnect" if len(plan.rows_after) > len(plan.rows_before) else "connect"
        await self._write(plan.rows_after, plan.rows_before, action, plan.network, record.id)
        self._running.show(plan.rows_after, plan.rows_before)
        self._running.take_back(_new(plan.rows_before, plan.rows_after))

    def _with_ports(
        self,
        record: ContainerRecord,
        before: Collection[EndpointRecord],
        after: tuple[EndpointRecord, ...],
    ) -> tuple[EndpointRecord, ...]:
        """Published ports are at the end that has the gateway now; the host's stay as they are."""
        ports = [port for row in before if row.assigned for port in row.assigned.ports]
        ends = self._running.ends_of(after)
        ipv4, ipv6 = of_gateway(ends, 4), of_gateway(ends, 6)
        holder = ipv4 or ipv6
        if holder is None:
            return tuple(_with(row, ()) for row in after)
        if not ports:
            return after
        moved = tuple(_to(port, ipv4, ipv6) for port in ports)
        return tuple(_with(row, moved if row is holder.endpoint else ()) for row in after)

    # ---- checks ----

    def _check_join(
        self, record: ContainerRecord, network: NetworkRecord, settings: EndpointSettings
    ) -> None:
        joining.check_form(settings)
        mode = record.network_mode
        if mode.startswith(joining.CONTAINER):
            raise InvalidParameterError(joining.NOTHING_SHARED)
        if model.HOST in (mode, network.name):
            raise InvalidParameterError(joining.HOST_ALONE)
        rows = self._rows(record)
        if (network.name == model.NONE and rows) or any(
            row.network_name == model.NONE for row in rows
        ):
            raise InvalidParameterError(joining.NONE_ALONE)
        joining.check_on(network, settings)

    def _joined(self, record: ContainerRecord, reference: str) -> EndpointRecord:
        """Its end of a network, or of one that is gone. Raises AiodError."""
        for row in self._rows(record):
            if reference in (row.network_id, row.network_name):
                return self._leavable(record, row)
        network = self._directory.find(reference)
        for row in self._rows(record):
            if row.network_id == network.id:
                return self._leavable(record, row)
        if network.name == model.HOST:
            raise InvalidParameterError(joining.HOST_ALONE)
        raise InternalError(f"container {record.id} is not connected to network {network.name}")

    @staticmethod
    def _leavable(record: ContainerRecord, row: EndpointRecord) -> EndpointRecord:
        if row.network_name == model.HOST:
            raise InvalidParameterError(joining.HOST_ALONE)
        return row

    def _rows(self, record: ContainerRecord) -> tuple[EndpointRecord, ...]:
        return tuple(self._directory.ends_of(record.id))

    def _row(
        self, record: ContainerRecord, network: NetworkRecord, settings: EndpointSettings
    ) -> EndpointRecord:
        """One that it has already, or is to have when that is there, keeps its place."""
        rows = self._rows(record)
        kept = [row.place for row in rows if row.network_name == network.name]
        place = kept[0] if kept else 1 + max((row.place for row in rows), default=-1)
        return EndpointRecord(record.id, network.id, network.name, settings, place)


def _new(
    before: Collection[EndpointRecord], after: Collection[EndpointRecord]
) -> list[EndpointRecord]:
    """Those of `after` that were not there: all that they have is new, but for ports moved."""
    known = {row.network_id for row in before}
    kept = {port for row in before if row.assigned for port in map(_place, row.assigned.ports)}
    return [
        _with(row, [port for port in _ports(row) if _place(port) not in kept])
        for row in after
        if row.network_id not in known
    ]


def _ports(row: EndpointRecord) -> tuple[Port, ...]:
    return row.assigned.ports if row.assigned else ()


def _place(port: Port) -> tuple[str, str, int]:
    return port.protocol, port.host_address, port.host_port


def _with(row: EndpointRecord, ports: Collection[Port]) -> EndpointRecord:
    if row.assigned is None or row.assigned.ports == tuple(ports):
        return row
    assigned = msgspec.structs.replace(row.assigned, ports=tuple(ports))
    return msgspec.structs.replace(row, assigned=assigned)


def _to(port: Port, ipv4: End | None, ipv6: End | None) -> Port:
    """The same place of the host, leading to the container's address of that family, or any."""
    six = ":" in port.host_address
    end, version = (ipv6, 6) if (six and ipv6) or not ipv4 else (ipv4, 4)
    assert end is not None
    return msgspec.structs.replace(port, address=end.address(version).partition("/")[0])
