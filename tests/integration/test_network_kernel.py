"""What a daemon has made of its networks in the kernel, in a namespace of the tests' own."""

import asyncio
import os
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from aiod.config import DaemonConfig, Paths
from aiod.errors import InternalError
from aiod.native.network import host, messages, nftables
from aiod.native.network.description import Interface, Port, Sandbox
from aiod.native.network.netlink import Socket
from aiod.networks import model
from aiod.networks.kernel import Kernel
from aiod.store.networkrecords import NetworkRecord, PoolRecord
from tests.support.netns import Namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")

CONFIG = DaemonConfig(paths=Paths(Path("/nowhere"), Path("/nowhere/run")))
DEFAULT = NetworkRecord(
    "d" * 64, "bridge", 1, pools=(PoolRecord("172.17.0.0/16", gateway="172.17.0.1"),), link="aiodx"
)
OWN = NetworkRecord(
    "a" * 64, "own", 2, link="br-own",
    pools=(PoolRecord("10.5.0.0/24", gateway="10.5.0.1"),
           PoolRecord("fd05::/64", gateway="fd05::1")),
)  # fmt: skip
OTHER = NetworkRecord(
    "b" * 64, "other", 3, pools=(PoolRecord("10.6.0.0/24", gateway="10.6.0.1"),), link="br-other"
)


def in_a_host_of_its_own(work: Callable[[Kernel], Awaitable[None]]) -> None:
    """Run it in a network namespace, where the loop's threads are too."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with Namespace.made() as machine, machine.entered():
                asyncio.run(_call(work))
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    if failed:
        raise failed[0]


async def _call(work: Callable[[Kernel], Awaitable[None]]) -> None:
    await work(Kernel(CONFIG))


def links() -> dict[str, messages.Link]:
    return {link.name: link for link in host.links() if link.name != "lo"}


def rules() -> str:
    return nftables.listed(CONFIG.table)


def test_a_network_is_made_at_first_need_and_told_to_the_rules() -> None:
    async def work(kernel: Kernel) -> None:
        assert (links(), nftables.exists(CONFIG.table)) == ({}, False)
        await asyncio.gather(*(kernel.ensure(OWN) for _ in range(20)))
        assert links()["br-own"].alias == f"aiod:{CONFIG.tag}:{OWN.id}"
        assert '"br-own"' in rules()

    in_a_host_of_its_own(work)


def test_what_somebody_took_away_is_made_again_at_the_next_need() -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.ensure(OWN)
        with Socket() as socket:
            socket.commit([messages.delete_link("br-own")])
        await kernel.ensure(OWN)
        assert "br-own" in links()

    in_a_host_of_its_own(work)


def test_rules_that_somebody_flushed_are_made_again_at_the_next_need() -> None:
    first, second = (Port("tcp", "0.0.0.0", number, f"10.5.0.{number}", 80) for number in (81, 82))

    async def work(kernel: Kernel) -> None:
        kernel.on_record = lambda: ([OWN, OTHER], [first, second])
        await kernel.ensure(OWN)
        await kernel.publish([first])
        await kernel.publish([second])
        before = rules()
        nftables.drop_table(CONFIG.table)
        await kernel.publish([second])
        assert rules() == before
        nftables.drop_table(CONFIG.table)
        await kernel.ensure(OTHER)
        assert {'"br-own"', '"br-other"', "tcp . 81 : 10.5.0.81"} <= set(
            re.findall(r'"br-[a-z]*"|tcp \. 81 : [0-9.]*[0-9]', rules())
        )

    in_a_host_of_its_own(work)


def test_a_network_is_taken_away_whole() -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.ensure(OWN)
        await kernel.ensure(OTHER)
        before = rules()
        await kernel.ensure(DEFAULT)
        await kernel.remove(DEFAULT)
        assert set(links()) == {"br-own", "br-other"}
        assert rules() == before

    in_a_host_of_its_own(work)


def test_a_bridge_of_another_keeps_when_its_network_goes() -> None:
    async def work(kernel: Kernel) -> None:
        with Socket() as socket:
            socket.commit([messages.new_bridge("br-own")])
        await kernel.ensure(OWN)
        await kernel.remove(OWN)
        assert "br-own" in links()

    in_a_host_of_its_own(work)


def test_after_a_reboot_networks_are_there_and_the_default_one_if_needed() -> None:
    needed = Interface(DEFAULT.id, "eth0", parent=DEFAULT.link, host_name="veth1")
    port = Port("tcp", "0.0.0.0", 8080, "172.17.0.2", 80)

    async def work(kernel: Kernel) -> None:
        await kernel.settle((DEFAULT, OWN), ())
        assert set(links()) == {"br-own"}
        await kernel.settle((DEFAULT, OWN), (Sandbox((needed,), ports=(port,)),))
        assert set(links()) == {"br-own", "aiodx"}
        assert "8080 : 172.17.0.2 . 80" in rules()

    in_a_host_of_its_own(work)


def test_many_starts_of_a_daemon_leave_the_rules_of_one() -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.settle((OWN, OTHER), ())
        before = rules()
        for _ in range(3):
            await Kernel(CONFIG).settle((OWN, OTHER), ())
        assert rules() == before

    in_a_host_of_its_own(work)


def test_a_daemon_without_networks_touches_nothing() -> None:
    async def work(kernel: Kernel) -> None:
        assert await kernel.settle((DEFAULT,), (Sandbox(),)) == []
        assert (links(), nftables.exists(CONFIG.table)) == ({}, False)

    in_a_host_of_its_own(work)


def test_what_a_dead_daemon_left_is_swept() -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.ensure(OWN)
        await kernel.ensure(OTHER)
        assert await Kernel(CONFIG).settle((OTHER,), ()) == ["br-own"]
        assert set(links()) == {"br-other"}
        assert "br-own" not in rules()

    in_a_host_of_its_own(work)


def test_a_network_that_cannot_be_made_hides_no_other() -> None:
    wrong = msgspec.structs.replace(OTHER, link="lo")

    async def work(kernel: Kernel) -> None:
        await kernel.settle((wrong, OWN), ())
        assert "br-own" in links()
        with pytest.raises(InternalError, match='make the bridge "lo": it is no bridge'):
            await kernel.ensure(wrong)

    in_a_host_of_its_own(work)


def test_a_parent_that_the_host_does_not_have_is_named() -> None:
    network = NetworkRecord("c" * 64, "vlans", 4, driver=model.MACVLAN, link="eth9")

    async def work(kernel: Kernel) -> None:
        with pytest.raises(InternalError, match='find the link "eth9"'):
            await kernel.ensure(network)

    in_a_host_of_its_own(work)


def test_what_the_host_reaches_is_told() -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.ensure(OWN)
        assert {"10.5.0.0/24", "fd05::/64"} <= {str(one) for one in await kernel.subnets()}

    in_a_host_of_its_own(work)
