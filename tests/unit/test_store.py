"""The store: what is on disk when a call returns, and what one failure leaves alone."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from aiod.errors import ConflictError, InternalError, NotFoundError
from aiod.store import eventrows, recent
from aiod.store.containers import ContainerRepository
from aiod.store.database import Database
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.migrations import MIGRATIONS
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
    assert await database.rows("SELECT id FROM images") == [("a",)]


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
    assert [broken[:2] for broken in found.broken] == [("2", "n2")]


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


async def test_a_follower_is_woken_however_much_is_read_beside_it(database: Database) -> None:
    """No reader's snapshot hides from another what was committed before it asked."""
    log = EventLog(database)
    await log.append([happening("past")] * 20)

    async def read() -> None:
        while True:
            await database.rows("SELECT * FROM events")

    async def follow(last: str) -> None:
        stream = log.follow(since_ns=0, until_ns=None, wait=True)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                if event.action == last:
                    return

    readers = [asyncio.create_task(read()) for _ in range(20)]
    try:
        async with asyncio.timeout(60):
            for number in range(60):
                followers = [asyncio.create_task(follow(str(number))) for _ in range(5)]
                for _ in range(number % 7):
                    await database.rows("SELECT 1")
                await log.append([happening(str(number))])
                await asyncio.gather(*followers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def test_a_follower_until_a_time_has_all_before_it(database: Database) -> None:
    """However much that is, and however soon the time comes; then it ends by itself."""
    await EventLog(database).append([happening(str(n), n) for n in range(3 * recent.KEPT)])
    for left in (0, 50_000_000):
        log = EventLog(database)  # which has not looked at any yet
        events = log.follow(since_ns=0, until_ns=time.time_ns() + left, wait=True)
        async with asyncio.timeout(30):
            assert [e.action async for e in events] == [str(n) for n in range(3 * recent.KEPT)]
        assert log.listeners == 0


async def test_events_by_time(database: Database) -> None:
    log = EventLog(database)
    await log.append([happening(str(n), n) for n in range(10)])
    past = [e.action async for e in log.follow(since_ns=3, until_ns=5, wait=False)]
    assert past == ["3", "4", "5"]
    assert await log.last_seq() == 10


async def test_events_in_memory_and_on_disk_are_one_log(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a clock was set back, so that a later number has an earlier time."""
    monkeypatch.setattr(recent, "KEPT", 10)
    log = EventLog(database)
    times = [*range(100, 130), *range(105, 145)]
    asked: list[tuple[int, int]] = [(0, 999), (104, 107), (128, 140), (143, 999), (144, 999)]
    for number, when in enumerate(times):
        await log.append([happening(str(number), when)])
        for begin, end in asked if number % 7 == 0 or number > 60 else ():
            found = [e.action async for e in log.follow(since_ns=begin, until_ns=end, wait=False)]
            expected = [str(n) for n, t in enumerate(times[: number + 1]) if begin <= t <= end]
            assert found == expected


async def test_a_reader_that_is_cancelled_hides_no_event(database: Database) -> None:
    log = EventLog(database)
    for number in range(50):
        await log.append([happening(str(number))])
        reader = asyncio.ensure_future(anext(log.follow(since_ns=0, until_ns=None, wait=True)))
        for _ in range(number % 9):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    found = [e.action async for e in log.follow(since_ns=0, until_ns=None, wait=False)]
    assert found == [str(number) for number in range(50)]


async def test_event_log_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever records the events; numbers go on, and none is given twice."""
    monkeypatch.setattr(eventrows, "KEPT", 20)
    monkeypatch.setattr(eventrows, "TRIM_EVERY", 10)
    repository, log = ContainerRepository(database), EventLog(database)
    for n in range(95):
        await repository.insert(record(str(n), f"n{n}"), [happening(str(n))])
    kept = [e.seq for e in await log.since(None, None, 0)]
    assert kept == list(range(71, 96))
    monkeypatch.setattr(eventrows, "KEPT", 0)
    await log.append([happening("x") for _ in range(5)])
    assert await log.since(None, None, 0) == []
    await log.append([happening("next")])
    assert [e.seq for e in await log.since(None, None, 0)] == [101]


async def test_one_undecodable_event_hides_no_other(database: Database, tmp_path: Path) -> None:
    log = EventLog(database)
    await log.append([happening(str(n)) for n in range(3)])
    connection = sqlite3.connect(tmp_path / "d.db")
    with connection:
        connection.execute("UPDATE events SET attributes = '{' WHERE seq = 2")
    connection.close()
    past = [e.action async for e in log.follow(since_ns=0, until_ns=2, wait=False)]
    assert past == ["0", "2"]


def pragma(path: Path, name: str) -> object:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        connection.close()


async def test_settings_that_durability_stands_on(database: Database, tmp_path: Path) -> None:
    async def settings(connection: aiosqlite.Connection) -> list[object]:
        found = []
        for name in ("synchronous", "foreign_keys"):
            async with connection.execute(f"PRAGMA {name}") as cursor:
                row = await cursor.fetchone()
                assert row is not None
                found.append(row[0])
        return found

    full, on = 2, 1
    assert await database.transact(settings) == [full, on]
    assert pragma(tmp_path / "d.db", "journal_mode") == "wal"
    query = "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'"
    tables = {name: strict for name, strict in await database.rows(query) if name[:7] != "sqlite_"}
    assert set(tables) >= {"containers", "execs", "images", "events", "volumes"}
    assert set(tables.values()) == {1}


async def test_a_value_of_another_type_is_refused(database: Database) -> None:
    async def wrong(connection: aiosqlite.Connection) -> None:
        await connection.execute(
            "INSERT INTO containers VALUES ('i', 'n', 'm', 's', 'not a time', '')"
        )

    with pytest.raises(InternalError, match="cannot store TEXT value in INTEGER column"):
        await database.transact(wrong)


async def test_a_new_database_gets_every_migration(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    assert pragma(path, "user_version") == 0
    await (await Database.open(path)).close()
    assert pragma(path, "user_version") == len(MIGRATIONS)


async def test_a_current_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    for _ in range(2):
        database = await Database.open(path)
        repository = ContainerRepository(database)
        if not (await repository.load_all()).records:
            await repository.insert(record("1", "one"))
        await database.close()
    database = await Database.open(path)
    assert (await ContainerRepository(database).load_all()).records == [record("1", "one")]
    await database.close()


async def test_a_migration_happens_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next release's migration fails halfway: what was there is there, and opens again."""
    path = tmp_path / "d.db"
    database = await Database.open(path)
    await ContainerRepository(database).insert(record("1", "one"))
    await database.close()
    halfway = (*MIGRATIONS, ("DROP TABLE containers", "CREATE TABLE images (id TEXT)"))
    with monkeypatch.context() as patched:
        patched.setattr("aiod.store.database.MIGRATIONS", halfway)
        with pytest.raises(InternalError, match="table images already exists"):
            await Database.open(path)
    database = await Database.open(path)
    assert len((await ContainerRepository(database).load_all()).records) == 1
    await database.close()


async def test_a_full_database_says_so_and_loses_nothing(database: Database) -> None:
    """SQLite's own limit; tests/integration fills a real file system."""
    repository = ContainerRepository(database)
    await repository.insert(record("1", "one"))

    async def limit(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count=1")

    async def lift(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count=1000000")

    await database.transact(limit)
    inserts = (repository.insert(record(str(n), f"n{n}" + "x" * 10_000)) for n in range(2, 30))
    results = await asyncio.gather(*inserts, return_exceptions=True)
    failed = [result for result in results if result is not None]
    assert failed
    assert all("d.db: database or disk is full" in str(failure) for failure in failed)
    kept = (await repository.load_all()).records
    assert len(kept) == 1 + len(results) - len(failed), "what failed is not there, the rest is"
    await database.transact(lift)
    await repository.insert(record("last", "last"))
    assert len((await repository.load_all()).records) == len(kept) + 1


async def test_an_unexpected_failure_does_not_end_the_writer(database: Database) -> None:
    """Work that left no transaction, and then failed at something else."""

    async def odd(connection: aiosqlite.Connection) -> None:
        await connection.execute("ROLLBACK")
        raise ValueError("odd")

    with pytest.raises(InternalError, match="odd"):
        await database.transact(odd)
    await ContainerRepository(database).insert(record("1", "one"))


async def test_any_path_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d" / "d.db"
    path.parent.mkdir()
    database = await Database.open(path)
    await ContainerRepository(database).insert(record("1", "one"))
    assert len((await ContainerRepository(database).load_all()).records) == 1
    await database.close()


async def test_a_read_only_database_says_so(database: Database) -> None:
    repository = ContainerRepository(database)
    await repository.insert(record("1", "one"))

    async def forbid(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA query_only=ON")

    await database.transact(forbid)
    with pytest.raises(InternalError, match="readonly database"):
        await repository.insert(record("2", "two"))
    assert [r.id for r in (await repository.load_all()).records] == ["1"]


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
    with pytest.raises(InternalError, match=r"bad\.db: file is not a database"):
        await Database.open(path)
    assert path.read_bytes() == b"no database at all" * 100


async def test_damaged_pages_are_an_error_and_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    database = await Database.open(path)
    repository = ContainerRepository(database)
    for n in range(100):
        await repository.insert(record(str(n), f"n{n}" * 100))
    await database.close()
    data = path.read_bytes()
    damaged = data[:8192] + b"\xff" * (len(data) - 8192)
    path.write_bytes(damaged)
    with pytest.raises(InternalError, match=r"bad\.db: database disk image is malformed"):
        await _load(path)
    assert path.read_bytes() == damaged


async def _load(path: Path) -> None:
    database = await Database.open(path)
    try:
        await ContainerRepository(database).load_all()
    finally:
        await database.close()


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
