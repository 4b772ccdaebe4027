"""Records of networks: what a constraint forbids, what goes with what, and damaged rows."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import msgspec
import pytest

from aiod.config import DaemonConfig, Paths
from aiod.errors import ConflictError, InternalError, NotFoundError
from aiod.networks.service import NetworkService
from aiod.store.containers import ContainerRepository
from aiod.store.database import Database
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig
from aiod.store.networkrecords import Assigned, EndpointRecord, NetworkRecord, PoolRecord
from aiod.store.networks import NetworkRepository
from aiod.store.records import ContainerRecord

NETWORK = NetworkRecord("a" * 64, "n", 1, pools=(PoolRecord("10.0.0.0/24", gateway="10.0.0.1"),))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "d.db")
    yield opened
    await opened.close()


def container(name: str) -> ContainerRecord:
    return ContainerRecord(
        name, name, 1, "sha256:i", "i", "sh", (), ContainerConfig(), HostConfig(),
        NetworkingConfig(), "n", (), "h", "",
    )  # fmt: skip


def end(name: str, ipv4: str = "", ipv6: str = "") -> EndpointRecord:
    assigned = Assigned(f"e-{name}", ipv4, ipv6) if ipv4 or ipv6 else None
    return EndpointRecord(name, NETWORK.id, "n", assigned=assigned)


async def test_a_container_and_its_ends_come_and_go_together(database: Database) -> None:
    containers, networks = ContainerRepository(database), NetworkRepository(database)
    await containers.insert(container("one"), endpoints=[end("one")])
    assert (await networks.load_all()).endpoints == [end("one")]
    with pytest.raises(ConflictError):  # its name is taken: nothing of it is there
        await containers.insert(
            msgspec.structs.replace(container("two"), name="one"), endpoints=[end("two")]
        )
    assert (await networks.load_all()).endpoints == [end("one")]
    await containers.delete("one")
    assert (await networks.load_all()).endpoints == []


@pytest.mark.parametrize("addresses", [("10.0.0.2/24", ""), ("", "fd00::2/64")])
async def test_no_two_ends_of_a_network_have_one_address(
    database: Database, addresses: tuple[str, str]
) -> None:
    containers, networks = ContainerRepository(database), NetworkRepository(database)
    for name in ("one", "two"):
        await containers.insert(container(name), endpoints=[end(name)])
    await networks.put([end("one", *addresses)])
    with pytest.raises(InternalError):
        await networks.put([end("two", *addresses)])
    # whoever gave it back has none, and neither is in another's way
    await networks.put([end("one")])
    await networks.put([end("two", *addresses)])
    found = (await networks.load_all()).endpoints
    assert {one.container_id: one.assigned for one in found} == {
        "one": None, "two": end("two", *addresses).assigned,
    }  # fmt: skip


async def test_a_name_is_one_networks(database: Database) -> None:
    networks = NetworkRepository(database)
    await networks.insert(NETWORK)
    with pytest.raises(ConflictError, match="network with name n already exists"):
        await networks.insert(NetworkRecord("b" * 64, "n", 2))
    await networks.delete([NETWORK.id, "unknown"])
    assert (await networks.load_all()).networks == []


async def _damage(database: Database, table: str, column: str, value: str) -> None:
    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute(f"UPDATE {table} SET document = '{{' WHERE {column} = ?", (value,))

    await database.transact(work)


def service(database: Database, tmp_path: Path) -> NetworkService:
    config = DaemonConfig(paths=Paths(tmp_path / "r", tmp_path / "s"))
    return NetworkService(config, NetworkRepository(database), "engine")


async def test_damaged_records_hide_no_others_and_give_no_address_away(
    database: Database, tmp_path: Path
) -> None:
    networks = NetworkRepository(database)
    lost = NetworkRecord("b" * 64, "lost", 2)
    await service(database, tmp_path).load()
    for network in (NETWORK, lost):
        await networks.insert(network)
    await ContainerRepository(database).insert(
        container("one"), endpoints=[end("one", "10.0.0.2/24")]
    )
    await _damage(database, "networks", "name", "lost")
    await _damage(database, "networks", "name", "bridge")
    await _damage(database, "endpoints", "container_id", "one")
    again = service(database, tmp_path)
    await again.load()
    assert {one.name for one in again.list()} == {"bridge", "host", "none", "n"}
    given = again.running.given(EndpointRecord("two", NETWORK.id, "n"), ())
    assert given.assigned is not None
    assert given.assigned.ipv4 == "10.0.0.3/24"
    with pytest.raises(NotFoundError):
        again.find("lost")
    await again.remove(lost.id)
    assert await database.rows("SELECT id FROM networks WHERE name = 'lost'") == []


async def test_built_in_networks_are_the_same_after_a_restart(
    database: Database, tmp_path: Path
) -> None:
    first, second = service(database, tmp_path), service(database, tmp_path)
    await first.load()
    await second.load()
    assert first.list() == second.list()
    assert [one.driver for one in first.list()] == ["bridge", "host", "null"]


async def test_the_bridge_is_the_one_that_the_daemon_was_told(
    database: Database, tmp_path: Path
) -> None:
    await service(database, tmp_path).load()
    moved = service(database, tmp_path / "elsewhere")
    await moved.load()
    found = moved.find("bridge")
    assert found.link == DaemonConfig(paths=Paths(state=tmp_path / "elsewhere" / "s")).bridge
    assert found.options["com.docker.network.bridge.name"] == found.link
