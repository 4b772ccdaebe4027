"""Bridges of the host and networks of what runs, changed in namespaces of the tests' own."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.native.network import host, messages, namespace, sysctl
from aiod.native.network.change import change
from aiod.native.network.description import Interface, Route, Sandbox
from aiod.native.network.netlink import Socket

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")

T = TypeVar("T")
ALIAS = "aiod:test:1"
BRIDGE = host.Bridge("br1", ALIAS, "02:42:00:00:00:01", 1400, ("10.1.0.1/24", "fd01::1/64"))
OTHER = host.Bridge("br2", "aiod:test:2", addresses=("10.2.0.1/24",))


class Process:
    """A process in a network namespace of its own, where work can be done."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.start_time = proc.start_time(pid)
        self._namespace = namespace.open_of(pid)

    def do(self, work: Callable[[], T]) -> T:
        return namespace.inside(self._namespace, work)

    def links(self) -> dict[str, messages.Link]:
        return {link.name: link for link in self.do(host.links)}

    def addresses(self) -> set[str]:
        return {str(one) for _, one in self.do(_addresses) if not one.is_link_local}

    def routes(self) -> set[tuple[str, str]]:
        return self.do(_routes)

    def close(self) -> None:
        os.close(self._namespace)


def _addresses() -> list[tuple[int, messages.Interface]]:
    with Socket() as kernel:
        return [messages.read_address(data) for data in kernel.dump(messages.list_addresses())]


def _routes() -> set[tuple[str, str]]:
    with Socket() as kernel:
        found = [messages.read_route(data) for data in kernel.dump(messages.list_routes())]
    return {(str(one.destination), one.gateway) for one in found if one is not None}


@contextlib.contextmanager
def process() -> Iterator[Process]:
    command = ["unshare", "--net", "sh", "-c", "echo made; read never"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        made = Process(running.pid)
        try:
            yield made
        finally:
            made.close()
            running.kill()


@pytest.fixture
def machine() -> Iterator[Process]:
    with process() as made:
        made.do(lambda: host.ensure_bridge(BRIDGE))
        made.do(lambda: host.ensure_bridge(OTHER))
        yield made


def on(bridge: host.Bridge, number: int) -> Interface:
    subnet = bridge.addresses[0].rpartition(".")[0]
    address, end = f"{subnet}.{number}/24", f"v{number}{bridge.name}"
    return Interface("n", f"eth{bridge.name[-1]}", parent=bridge.name, host_name=end,
                     addresses=(address,))  # fmt: skip


def default(bridge: host.Bridge) -> Route:
    gateway = bridge.addresses[0].partition("/")[0]
    return Route("0.0.0.0/0", gateway, f"eth{bridge.name[-1]}")


NOTHING = Sandbox()
FIRST = Sandbox((on(BRIDGE, 5),), (default(BRIDGE),))
BOTH = Sandbox((on(BRIDGE, 5), on(OTHER, 6)), (default(OTHER),))
SECOND = Sandbox((on(OTHER, 6),), (default(OTHER),))


def test_a_bridge_has_what_was_asked_and_the_host_forwards(machine: Process) -> None:
    link = machine.links()["br1"]
    assert (link.kind, link.alias, link.mac, link.mtu, link.up) == (
        "bridge", ALIAS, "02:42:00:00:00:01", 1400, True,
    )  # fmt: skip
    assert {"10.1.0.1/24", "fd01::1/64"} <= machine.addresses()
    for path, value in (
        ("/proc/sys/net/ipv4/ip_forward", "1"),
        ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
        ("/proc/sys/net/ipv6/conf/br1/accept_ra", "0"),
    ):
        assert machine.do(lambda p=path: sysctl.read(p)) == value  # type: ignore[misc]


def test_who_listened_to_routers_before_the_host_forwarded_still_does() -> None:
    with process() as machine:
        machine.do(lambda: _dummy("uplink"))
        accept = sysctl.interface_path("ipv6", "uplink", "accept_ra")
        machine.do(lambda: sysctl.write(accept, "1"))  # whatever a namespace begins with
        machine.do(lambda: host.ensure_bridge(BRIDGE))
        assert machine.do(lambda: sysctl.read(accept)) == "2"


def _dummy(name: str) -> None:
    with Socket() as kernel:
        kernel.commit([messages.new_bridge(name)])


def test_a_bridge_that_is_there_is_completed(machine: Process) -> None:
    wider = host.Bridge("br1", ALIAS, addresses=(*BRIDGE.addresses, "10.9.0.1/24"))
    index = machine.links()["br1"].index
    machine.do(lambda: host.ensure_bridge(wider))
    assert machine.links()["br1"].index == index
    assert "10.9.0.1/24" in machine.addresses()


def test_anothers_bridge_is_used_and_never_removed(machine: Process) -> None:
    machine.do(lambda: _dummy("theirs"))
    machine.do(lambda: host.ensure_bridge(host.Bridge("theirs", "aiod:test:3")))
    assert machine.links()["theirs"].alias == ""
    machine.do(lambda: host.remove("theirs", "aiod:test:3"))
    assert "theirs" in machine.links()


def test_a_name_of_a_link_that_is_no_bridge_is_refused(machine: Process) -> None:
    with pytest.raises(NativeError, match='make the bridge "lo": it is no bridge'):
        machine.do(lambda: host.ensure_bridge(host.Bridge("lo", ALIAS)))


def test_a_bridge_of_ours_is_removed_and_may_be_gone(machine: Process) -> None:
    for _ in range(2):
        machine.do(lambda: host.remove("br1", ALIAS))
        assert "br1" not in machine.links()


def test_a_sweep_takes_what_nobody_needs_and_nothing_else(machine: Process) -> None:
    with process() as one, process() as two:
        machine.do(lambda: _dummy("theirs"))
        third = host.Bridge("br3", "aiod:other:1")
        machine.do(lambda: host.ensure_bridge(third))
        machine.do(lambda: change(one.pid, one.start_time, NOTHING, FIRST))
        machine.do(lambda: change(two.pid, two.start_time, NOTHING, SECOND))
        before = set(machine.links())
        gone = machine.do(
            lambda: host.sweep(lambda alias: alias.startswith("aiod:test:"), {ALIAS}, {"v5br1"})
        )
        assert set(gone) == {"v6br2", "br2"}
        assert set(machine.links()) == before - set(gone)


def test_what_the_host_reaches_is_told(machine: Process) -> None:
    assert {"10.1.0.0/24", "10.2.0.0/24", "fd01::/64"} <= {
        str(one) for one in machine.do(host.subnets)
    }


def test_a_container_that_runs_joins_and_leaves_networks(machine: Process) -> None:
    with process() as inner:
        for before, after, addresses, gateway in (
            (NOTHING, FIRST, {"10.1.0.5/24"}, "10.1.0.1"),
            (FIRST, BOTH, {"10.1.0.5/24", "10.2.0.6/24"}, "10.2.0.1"),
            (BOTH, FIRST, {"10.1.0.5/24"}, "10.1.0.1"),
            (FIRST, SECOND, {"10.2.0.6/24"}, "10.2.0.1"),
        ):
            machine.do(lambda b=before, a=after: change(inner.pid, inner.start_time, b, a))  # type: ignore[misc]
            assert inner.addresses() == addresses
            assert {way for to, way in inner.routes() if to == "0.0.0.0/0"} == {gateway}
        machine.do(lambda: change(inner.pid, inner.start_time, SECOND, NOTHING))
        assert inner.addresses() == set()
        assert "v6br2" not in machine.links()


def test_a_change_that_was_begun_is_done_again(machine: Process) -> None:
    with process() as inner:
        for _ in range(2):
            machine.do(lambda: change(inner.pid, inner.start_time, NOTHING, FIRST))
        assert inner.addresses() == {"10.1.0.5/24"}
        for _ in range(2):
            machine.do(lambda: change(inner.pid, inner.start_time, FIRST, NOTHING))
        assert inner.addresses() == set()


def test_a_change_that_fails_leaves_what_was_there(machine: Process) -> None:
    wrong = Sandbox(BOTH.interfaces, (Route("0.0.0.0/0", "10.77.0.1", "eth2"),))
    with process() as inner:
        machine.do(lambda: change(inner.pid, inner.start_time, NOTHING, FIRST))
        with pytest.raises(NativeError, match=r"add the route to 0.0.0.0/0 via 10.77.0.1"):
            machine.do(lambda: change(inner.pid, inner.start_time, FIRST, wrong))
        assert inner.addresses() == {"10.1.0.5/24"}
        assert ("0.0.0.0/0", "10.1.0.1") in inner.routes()
        assert "v6br2" not in machine.links()


def test_another_process_of_that_number_is_left_alone(machine: Process) -> None:
    with process() as inner, pytest.raises(NativeError, match="no such process"):
        machine.do(lambda: change(inner.pid, inner.start_time - 1, NOTHING, FIRST))


@pytest.mark.parametrize(
    ("name", "below", "step"),
    [("dm-1", ("", 0), 'make the dummy link "dm-1"'), ("br1.7", ("br1", 7), "make the VLAN link")],
)
def test_a_parent_is_made_or_the_kernels_refusal_is_named(
    machine: Process, name: str, below: tuple[str, int], step: str
) -> None:
    refusal = ""
    try:
        machine.do(lambda: host.ensure_parent(name, ALIAS, *below))
    except NativeError as error:
        refusal = str(error)
    if name in machine.links():
        assert (refusal, machine.links()[name].alias) == ("", ALIAS)
    else:
        assert refusal.startswith(step)
        assert "operation not supported" in refusal  # a kernel without that kind of link
