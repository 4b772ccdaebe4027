"""The durable event log and those who follow it.

Owns reading and waking followers; must not know what the events mean. Followers read the table
by number: one that is slow misses nothing, and one that comes back asks from a time on.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable

import aiosqlite
import msgspec

from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.recent import RecentEvents
from aiod.store.records import EventRecord

_PAGE = 500
_NEWEST = "SELECT coalesce(max(seq), 0), coalesce(max(time_ns), 0) FROM events"


class EventLog:
    """The log of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()
        self._recent: RecentEvents | None = None
        self._stale = True
        self._reading = asyncio.Lock()
        self.listeners = 0
        database.on_commit.append(self._notify)

    async def append(self, events: Iterable[EventRecord]) -> None:
        """Record what belongs to no other change."""
        recorded = list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    def _notify(self) -> None:
        self._stale = True
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
        """As `pages`, one by one."""
        pages = self.pages(since_ns=since_ns, until_ns=until_ns, wait=wait)
        async with contextlib.aclosing(pages):
            async for page in pages:
                for event in page:
                    yield event

    async def pages(
        self, *, since_ns: int | None, until_ns: int | None, wait: bool
    ) -> AsyncGenerator[list[EventRecord], None]:
        """Past events from `since_ns` on, and with `wait` those to come, some at a time.

        Without `since_ns` only those to come, or, with an `until_ns` that is over, all before
        it. With `until_ns` (nanoseconds since the epoch) it ends when that has come: all before
        it has been given by then, however long that takes. One undecodable row hides no other.
        """
        begin, end = since_ns or 0, until_ns or 2**63 - 1
        after = 0 if since_ns is not None or not wait else await self.last_seq()
        self.listeners += 1
        try:
            while True:
                news = self._news
                recent = await self._up_to_date()
                if recent.cover(begin, after):
                    found, after = recent.between(begin, end, after), max(after, recent.last)
                    more = False
                else:
                    rows = await self._rows(begin, end, after, _PAGE)
                    found, after = _readable(rows), int(str(rows[-1][0])) if rows else after
                    more = bool(rows)
                if found:
                    yield found
                if more:
                    continue
                if not wait or (until_ns is not None and time.time_ns() > until_ns):
                    return
                await _sign(news, until_ns)
        finally:
            self.listeners -= 1

    async def _up_to_date(self) -> RecentEvents:
        """The newest events, with all that is committed by now."""
        async with self._reading:
            if self._recent is None:
                newest = await self._database.rows(_NEWEST)
                before, latest = (int(str(value)) for value in newest[0])
                self._recent = RecentEvents(before, latest, before)
            while self._stale:
                self._stale = False
                try:
                    rows = await self._rows(0, 2**63 - 1, self._recent.last, _PAGE)
                except BaseException:
                    self._stale = True
                    raise
                for event in _readable(rows):
                    self._recent.add(event)
                if rows:
                    self._recent.last = int(str(rows[-1][0]))
                self._stale |= len(rows) == _PAGE
            return self._recent


async def _sign(news: asyncio.Event, until_ns: int | None) -> None:
    """Wait for news, but not beyond a time."""
    left = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / 1e9)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left):
            await news.wait()


def _readable(rows: Iterable[tuple[object, ...]]) -> list[EventRecord]:
    """The events in rows; one that cannot be decoded hides no other."""
    found = []
    for row in rows:
        with contextlib.suppress(msgspec.MsgspecError):
            found.append(eventrows.parse(row))
    return found
