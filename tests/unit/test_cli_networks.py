"""What the command line's options on networks and ports mean, and how ports are shown."""

from collections.abc import Callable

import click
import pytest

from aiod.cli import endpoints, networkpools, portlist, portspecs, views
from aiod.cli.endpoints import Joined, Plain
from aiod.cli.networkpools import Pool
from aiod.store.models import EndpointSettings, IpamConfig, PortBinding


@pytest.mark.parametrize(
    ("given", "bindings"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("8080:80/udp", {"80/udp": [("", "8080")]}),
        ("8080:80/UDP", {"80/udp": [("", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("127.0.0.1:8080:80", {"80/tcp": [("127.0.0.1", "8080")]}),
        ("[::1]:90:83/udp", {"83/udp": [("::1", "90")]}),
        ("::1:90:83", {"83/tcp": [("::1", "90")]}),
        ("9000-9010:80", {"80/tcp": [("", "9000-9010")]}),
        ("8000-8001:7000-7001", {"7000/tcp": [("", "8000")], "7001/tcp": [("", "8001")]}),
        ("80-81", {"80/tcp": [("", "")], "81/tcp": [("", "")]}),
        ("target=85,published=8085,protocol=udp", {"85/udp": [("", "8085")]}),
        ("target=85", {"85/tcp": [("", "")]}),
    ],
)
def test_published_ports(given: str, bindings: dict[str, list[tuple[str, str]]]) -> None:
    found = portspecs.published([given])
    assert {
        port: [(binding.HostIp, binding.HostPort) for binding in places]
        for port, places in found.items()
    } == bindings


def test_one_port_in_two_places() -> None:
    found = portspecs.published(["80:80", "127.0.0.1:81:80"])
    assert found == {"80/tcp": [PortBinding("", "80"), PortBinding("127.0.0.1", "81")]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("1-2:1-4", "invalid ranges specified for container and host Ports: 1-4 and 1-2"),
        ("x:80", "invalid hostPort: x"),
        ("80:80/foo", "invalid proto: foo"),
        ("999.1.1.1:80:80", "invalid IP address: 999.1.1.1"),
        ("80:70000", "invalid containerPort: 70000"),
        ("٣:80", "invalid hostPort: ٣"),
        (":", "no port specified: :<empty>"),
        ("80:", "no port specified: 80:<empty>"),
        ("3-1", "invalid containerPort: 3-1"),
        ("", "no port specified: <empty>"),
        ("target=x,published", r"invalid publish opts format \(should be name=value"),
        ("target=80,mode=host", "unknown name 'mode'"),
    ],
)
def test_ports_that_are_none(given: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        portspecs.published([given])


def test_exposed_ports() -> None:
    assert portspecs.exposed(["7/udp", "100-102"]) == ["7/udp", "100/tcp", "101/tcp", "102/tcp"]
    for wrong in ("1:2", "x", "2-1", "", "1/foo"):
        with pytest.raises(click.BadParameter):
            portspecs.exposed([wrong])


def test_no_network_and_nothing_to_say_of_one() -> None:
    assert endpoints.joined([], Plain()) == Joined("", {})
    assert endpoints.joined(["web"], Plain()) == Joined("web", {})
    assert endpoints.joined(["container:x"], Plain()) == Joined("container:x", {})


def test_plain_options_are_of_the_first_network() -> None:
    plain = Plain(["a"], "10.0.0.2", "fd00::2", ["169.254.1.1"], ["x:y"], "02-42-AC-11-00-02")
    found = endpoints.joined(["web", "other"], plain)
    assert found.mode == "web"
    assert found.endpoints == {
        "web": EndpointSettings(
            IPAMConfig=IpamConfig("10.0.0.2", "fd00::2", ["169.254.1.1"]),
            Aliases=["a"],
            Links=["x:y"],
            MacAddress="02:42:ac:11:00:02",
        ),
        "other": EndpointSettings(),
    }


def test_an_address_without_a_network_is_of_the_default_one() -> None:
    found = endpoints.joined([], Plain(ip="172.17.0.9"))
    assert found == Joined("default", {"default": EndpointSettings(IpamConfig("172.17.0.9"))})
    assert endpoints.joined([], Plain(links=["x"])) == Joined("", {})


def test_the_long_form_of_a_network() -> None:
    text = "name=web,alias=a,ALIAS=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=-3"
    found = endpoints.joined([text], Plain())
    assert found.mode == "web"
    assert found.endpoints["web"] == EndpointSettings(
        IPAMConfig=IpamConfig("10.0.0.2"),
        Aliases=["a", "b"],
        DriverOpts={"k": "v"},
        GwPriority=-3,
    )


@pytest.mark.parametrize(
    ("networks", "plain", "message"),
    [
        (["n", "n"], Plain(), 'network "n" is specified multiple times'),
        (["n", "host"], Plain(), "cannot attach both user-defined and non-user-defined"),
        (["name=n,foo=bar"], Plain(), "invalid field key foo"),
        (["n,alias=z"], Plain(), "invalid field n"),
        (["alias=z"], Plain(), "network name/id is not specified"),
        (["name=n,gw-priority=x"], Plain(), "invalid gw-priority"),
        ([], Plain(aliases=["z"]), "only supported for user-defined networks"),
        (["name=n,ip=1.2.3.4"], Plain(ip="1.2.3.5"), "both --ip and per-network IPv4 address"),
        (["name=n,alias=a"], Plain(["b"]), "both --network-alias and per-network alias"),
        (["n"], Plain(mac_address="zz"), "zz is not a valid mac address"),
    ],
)
def test_networks_that_cannot_be_meant(networks: list[str], plain: Plain, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        endpoints.joined(networks, plain)


def test_hosts_links_and_name_servers() -> None:
    assert endpoints.extra_host("a:1.2.3.4") == "a:1.2.3.4"
    assert endpoints.extra_host("b=::1") == "b:::1"
    assert endpoints.extra_host("b:[::1]") == "b:::1"
    assert endpoints.extra_host("c:host-gateway") == "c:host-gateway"
    assert endpoints.link("x:y") == "x:y"
    assert endpoints.name_server("fe80::1%eth0") == "fe80::1%eth0"
    wrong: list[Callable[[], str]] = [
        lambda: endpoints.extra_host("x"),
        lambda: endpoints.extra_host("x:y"),
        lambda: endpoints.extra_host(":1.2.3.4"),
        lambda: endpoints.link("a:b:c"),
        lambda: endpoints.link(""),
        lambda: endpoints.name_server("x"),
    ]
    for one in wrong:
        with pytest.raises(click.BadParameter):
            one()


def test_pools_with_all_that_lies_in_them() -> None:
    found = networkpools.pools(
        ["10.1.0.0/16", "fd00::/64"],
        ["10.1.1.0/24"],
        ["10.1.0.1", "fd00::1"],
        {"a": "10.1.0.9", "b": "fd00::9"},
    )
    assert found == [
        Pool("10.1.0.0/16", "10.1.1.0/24", "10.1.0.1", {"a": "10.1.0.9"}),
        Pool("fd00::/64", "", "fd00::1", {"b": "fd00::9"}),
    ]
    assert networkpools.pools([], [], [], {}) == []


@pytest.mark.parametrize(
    ("subnets", "ranges", "gateways", "auxiliary", "message"),
    [
        ([], [], ["10.1.0.1"], {}, "every ip-range or gateway must have a corresponding subnet"),
        (["10.1.0.0/16"], [], ["10.2.0.1"], {}, "no matching subnet for gateway 10.2.0.1"),
        (["10.1.0.0/16"], [], ["x"], {}, "no matching subnet for gateway x"),
        (["10.1.0.0/16"], ["10.2.0.0/24"], [], {}, "no matching subnet for range 10.2.0.0/24"),
        (["10.1.0.0/16"], [], [], {"a": "1.1.1.1"}, "no matching subnet for aux-address 1.1.1.1"),
        (["10.1.0.0/16", "10.1.2.0/24"], [], [], {}, "multiple overlapping subnet"),
        (["10.1.0.0/16", "10.1.0.0/16"], [], [], {}, "multiple overlapping subnet"),
        (["10.1.0.0/16", "10.2.0.0/16"], ["10.1.1.0/24", "10.1.2.0/24"], [], {},
         "cannot configure multiple ranges"),
        (["10.1.0.0/16", "10.2.0.0/16"], [], ["10.1.0.1", "10.1.0.2"], {},
         "cannot configure multiple gateways"),
        (["x"], [], [], {}, "invalid subnet: 'x'"),
    ],
)  # fmt: skip
def test_pools_that_cannot_be(
    subnets: list[str],
    ranges: list[str],
    gateways: list[str],
    auxiliary: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(click.BadParameter, match=message):
        networkpools.pools(subnets, ranges, gateways, auxiliary)


def test_ports_in_a_column() -> None:
    ports = [
        views.Port(9000, 0),
        views.Port(81, 81, "0.0.0.0"),
        views.Port(80, 80, "::"),
        views.Port(80, 80, "0.0.0.0"),
        views.Port(81, 81, "::"),
        views.Port(53, 5353, "127.0.0.1", "udp"),
        views.Port(9001, 0),
    ]
    assert portlist.column(ports) == (
        "127.0.0.1:5353->53/udp, 0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp, 9000-9001/tcp"
    )
    assert portlist.column([]) == ""


def test_ports_in_lines() -> None:
    ports = {"443/tcp": None, "80/tcp": [PortBinding("::", "8080"), PortBinding("0.0.0.0", "8080")]}
    assert portlist.lines(ports) == ["80/tcp -> [::]:8080", "80/tcp -> 0.0.0.0:8080"]
    assert portlist.places(ports, "443/tcp") == []
