"""Links, addresses and routes in namespaces of the tests' own, as the kernel has them."""

import contextlib
import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.native.errors import NativeError
from aiod.native.network import messages, namespace, sandbox, sysctl
from aiod.native.network.description import Interface, Route, Sandbox
from aiod.native.network.netlink import Socket
from tests.support.engine import eventually

BRIDGE = "br-test"


@contextlib.contextmanager
def new_namespace() -> Iterator[int]:
    """A descriptor that alone keeps a network namespace."""
    command = ["unshare", "--net", "sh", "-c", "echo made; read never"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        descriptor = namespace.open_of(process.pid)
        process.kill()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def host() -> Iterator[int]:
    """A namespace with a bridge in it."""
    with new_namespace() as made:
        namespace.inside(made, _make_bridge)
        yield made


def _make_bridge() -> None:
    with Socket() as kernel:
        kernel.commit(
            [
                messages.new_bridge(BRIDGE, "02:42:00:00:00:01"),
                messages.name_link(BRIDGE, "aiod:test:1"),
                messages.raise_link(BRIDGE),
            ]
        )
        index = sandbox.index_of(BRIDGE)
        addresses = [ipaddress.ip_interface(text) for text in ("172.30.0.1/24", "fd30::1/64")]
        kernel.commit([messages.add_address(index, BRIDGE, one) for one in addresses])


def links() -> dict[str, messages.Link]:
    with Socket() as kernel:
        found = [messages.read_link(data) for data in kernel.dump(messages.list_links())]
    return {link.name: link for link in found}


def addresses() -> set[str]:
    with Socket() as kernel:
        found = [messages.read_address(data) for data in kernel.dump(messages.list_addresses())]
    return {str(address) for _, address in found if not address.is_link_local}


def routes() -> set[tuple[str, str]]:
    with Socket() as kernel:
        found = [messages.read_route(data) for data in kernel.dump(messages.list_routes())]
    return {(str(one.destination), one.gateway) for one in found if one is not None}


def describe(number: int, *more: str) -> Sandbox:
    own = Interface(
        "n", "eth0", parent=BRIDGE, host_name=f"veth{number}", mac=f"02:42:ac:1e:00:0{number}",
        addresses=(f"172.30.0.{number}/24", *more),
    )  # fmt: skip
    return Sandbox((own,), (Route("0.0.0.0/0", "172.30.0.1", "eth0"),))


def apply(host: int, inner: int, wanted: Sandbox) -> None:
    namespace.inside(host, lambda: sandbox.apply(wanted, inner))


def test_a_namespace_gets_link_address_and_route(host: int) -> None:
    with new_namespace() as inner:
        apply(host, inner, describe(2))
        eth0 = namespace.inside(inner, links)["eth0"]
        assert (eth0.up, eth0.mac) == (True, "02:42:ac:1e:00:02")
        assert namespace.inside(inner, addresses) == {"127.0.0.1/8", "::1/128", "172.30.0.2/24"}
        assert ("0.0.0.0/0", "172.30.0.1") in namespace.inside(inner, routes)
        outer = namespace.inside(host, links)
        assert outer["veth2"].master == outer[BRIDGE].index
        assert outer[BRIDGE].alias == "aiod:test:1"
        assert outer[BRIDGE].mac == "02:42:00:00:00:01"  # whoever joins it


def test_two_namespaces_on_one_bridge_talk_by_both_families(host: int) -> None:
    with new_namespace() as first, new_namespace() as second:
        apply(host, first, describe(2, "fd30::2/64"))
        apply(host, second, describe(3, "fd30::3/64"))
        for family, address in ((socket.AF_INET, "172.30.0.2"), (socket.AF_INET6, "fd30::2")):
            listener = namespace.inside(first, lambda f=family: _listen(f, ""))  # type: ignore[misc]
            with listener, namespace.inside(second, lambda f=family: socket.socket(f)) as caller:  # type: ignore[misc]
                caller.settimeout(10)
                caller.connect((address, listener.getsockname()[1]))


def _listen(family: socket.AddressFamily, address: str) -> socket.socket:
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen()
    return listener


def test_without_an_ipv6_address_a_link_does_not_speak_it(host: int) -> None:
    with new_namespace() as inner:
        apply(host, inner, describe(2))
        path = sysctl.interface_path("ipv6", "eth0", "disable_ipv6")
        assert namespace.inside(inner, lambda: sysctl.read(path)) == "1"


def test_settings_of_the_link_and_of_the_namespace_are_made(host: int) -> None:
    wanted = describe(2)
    own = Interface(
        "n", "eth0", parent=BRIDGE, host_name="veth2", addresses=("172.30.0.2/24",),
        sysctls={"ipv4/rp_filter": "2"},
    )  # fmt: skip
    wanted = Sandbox((own,), wanted.routes, sysctls={"net.ipv4.conf.eth0.log_martians": "1"})
    with new_namespace() as inner:
        apply(host, inner, wanted)
        for name, value in (("rp_filter", "2"), ("log_martians", "1")):
            path = sysctl.interface_path("ipv4", "eth0", name)
            assert namespace.inside(inner, lambda p=path: sysctl.read(p)) == value  # type: ignore[misc]


def test_an_empty_description_brings_the_loopback_up() -> None:
    with new_namespace() as inner:
        apply(inner, inner, Sandbox())
        assert namespace.inside(inner, addresses) == {"127.0.0.1/8", "::1/128"}


def test_the_host_end_goes_with_the_namespace(host: int) -> None:
    with new_namespace() as inner:
        apply(host, inner, describe(2))
    with new_namespace() as inner:  # the name is free again as soon as the kernel has cleaned up
        eventually(lambda: namespace.inside(host, links), lambda found: "veth2" not in found)
        apply(host, inner, describe(2))


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({"parent": "nowhere"}, 'find the link "nowhere": no such device'),
        ({"host_name": BRIDGE}, f'make the veth pair "{BRIDGE}" and "eth0": file exists'),
        ({"kind": "macvlan", "mode": "bridge", "parent": "lo"}, 'make the macvlan link "eth0": '),
    ],
)
def test_a_failure_names_its_step(host: int, changed: dict[str, str], step: str) -> None:
    own = msgspec.structs.replace(describe(2).interfaces[0], **changed)
    with new_namespace() as inner, pytest.raises(NativeError) as caught:
        apply(host, inner, Sandbox((own,)))
    assert str(caught.value).startswith(step)


def test_a_gateway_out_of_reach_is_named(host: int) -> None:
    wanted = describe(2)
    wanted = Sandbox(wanted.interfaces, (Route("0.0.0.0/0", "10.9.9.9", "eth0"),))
    with new_namespace() as inner, pytest.raises(NativeError) as caught:
        apply(host, inner, wanted)
    assert str(caught.value).startswith("add the route to 0.0.0.0/0 via 10.9.9.9: network is")


def test_macvlan_links_of_one_parent_talk(host: int) -> None:
    def describe_macvlan(number: int) -> Sandbox:
        own = Interface("n", "eth0", "macvlan", "parent", addresses=(f"10.1.0.{number}/24",))
        return Sandbox((own,))

    def make_parent() -> None:
        with Socket() as kernel:
            inner = messages.Inner(host, "parent")
            pair = messages.new_veth("other", sandbox.index_of(BRIDGE), inner)
            kernel.commit([pair, messages.raise_link("parent")])

    namespace.inside(host, make_parent)
    with new_namespace() as first, new_namespace() as second:
        apply(host, first, describe_macvlan(1))
        apply(host, second, describe_macvlan(2))
        listener = namespace.inside(first, lambda: _listen(socket.AF_INET, "10.1.0.1"))
        with listener, namespace.inside(second, lambda: socket.socket()) as caller:
            caller.settimeout(10)
            caller.connect(listener.getsockname())


def test_the_calling_thread_stays_where_it_is() -> None:
    here = Path("/proc/thread-self/ns/net")
    before = os.readlink(here)
    with new_namespace() as inner:
        assert namespace.inside(inner, lambda: os.readlink(here)) != before
    assert os.readlink(here) == before
