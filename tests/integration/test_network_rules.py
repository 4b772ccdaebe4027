"""The nftables table at work: who reaches whom through a host, and what stays of the rules.

The host and those beside it are network namespaces; so are the containers, whose links are made
as a container's are.
"""

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aiod.native.errors import NativeError
from aiod.native.network import host, nftables, sandbox
from aiod.native.network.description import Interface, Port, Route, Sandbox
from aiod.native.network.elements import Elements
from aiod.native.network.ruleset import NetworkRules
from tests.support.netns import Host, Lan, Namespace
from tests.support.traffic import UDP, Servers, ask, connected, silent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")

TABLE = "aiod-test"
FIRST = NetworkRules("br1", ("172.31.1.0/24", "fd31:1::/64"))
SECOND = NetworkRules("br2", ("172.31.2.0/24", "fd31:2::/64"))
RESTARTS = 5
REPLACED = 200


@dataclass(frozen=True, slots=True)
class Machine:
    """A host with two networks, and its neighbour, who knows a way to them."""

    host: Host
    neighbour: Host
    servers: Servers
    elements: Elements

    def rules(self, *networks: NetworkRules, ports: tuple[Port, ...] = ()) -> None:
        with self.host.entered():
            nftables.replace_all(TABLE, networks, ports)

    def publish(self, *ports: Port) -> None:
        self.elements.publish(ports)

    def withdraw(self, *ports: Port) -> None:
        self.elements.withdraw(ports)

    def listed(self) -> str:
        with self.host.entered():
            return nftables.listed(TABLE)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Lan() as lan, Servers() as servers:
        place = lan.host()
        with place.entered():
            elements = Elements(TABLE)
        made = Machine(place, lan.host(), servers, elements)
        with contextlib.closing(elements):
            prepare(made)
            yield made


def prepare(machine: Machine) -> None:
    """Two bridges, and the neighbour's way to them."""
    with machine.host.entered():
        for number in (1, 2):
            addresses = (f"172.31.{number}.1/24", f"fd31:{number}::1/64")
            host.ensure_bridge(host.Bridge(f"br{number}", "", addresses=addresses))
    machine.neighbour.ip(
        f"route add 172.31.0.0/16 via {machine.host.ip4}",
        f"route add fd31::/16 via {machine.host.ip6}",
    )


@contextlib.contextmanager
def container(
    machine: Machine, network: int, number: int = 2, *, isolated: bool = False
) -> Iterator[Namespace]:
    """A namespace on a network, that answers with `cNUMBER` at port 80, and whoever asks."""
    end = Interface(
        "n", "eth0", parent=f"br{network}", host_name=f"v{network}-{number}", isolated=isolated,
        addresses=(f"172.31.{network}.{number}/24", f"fd31:{network}::{number}/64"),
    )  # fmt: skip
    ways = (
        Route("0.0.0.0/0", f"172.31.{network}.1", "eth0"),
        Route("::/0", f"fd31:{network}::1", "eth0"),
    )
    with Namespace.made() as made:
        with machine.host.entered(), open(made.path) as place:
            sandbox.attach((end,), place.fileno())
        with made.entered():
            sandbox.configure(Sandbox((end,), ways))
        machine.servers.add(made, f"c{number}")
        machine.servers.add(made, f"c{number}", 80, UDP)
        yield made


def web(address: str, host_address: str = "0.0.0.0", protocol: str = "tcp") -> Port:
    return Port(protocol, host_address, 8080, address, 80)


def test_a_published_port_leads_to_the_container_which_sees_who_asks(machine: Machine) -> None:
    machine.rules(FIRST, SECOND)
    with container(machine, 1):
        ports = [web(a, h, p) for a, h in (("172.31.1.2", "0.0.0.0"), ("fd31:1::2", "::"))
                 for p in ("tcp", "udp")]  # fmt: skip
        machine.publish(*ports)
        for kind in (socket.SOCK_STREAM, UDP):
            four = ask(machine.neighbour, machine.host.ip4, 8080, kind)
            six = ask(machine.neighbour, machine.host.ip6, 8080, kind)
            assert (four.name, four.client) == ("c2", machine.neighbour.ip4)
            assert (six.name, six.client) == ("c2", machine.neighbour.ip6)
            assert ask(machine.host, machine.host.ip4, 8080, kind).name == "c2"
            assert ask(machine.host, machine.host.ip6, 8080, kind).name == "c2"
        machine.withdraw(*ports)
        assert silent(machine.neighbour, machine.host.ip4, 8080)
        assert silent(machine.host, machine.host.ip6, 8080)


def test_thousands_of_ports_are_published_at_once(machine: Machine) -> None:
    machine.rules(FIRST)
    ports = [
        Port(protocol, host, number, address, 80)
        for protocol in ("tcp", "udp")
        for host, address in (("0.0.0.0", "172.31.1.2"), ("2001:db8::9", "fd31:1::2"))
        for number in range(10000, 13000)
    ]
    before = machine.listed()
    with container(machine, 1):
        machine.publish(*ports)
        assert ask(machine.neighbour, machine.host.ip4, 12999).name == "c2"
        machine.withdraw(*ports)
    assert machine.listed() == before


def test_a_port_of_one_address_leads_there_by_that_alone(machine: Machine) -> None:
    machine.host.ip("address add 192.0.2.77/24 dev eth0")
    machine.rules(FIRST)
    with container(machine, 1, 2), container(machine, 1, 3):
        machine.publish(web("172.31.1.2", "192.0.2.77"))
        assert ask(machine.neighbour, "192.0.2.77", 8080).name == "c2"
        assert silent(machine.neighbour, machine.host.ip4, 8080)
        machine.publish(web("172.31.1.3", machine.host.ip4))
        assert ask(machine.neighbour, "192.0.2.77", 8080).name == "c2"
        assert ask(machine.neighbour, machine.host.ip4, 8080).name == "c3"


def test_a_port_that_was_left_to_another_leads_to_whoever_has_it_now(machine: Machine) -> None:
    machine.rules(FIRST)
    with container(machine, 1, 2), container(machine, 1, 3):
        machine.publish(web("172.31.1.2"))
        machine.publish(web("172.31.1.3"))
        assert ask(machine.neighbour, machine.host.ip4, 8080).name == "c3"


@pytest.mark.parametrize("family", [4, 6])
def test_a_client_that_goes_on_sending_is_led_to_whoever_comes_next(
    machine: Machine, family: int
) -> None:
    machine.rules(FIRST)
    to = machine.host.ip4 if family == 4 else machine.host.ip6
    place, subnet = ("0.0.0.0", "172.31.1.") if family == 4 else ("::", "fd31:1::")
    with container(machine, 1, 2), container(machine, 1, 3):
        first, second = web(f"{subnet}2", place, "udp"), web(f"{subnet}3", place, "udp")
        machine.publish(first)
        with connected(machine.neighbour, to, 8080, kind=UDP) as client:
            client.send(b"?")
            assert client.recv(100).startswith(b"c2 ")
            machine.withdraw(first)
            machine.publish(second)
            client.send(b"?")
            assert client.recv(100).startswith(b"c3 ")


def test_networks_are_apart_and_reach_the_outside_as_the_host(machine: Machine) -> None:
    machine.rules(FIRST, SECOND)
    machine.servers.add(machine.neighbour, "outside", 81)
    with container(machine, 1) as one, container(machine, 1, 3), container(machine, 2, 4):
        assert ask(one, "172.31.1.3").name == "c3"
        assert ask(one, "fd31:1::3").name == "c3"
        assert silent(one, "172.31.2.4")
        assert silent(one, "fd31:2::4")
        assert ask(one, machine.neighbour.ip4, 81).client == machine.host.ip4
        assert ask(one, machine.neighbour.ip6, 81).client == machine.host.ip6


def test_from_outside_only_what_is_published_is_reached(machine: Machine) -> None:
    machine.rules(FIRST)
    with container(machine, 1):
        machine.publish(web("172.31.1.2"))
        assert silent(machine.neighbour, "172.31.1.2")
        assert silent(machine.neighbour, "fd31:1::2")
        assert ask(machine.host, "172.31.1.2").name == "c2"
        machine.rules(NetworkRules("br1", FIRST.masqueraded, open=True))
        assert ask(machine.neighbour, "172.31.1.2").name == "c2"


def test_an_internal_network_has_no_way_out_nor_in(machine: Machine) -> None:
    machine.rules(NetworkRules("br1", internal=True), SECOND)
    machine.servers.add(machine.neighbour, "outside", 81)
    with container(machine, 1) as one, container(machine, 1, 3):
        machine.publish(web("172.31.1.2"))
        assert ask(one, "172.31.1.3").name == "c3"
        assert silent(one, machine.neighbour.ip4, 81)
        assert silent(machine.neighbour, machine.host.ip4, 8080)


def test_isolated_ports_of_a_bridge_reach_the_host_alone(machine: Machine) -> None:
    """By the bridge itself: no rule is needed for that."""
    with container(machine, 1, 2, isolated=True) as one, container(machine, 1, 3, isolated=True):
        assert silent(one, "172.31.1.3")
        assert silent(one, "fd31:1::3")
        assert ask(machine.host, "172.31.1.3").name == "c3"


def test_restarts_leave_the_same_rules_as_one(machine: Machine) -> None:
    ports = (web("172.31.1.2"), web("172.31.1.2", "::"), web("172.31.2.2", "192.0.2.77"))
    machine.rules(FIRST, SECOND, ports=ports)
    once = machine.listed()
    for _ in range(RESTARTS):
        machine.rules(FIRST, SECOND, ports=ports)
    assert machine.listed() == once
    machine.withdraw(*ports)
    machine.withdraw(*ports)
    assert machine.listed() != once
    machine.publish(*ports)
    machine.publish(*ports)
    assert machine.listed() == once


def test_a_network_comes_and_goes_without_a_trace(machine: Machine) -> None:
    machine.rules(FIRST)
    before = machine.listed()
    with machine.host.entered():
        for _ in range(2):
            nftables.add_network(TABLE, SECOND)
        assert nftables.listed(TABLE) != before
        nftables.remove_network(TABLE, SECOND)
    assert machine.listed() == before


def test_rules_of_others_stay_as_they_are(machine: Machine) -> None:
    machine.host.run(
        "nft", "table inet other { chain forward { type filter hook forward priority 5; }; }"
    )
    before = machine.host.trace().rules
    machine.rules(FIRST, ports=(web("172.31.1.2"),))
    assert set(before) <= set(machine.host.trace().rules)
    with machine.host.entered():
        nftables.drop_table(TABLE)
        nftables.drop_table(TABLE)
        assert not nftables.exists(TABLE)
    assert machine.host.trace().rules == before


def test_the_rules_are_replaced_and_no_connection_fails(machine: Machine) -> None:
    ports = (web("172.31.1.2"),)
    machine.rules(FIRST, ports=ports)
    done = threading.Event()
    asked = []

    def replace() -> None:
        for _ in range(REPLACED):
            machine.rules(FIRST, ports=ports)
        done.set()

    with container(machine, 1):
        assert ask(machine.neighbour, machine.host.ip4, 8080).name == "c2"
        replacing = threading.Thread(target=replace)
        replacing.start()
        while not done.is_set():
            asked.append(ask(machine.neighbour, machine.host.ip4, 8080).name)
        replacing.join()
    assert set(asked) == {"c2"}


def test_where_no_descriptor_is_left_it_says_so_and_lives(machine: Machine) -> None:
    with machine.host.entered(), no_descriptors(), pytest.raises(NativeError) as refused:
        nftables.exists(TABLE)
    assert str(refused.value) == "open a netlink socket: too many open files"


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process gets no more of them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_the_table_publishing_says_so_and_withdrawing_has_nothing_to_do(
    machine: Machine,
) -> None:
    with pytest.raises(NativeError, match=f"publish ports: .*{TABLE}"):
        machine.publish(web("172.31.1.2"))
    machine.withdraw(web("172.31.1.2"))
    with machine.host.entered(), pytest.raises(NativeError, match="add rules of br1"):
        nftables.add_network(TABLE, FIRST)
