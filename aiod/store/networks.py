"""Networks and containers' ends of them in SQLite.

A container's record and those of its ends are one transaction: whoever records containers calls
`insert_endpoints` within its own. That no two ends of a network have one address is a constraint
here, too. Must not know how an address is chosen.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import aiosqlite
import msgspec

from aiod.errors import ConflictError, InternalError
from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.networkrecords import EndpointRecord, NetworkRecord
from aiod.store.records import EventRecord

_PUT = (
    "INSERT INTO endpoints (container_id, network_id, ipv4, ipv6, document) "
    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (container_id, network_id) DO UPDATE SET "
    "ipv4 = excluded.ipv4, ipv6 = excluded.ipv6, document = excluded.document"
)


@dataclass(frozen=True, slots=True)
class LoadedNetworks:
    """All records, and the ids and reasons of rows that could not be understood.

    `held` are addresses, by network, of ends that could not be.
    """

    networks: list[NetworkRecord]
    endpoints: list[EndpointRecord]
    broken: list[tuple[str, str]]
    held: list[tuple[str, str]]


class NetworkRepository:
    """Every change and its events are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_all(self) -> LoadedNetworks:
        """Everything there is; a broken row hides no other."""
        found = LoadedNetworks([], [], [], [])
        for network_id, document in await self._database.rows("SELECT id, document FROM networks"):
            try:
                found.networks.append(msgspec.json.decode(document, type=NetworkRecord))
            except msgspec.MsgspecError as error:
                found.broken.append((network_id, str(error)))
        query = "SELECT container_id, network_id, ipv4, ipv6, document FROM endpoints"
        for container_id, network_id, *texts, document in await self._database.rows(query):
            try:
                found.endpoints.append(msgspec.json.decode(document, type=EndpointRecord))
            except msgspec.MsgspecError as error:
                found.broken.append((container_id, str(error)))
                found.held.extend([(network_id, text) for text in texts if text])
        return found

    async def insert(self, network: NetworkRecord, events: Iterable[EventRecord] = ()) -> None:
        """Add a network. Raises ConflictError if its name is taken."""
        recorded, document = list(events), _document(network)

        async def work(connection: aiosqlite.Connection) -> None:
            statement = "INSERT INTO networks (id, name, document) VALUES (?, ?, ?)"
            try:
                await connection.execute(statement, (network.id, network.name, document))
            except sqlite3.IntegrityError:
                raise ConflictError(f"network with name {network.name} already exists") from None
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def replace(self, network: NetworkRecord) -> None:
        """Add a network, or replace its row, whether or not that can be understood."""
        document = _document(network)

        async def work(connection: aiosqlite.Connection) -> None:
            statement = "INSERT OR REPLACE INTO networks (id, name, document) VALUES (?, ?, ?)"
            await connection.execute(statement, (network.id, network.name, document))

        await self._database.transact(work)

    async def update(self, network: NetworkRecord) -> None:
        """Replace a network's document."""
        document = _document(network)

        async def work(connection: aiosqlite.Connection) -> None:
            statement = "UPDATE networks SET document = ? WHERE id = ?"
            await connection.execute(statement, (document, network.id))

        await self._database.transact(work)

    async def delete(self, network_ids: Iterable[str], events: Iterable[EventRecord] = ()) -> None:
        """Forget networks; an unknown id is no error."""
        gone, recorded = [(network_id,) for network_id in network_ids], list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany("DELETE FROM networks WHERE id = ?", gone)
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def record(self, events: Iterable[EventRecord]) -> None:
        """Only note what happened."""
        await self.put((), events)

    async def put(
        self,
        endpoints: Iterable[EndpointRecord],
        events: Iterable[EventRecord] = (),
        gone: Iterable[EndpointRecord] = (),
    ) -> None:
        """Insert or replace ends of networks, and forget those that are `gone`.

        Raises InternalError where an address is taken.
        """
        written, recorded = list(endpoints), list(events)
        keys = [(one.container_id, one.network_id) for one in gone]

        async def work(connection: aiosqlite.Connection) -> None:
            statement = "DELETE FROM endpoints WHERE container_id = ? AND network_id = ?"
            await connection.executemany(statement, keys)
            await insert_endpoints(connection, written)
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)


async def insert_endpoints(
    connection: aiosqlite.Connection, endpoints: Iterable[EndpointRecord]
) -> None:
    """Insert or replace ends of networks; part of the caller's transaction."""
    for one in endpoints:
        has = one.assigned
        ipv4, ipv6 = (has.ipv4 or None, has.ipv6 or None) if has else (None, None)
        values = (one.container_id, one.network_id, ipv4, ipv6, _document(one))
        try:
            await connection.execute(_PUT, values)
        except sqlite3.IntegrityError as error:
            raise InternalError(f"endpoint of {one.network_name}: {error}") from None


def _document(record: NetworkRecord | EndpointRecord) -> str:
    return msgspec.json.encode(record).decode()
