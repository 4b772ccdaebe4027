"""The store: what is on disk when a call returns, and what one failure leaves alone."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from aiod.errors import ConflictError, InternalError, NotFoundError
from aiod.store.containers import ContainerRepository
from aiod.store.database import Database
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.models import ContainerConfig, ExecConfig, HostConfig, NetworkingConfig
from aiod.store.records import ContainerRecord, EventRecord, ExecRecord


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "d.db")
    yield opened
    await opened.close()


def record(container_id: str, name: str) -> ContainerRecord:
    config, host = ContainerConfig(), HostConfig()
    return ContainerRecord(
        container_id, name, 1, "sha256:i", "i", "sh", (), config, host, NetworkingConfig(),
        "none", (), "h", "",
    )  # fmt: skip


def happening(action: str, time_ns: int = 1) -> EventRecord:
    return EventRecord(0, time_ns, "container", action, "c", {"name": "n"})


async def test_a_failing_transaction_undoes_itself_alone(database: Database) -> None:
    async def good(connection: aiosqlite.Connection) -> int:
        await connection.execute("INSERT INTO images VALUES ('a', '')")
        return 7

    async def bad(connection: aiosqlite.Connection) -> None:
        await connection.execute("INSERT INTO images VALUES ('b', '')")
        raise ValueError("no")

    results = await asyncio.gather(
        database.transact(good), database.transact(bad), return_exceptions=True
    )
    assert results[0] == 7
    assert isinstance(results[1], ValueError)
    async with database.reader.execute("SELECT id FROM images") as cursor:
        assert [row[0] for row in await cursor.fetchall()] == ["a"]


async def test_many_waiting_transactions_share_a_commit(database: Database) -> None:
    commits = 0

    def count() -> None:
        nonlocal commits
        commits += 1

    database.on_commit.append(count)
    repository = ContainerRepository(database)
    await asyncio.gather(*(repository.insert(record(str(n), f"n{n}")) for n in range(100)))
    assert len((await repository.load_all()).records) == 100
    assert commits < 10


async def test_taken_name_is_a_conflict(database: Database) -> None:
    repository = ContainerRepository(database)
    await repository.insert(record("1", "one"))
    with pytest.raises(ConflictError, match='"/one" is already in use by container "1"'):
        await repository.insert(record("2", "one"))
    with pytest.raises(NotFoundError):
        await repository.update(record("3", "three"))


async def test_broken_row_hides_no_other(database: Database, tmp_path: Path) -> None:
    repository = ContainerRepository(database)
    for n in "123":
        await repository.insert(record(n, f"n{n}"))
    connection = sqlite3.connect(tmp_path / "d.db")
    with connection:
        connection.execute("UPDATE containers SET document = '{' WHERE id = '2'")
    connection.close()
    found = await repository.load_all()
    assert [r.id for r in found.records] == ["1", "3"]
    assert [broken[0] for broken in found.broken] == ["2"]


async def test_execs_go_with_their_container(database: Database) -> None:
    containers, execs = ContainerRepository(database), ExecRepository(database)
    await containers.insert(record("1", "one"))
    await execs.put(ExecRecord("e", "1", ExecConfig(), 1))
    await execs.put(ExecRecord("e", "1", ExecConfig(), 1, exit_code=3))
    assert [e.exit_code for e in await execs.load_all()] == [3]
    await containers.delete("1")
    assert await execs.load_all() == []
    with pytest.raises(InternalError):
        await execs.put(ExecRecord("e", "1", ExecConfig(), 1))


async def test_slow_follower_misses_nothing(database: Database) -> None:
    log = EventLog(database)
    await log.append([happening("past")])
    seen: list[str] = []

    async def follow() -> None:
        stream = log.follow(since_ns=0, until_ns=None, wait=True)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                seen.append(event.action)
                await asyncio.sleep(0)
                if event.action == "last":
                    return

    follower = asyncio.create_task(follow())
    repository = ContainerRepository(database)
    for n in range(600):
        await repository.insert(record(str(n), f"n{n}"), [happening(str(n))])
    await log.append([happening("last")])
    await follower
    assert seen == ["past", *map(str, range(600)), "last"]
    assert log.listeners == 0


async def test_events_by_time_and_trimmed(database: Database) -> None:
    log = EventLog(database)
    await log.append([happening(str(n), n) for n in range(10)])
    past = [e.action async for e in log.follow(since_ns=3, until_ns=5, wait=False)]
    assert past == ["3", "4", "5"]
    await log.trim(kept=2)
    assert [e.action for e in await log.since(None, None, 0)] == ["8", "9"]
    assert await log.last_seq() == 10


async def test_database_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(InternalError, match=r"later\.db is of a later release"):
        await Database.open(path)


async def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(InternalError, match=r"bad\.db"):
        await Database.open(path)


_WRITER = """
import asyncio, pathlib, sys
from aiod.store.database import Database
async def main():
    database = await Database.open(pathlib.Path(sys.argv[1]))
    async def put(n):
        async def work(connection):
            await connection.execute("INSERT INTO images VALUES (?, '')", (f"{n:06}",))
        await database.transact(work)
        print(n, flush=True)
    for start in range(0, 10**6, 20):
        await asyncio.gather(*(put(n) for n in range(start, start + 20)))
asyncio.run(main())
"""


def test_what_was_confirmed_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        confirmed = [int(process.stdout.readline()) for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        confirmed += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    connection = sqlite3.connect(path)
    kept = {int(row[0]) for row in connection.execute("SELECT id FROM images")}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert set(confirmed) <= kept
