"""What our nftables table says: its text, and which published ports are elements of it."""

import pytest

from aiod.native.network.description import Port
from aiod.native.network.ruleset import NetworkRules, added, mapping_of, removed, whole


def port(host_address: str, address: str, protocol: str = "tcp") -> Port:
    return Port(protocol, host_address, 8080, address, 80)


@pytest.mark.parametrize(
    ("host_address", "address", "name", "text"),
    [
        ("0.0.0.0", "172.17.0.2", "published4", "tcp . 8080 : 172.17.0.2 . 80"),
        ("10.1.1.1", "172.17.0.2", "published4_at", "tcp . 10.1.1.1 . 8080 : 172.17.0.2 . 80"),
        ("::", "fd00::2", "published6", "tcp . 8080 : fd00::2 . 80"),
        ("2001:db8:0::1", "fd00::2", "published6_at", "tcp . 2001:db8::1 . 8080 : fd00::2 . 80"),
    ],
)
def test_a_published_port_is_an_element(
    host_address: str, address: str, name: str, text: str
) -> None:
    mapping = mapping_of(port(host_address, address))
    assert mapping is not None
    assert (mapping.map, mapping.text) == (name, text)


@pytest.mark.parametrize(
    ("host_address", "address"),
    [
        ("::", "172.17.0.2"),
        ("0.0.0.0", "fd00::2"),
        ("127.0.0.1", "172.17.0.2"),
        ("127.0.0.53", "172.17.0.2"),
        ("::1", "fd00::2"),
        ("fe80::1", "fd00::2"),
    ],
)
def test_what_only_the_proxy_can_serve_is_none(host_address: str, address: str) -> None:
    assert mapping_of(port(host_address, address)) is None


def test_the_table_is_replaced_as_a_whole_with_all_that_is_in_it() -> None:
    networks = [NetworkRules("aiod0", ("172.17.0.0/16", "fd00::/64"))]
    text = whole("aiod-x", networks, [port("0.0.0.0", "172.17.0.2"), port("::", "172.17.0.2")])
    assert text.startswith("table inet aiod-x\ndelete table inet aiod-x\ntable inet aiod-x {\n")
    assert text.splitlines()[-6:] == [
        "}",
        "add element inet aiod-x published4 { tcp . 8080 : 172.17.0.2 . 80 }",
        'add element inet aiod-x bridges { "aiod0" }',
        'add element inet aiod-x within { "aiod0" . "aiod0" : accept }',
        "add element inet aiod-x masquerade4 { 172.17.0.0/16 }",
        "add element inet aiod-x masquerade6 { fd00::/64 }",
    ]


def test_the_order_of_what_is_asked_for_changes_nothing_of_the_ports() -> None:
    ports = [port("0.0.0.0", "172.17.0.2"), port("10.1.1.1", "172.17.0.3", "udp")]
    assert whole("t", [], ports) == whole("t", [], [*reversed(ports), *ports])


def test_a_network_is_elements_alone() -> None:
    network = NetworkRules("br-1", (), internal=True, apart=True, open=True)
    elements = [
        'bridges { "br-1" }',
        'within { "br-1" . "br-1" : drop }',
        'internal { "br-1" }',
        'open { "br-1" }',
    ]
    assert added("t", network).splitlines() == [f"add element inet t {one}" for one in elements]
    assert removed("t", network).splitlines() == [
        f"delete element inet t {one}" for one in elements
    ]
