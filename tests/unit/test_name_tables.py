"""Tables of names: what is on record is in them, however many ask at once."""

import asyncio
from pathlib import Path

import pytest

from aiod.config import Paths
from aiod.errors import InvalidParameterError
from aiod.native.network.texts import Holder
from aiod.networks import links
from aiod.networks.links import Link, Linked
from aiod.networks.names import NameTables, Table, dns_names


class Records:
    """One network and who is on it."""

    def __init__(self) -> None:
        self.holders: list[Holder] = []
        self.looks = 0

    def view(self, network_id: str) -> Table | None:
        self.looks += 1
        return Table(network_id, tuple(self.holders)) if self.holders else None


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def tables(records: Records, tmp_path: Path) -> NameTables:
    return NameTables(Paths(tmp_path, tmp_path), records.view)


async def test_many_at_once(tables: NameTables, records: Records, tmp_path: Path) -> None:
    async def join(number: int) -> None:
        records.holders.append(Holder((f"10.0.0.{number}",), (f"c{number}",)))
        await tables.write(["net"])
        assert f"end 10.0.0.{number} c{number}\n" in (tmp_path / "networks/net").read_text()

    await asyncio.gather(*(join(number) for number in range(100)))
    assert records.looks < 5
    assert [one.name for one in (tmp_path / "networks").iterdir()] == ["net"]


async def test_the_last_one_takes_the_table_along(
    tables: NameTables, records: Records, tmp_path: Path
) -> None:
    records.holders = [Holder(("10.0.0.1",), ("a",))]
    await tables.write(["net"])
    records.holders = []
    await tables.write(["net"])
    assert not (tmp_path / "networks/net").exists()


async def test_a_start_leaves_no_others(
    tables: NameTables, records: Records, tmp_path: Path
) -> None:
    records.holders = [Holder(("10.0.0.1",), ("a",))]
    (tmp_path / "networks").mkdir()
    for name in ("gone", ".net.tmp", "net"):
        (tmp_path / "networks" / name).write_text("old")
    await tables.settle(["net"])
    assert [one.name for one in (tmp_path / "networks").iterdir()] == ["net"]
    assert (tmp_path / "networks/net").read_text() == "network net\nend 10.0.0.1 a\n"


def test_the_names_of_an_end() -> None:
    container = "0123456789abcdef" * 4
    assert dns_names("web", container, "0123456789ab", ["app", "web"]) == [
        "web", "app", "0123456789ab",
    ]  # fmt: skip
    assert dns_names("web", container, "www", []) == ["web", "0123456789ab", "www"]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("db", Link("db", "db")),
        ("db:store", Link("db", "store")),
        ("/db:/web/store", Link("db", "store")),
    ],
)
def test_links(text: str, link: Link) -> None:
    assert links.parse(text) == link


@pytest.mark.parametrize("text", ["", ":", "a:", ":b", "a:b:c", "a:b c", "a:b\n"])
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="links"):
        links.parse(text)


def test_what_a_link_gives() -> None:
    linked = Linked("my-db", "src", "0123456789ab", "172.17.0.2", ("90/udp", "80/tcp", "90/tcp"),
                    ("FOO=bar", "PATH=/x", "HOME=/y", "EMPTY="))  # fmt: skip
    assert links.host_line(linked).names == ("my-db", "0123456789ab", "src")
    assert links.variables(linked, "dst") == [
        "MY_DB_PORT=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_80_TCP_PORT=80",
        "MY_DB_PORT_80_TCP_PROTO=tcp",
        "MY_DB_PORT_90_TCP=tcp://172.17.0.2:90",
        "MY_DB_PORT_90_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_90_TCP_PORT=90",
        "MY_DB_PORT_90_TCP_PROTO=tcp",
        "MY_DB_PORT_90_UDP=udp://172.17.0.2:90",
        "MY_DB_PORT_90_UDP_ADDR=172.17.0.2",
        "MY_DB_PORT_90_UDP_PORT=90",
        "MY_DB_PORT_90_UDP_PROTO=udp",
        "MY_DB_NAME=/dst/my-db",
        "MY_DB_ENV_FOO=bar",
        "MY_DB_ENV_EMPTY=",
    ]
