"""Container records in SQLite: the whole record as a document, what is asked for in columns.

Must not know what a state means or how a container is run.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import aiosqlite
import msgspec

from aiod.errors import ConflictError, NotFoundError
from aiod.store import eventrows
from aiod.store import networks as networkrows
from aiod.store import volumes as volumerows
from aiod.store.database import Database
from aiod.store.networkrecords import EndpointRecord
from aiod.store.records import ContainerRecord, EventRecord, VolumeRecord


@dataclass(frozen=True, slots=True)
class LoadResult:
    """All records, and the ids, names and reasons of rows that could not be understood."""

    records: list[ContainerRecord]
    broken: list[tuple[str, str, str]]


_Values = tuple[str | int, ...]


class ContainerRepository:
    """Every change and its events are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_all(self) -> LoadResult:
        """Everything there is; a broken row hides no other."""
        found = LoadResult([], [])
        query = "SELECT id, name, document FROM containers ORDER BY created_ns"
        for container_id, name, document in await self._database.rows(query):
            try:
                found.records.append(msgspec.json.decode(document, type=ContainerRecord))
            except msgspec.MsgspecError as error:
                found.broken.append((container_id, name, str(error)))
        return found

    async def insert(
        self,
        record: ContainerRecord,
        events: Iterable[EventRecord] = (),
        volumes: Iterable[VolumeRecord] = (),
        endpoints: Iterable[EndpointRecord] = (),
    ) -> None:
        """Add a record, those of volumes made for it, and those of its ends of networks.

        Raises ConflictError if its name is taken.
        """
        recorded, made, ends = list(events), list(volumes), list(endpoints)

        async def work(connection: aiosqlite.Connection) -> None:
            await volumerows.insert_rows(connection, made)
            await _named(
                connection,
                record,
                "INSERT INTO containers (id, name, image_id, status, created_ns, document) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (record.id, *_columns(record)),
            )
            await networkrows.insert_endpoints(connection, ends)
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def update(self, record: ContainerRecord, events: Iterable[EventRecord] = ()) -> None:
        """Replace a record.

        Raises ConflictError if its name is taken, NotFoundError if it is not there any more.
        """
        recorded = list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            cursor = await _named(
                connection,
                record,
                "UPDATE containers SET name = ?, image_id = ?, status = ?, created_ns = ?, "
                "document = ? WHERE id = ?",
                (*_columns(record), record.id),
            )
            if cursor.rowcount != 1:
                raise NotFoundError(f"No such container: {record.id}")
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def delete(
        self,
        container_id: str,
        events: Iterable[EventRecord] = (),
        volumes: Iterable[str] = (),
    ) -> None:
        """Forget a container, its execs and these volumes; what is unknown is no error."""
        recorded, gone = list(events), list(volumes)

        async def work(connection: aiosqlite.Connection) -> None:
            await volumerows.delete_rows(connection, gone)
            await connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)


def _columns(record: ContainerRecord) -> tuple[str, str, str, int, str]:
    document = msgspec.json.encode(record).decode()
    status = record.state.status.value
    return record.name, record.image_id, status, record.created_ns, document


async def _named(
    connection: aiosqlite.Connection, record: ContainerRecord, statement: str, values: _Values
) -> aiosqlite.Cursor:
    """Execute what writes the record's name. Raises ConflictError if another has it."""
    try:
        return await connection.execute(statement, values)
    except sqlite3.IntegrityError:
        query = "SELECT id FROM containers WHERE name = ? AND id <> ?"
        holders = list(await connection.execute_fetchall(query, (record.name, record.id)))
        if not holders:
            raise
        raise ConflictError(
            f'Conflict. The container name "/{record.name}" is already in use by container '
            f'"{holders[0][0]}". You have to remove (or rename) that container to be able to '
            "reuse that name."
        ) from None
