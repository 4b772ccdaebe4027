"""Volume records in SQLite.

A container's record and those of the volumes made for it are one transaction: whoever records
containers calls `insert_rows` and `delete_rows` within its own. Must not know where data are.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import aiosqlite
import msgspec

from aiod.errors import ConflictError
from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.records import EventRecord, VolumeRecord


@dataclass(frozen=True, slots=True)
class LoadedVolumes:
    """All records, the names of those whose removal has begun, and of rows not understood."""

    records: list[VolumeRecord]
    removing: list[str]
    broken: list[str]


class VolumeRepository:
    """Every change and its events are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_all(self) -> LoadedVolumes:
        """Everything there is; a broken row hides no other."""
        found = LoadedVolumes([], [], [])
        query = "SELECT name, removing, document FROM volumes ORDER BY name"
        for name, removing, document in await self._database.rows(query):
            if removing:
                found.removing.append(name)
            try:
                found.records.append(msgspec.json.decode(document, type=VolumeRecord))
            except msgspec.MsgspecError:
                found.broken.append(name)
        return found

    async def insert(self, records: Iterable[VolumeRecord], events: Iterable[EventRecord]) -> None:
        """Add records. Raises ConflictError for a name that is taken."""
        made, recorded = list(records), list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await insert_rows(connection, made)
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def begin_removal(self, names: Iterable[str]) -> None:
        """From here on the next daemon finishes it."""
        rows = [(name,) for name in names]

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany("UPDATE volumes SET removing = 1 WHERE name = ?", rows)

        await self._database.transact(work)

    async def give_up_removal(self, name: str) -> None:
        """It stays after all."""

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute("UPDATE volumes SET removing = 0 WHERE name = ?", (name,))

        await self._database.transact(work)

    async def delete(self, names: Iterable[str], events: Iterable[EventRecord]) -> None:
        """Forget volumes; unknown names are no error."""
        gone, recorded = list(names), list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await delete_rows(connection, gone)
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)


async def insert_rows(connection: aiosqlite.Connection, records: Iterable[VolumeRecord]) -> None:
    """Add records; part of the caller's transaction. Raises ConflictError for a taken name."""
    for record in records:
        document = msgspec.json.encode(record).decode()
        statement = "INSERT INTO volumes (name, removing, document) VALUES (?, 0, ?)"
        try:
            await connection.execute(statement, (record.name, document))
        except sqlite3.IntegrityError:
            raise ConflictError(f"create {record.name}: the name is taken") from None


async def delete_rows(connection: aiosqlite.Connection, names: Iterable[str]) -> None:
    """Forget volumes; part of the caller's transaction."""
    await connection.executemany("DELETE FROM volumes WHERE name = ?", [(name,) for name in names])
