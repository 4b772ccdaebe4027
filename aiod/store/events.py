"""The durable event log and those who follow it.

Owns reading and waking followers; must not know what the events mean. Followers read the table
by number: one that is slow misses nothing, and one that comes back asks from a time on.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable

import aiosqlite
import msgspec

from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.records import EventRecord

_PAGE = 500


class EventLog:
    """The log of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()
        self.listeners = 0
        database.on_commit.append(self._notify)

    async def append(self, events: Iterable[EventRecord]) -> None:
        """Record what belongs to no other change."""
        recorded = list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    def _notify(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def last_seq(self) -> int:
        """The number of the newest event; 0 if there is none."""
        rows = await self._database.rows("SELECT coalesce(max(seq), 0) FROM events")
        return int(rows[0][0])

    async def since(
        self, since_ns: int | None, until_ns: int | None, after_seq: int, limit: int = _PAGE
    ) -> list[EventRecord]:
        """The next events after `after_seq`, in order, with a time in the bounds (inclusive)."""
        rows = await self._rows(since_ns or 0, until_ns or 2**63 - 1, after_seq, limit)
        return [eventrows.parse(row) for row in rows]

    async def _rows(
        self, since_ns: int, until_ns: int, after_seq: int, limit: int
    ) -> list[tuple[object, ...]]:
        parameters = (after_seq, since_ns, until_ns, limit)
        return await self._database.rows(eventrows.SELECT, parameters)

    async def follow(
        self, *, since_ns: int | None, until_ns: int | None, wait: bool
    ) -> AsyncGenerator[EventRecord, None]:
        """Past events from `since_ns` on, and with `wait` those to come.

        Without `since_ns` only those to come, or, with an `until_ns` that is over, all before
        it. One undecodable row hides no other.
        """
        after = 0 if since_ns is not None or not wait else await self.last_seq()
        self.listeners += 1
        try:
            while True:
                news = self._news
                rows = await self._rows(since_ns or 0, until_ns or 2**63 - 1, after, _PAGE)
                for row in rows:
                    after = int(str(row[0]))
                    try:
                        yield eventrows.parse(row)
                    except msgspec.MsgspecError:
                        continue
                if rows:
                    continue
                if not wait or (until_ns is not None and time.time_ns() > until_ns):
                    return
                await news.wait()
        finally:
            self.listeners -= 1
