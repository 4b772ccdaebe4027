"""The one SQLite file: opening, migrating, and a writer that commits waiting work together.

Owns connections and transactions; must not know what the tables mean. WAL with
`synchronous=FULL`: what `transact` has returned from survives a power cut
(sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite

from aiod.errors import InternalError, UnavailableError
from aiod.store.migrations import MIGRATIONS

T = TypeVar("T")
Work = Callable[[aiosqlite.Connection], Awaitable[T]]

_BUSY_SECONDS = 10.0
_MOST_AT_ONCE = 128
_WAITING = 4096


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    done: asyncio.Future[Any]


class Database:
    """One writer and one reader on a file that only this daemon opens."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(_WAITING)
        self._closing = False
        self.on_commit: list[Callable[[], None]] = []
        self._task = asyncio.create_task(self._write(), name="database writer")

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open or make the database and bring it up to date.

        Raises InternalError naming the file if it is damaged or of a later release.
        """
        async with contextlib.AsyncExitStack() as undo:
            try:
                writer = await aiosqlite.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
                undo.push_async_callback(writer.close)
                await _prepare(writer)
                await _migrate(writer, path)
                reader = await aiosqlite.connect(
                    f"file:{quote(str(path))}?mode=ro",
                    timeout=_BUSY_SECONDS,
                    isolation_level=None,
                    uri=True,
                )
            except sqlite3.DatabaseError as error:
                raise InternalError(f"database {path}: {error}") from error
            undo.pop_all()
        return cls(path, writer, reader)

    async def close(self) -> None:
        """Commit what waits, then close."""
        if not self._closing:
            self._closing = True
            await self._jobs.put(None)
        await self._task
        await self._reader.close()
        await self._writer.close()

    async def rows(self, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds that changes nothing. Raises InternalError naming the file."""
        try:
            # In one step of the reader's thread: a statement left half read would keep the
            # connection at its snapshot, and whoever asks next would not see what is committed.
            found = await self._reader.execute_fetchall(query, parameters)
            return [tuple(row) for row in found]
        except sqlite3.Error as error:
            raise InternalError(f"database {self._path}: {error}") from error

    async def transact(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once it is on disk.

        What waits at the same time is committed together, each in a savepoint of its own: an
        exception of `work` undoes its changes alone, and is raised here. A cancelled caller's
        work may have been done.
        """
        if self._closing:
            raise UnavailableError("the daemon is stopping")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._jobs.put(_Job(work, done))
        return await done

    async def _write(self) -> None:
        ended = False
        while not ended:
            batch = [await self._jobs.get()]
            while len(batch) < _MOST_AT_ONCE and not self._jobs.empty():
                batch.append(self._jobs.get_nowait())
            ended = None in batch
            await self._commit([job for job in batch if job is not None])

    async def _commit(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            await self._writer.execute("BEGIN IMMEDIATE")
            if len(jobs) == 1:
                outcomes = [await self._attempt_alone(jobs[0])]
            else:
                outcomes = [await self._attempt(job) for job in jobs]
            if self._writer.in_transaction:
                await self._writer.execute("COMMIT")
        except Exception as error:  # whatever it is, the writer goes on and the callers hear of it
            with contextlib.suppress(sqlite3.Error):
                await self._writer.execute("ROLLBACK")
            failure = InternalError(f"database {self._path}: {error}")
            for job in jobs:
                _settle(job.done, failure)
            return
        for job, outcome in zip(jobs, outcomes, strict=True):
            _settle(job.done, outcome)
        for tell in self.on_commit:
            tell()

    async def _attempt_alone(self, job: _Job) -> Any:
        """As `_attempt`, with no savepoint: each statement is a trip to the writer's thread."""
        try:
            return await job.work(self._writer)
        except Exception as error:
            if not self._writer.in_transaction:
                raise
            await self._writer.execute("ROLLBACK")
            return self._told(error)

    def _told(self, error: Exception) -> Exception:
        """What the caller hears of its own work's failure."""
        unexpected = isinstance(error, sqlite3.Error)
        return InternalError(f"database {self._path}: {error}") if unexpected else error

    async def _attempt(self, job: _Job) -> Any:
        await self._writer.execute("SAVEPOINT job")
        try:
            outcome = await job.work(self._writer)
        except Exception as error:
            if not self._writer.in_transaction:
                # A full disk undoes the whole transaction (sqlite.org/lang_transaction.html).
                raise
            await self._writer.execute("ROLLBACK TO job")
            outcome = self._told(error)
        await self._writer.execute("RELEASE job")
        return outcome


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


async def _prepare(connection: aiosqlite.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        await connection.execute(f"PRAGMA {pragma}")


async def _migrate(connection: aiosqlite.Connection, path: Path) -> None:
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    version = int(row[0]) if row else 0
    if version > len(MIGRATIONS):
        raise InternalError(
            f"database {path} is of a later release (schema {version}, known {len(MIGRATIONS)})"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        await connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            await connection.execute(statement)
        await connection.execute(f"PRAGMA user_version={number}")
        await connection.execute("COMMIT")
