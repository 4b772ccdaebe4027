"""Exec records in SQLite. Must not know how an exec is run."""

import logging
from collections.abc import Iterable

import aiosqlite
import msgspec

from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.records import EventRecord, ExecRecord

log = logging.getLogger(__name__)


class ExecRepository:
    """Every change and its events are one transaction; they go with their container."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_all(self) -> list[ExecRecord]:
        """Every exec that can be understood; a broken row hides no other."""
        found = []
        for (document,) in await self._database.rows("SELECT document FROM execs"):
            try:
                found.append(msgspec.json.decode(document, type=ExecRecord))
            except msgspec.MsgspecError as error:
                log.warning("a record in execs cannot be understood: %s", error)
        return found

    async def put(self, record: ExecRecord, events: Iterable[EventRecord] = ()) -> None:
        """Insert or replace. Raises InternalError if its container is gone."""
        recorded = list(events)
        document = msgspec.json.encode(record).decode()

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(
                "INSERT INTO execs (id, container_id, document) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                (record.id, record.container_id, document),
            )
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def delete(self, exec_id: str) -> None:
        """Forget one; an unknown id is no error."""

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute("DELETE FROM execs WHERE id = ?", (exec_id,))

        await self._database.transact(work)
