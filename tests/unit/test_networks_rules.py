"""What may be asked of networks, and what is made of it: pure rules."""

import ipaddress
from typing import Any

import pytest

from aiod.errors import (
    AiodError,
    ConflictError,
    ForbiddenError,
    InvalidParameterError,
    UnsupportedError,
)
from aiod.native.network.description import Route
from aiod.networks import joining, making, model, options, sandboxes, selection
from aiod.networks.making import Surroundings
from aiod.networks.requests import IpamRequest, LenderRequest, NetworkRequest, PoolRequest
from aiod.networks.sandboxes import End
from aiod.store.models import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    IpamConfig,
    NetworkingConfig,
)
from aiod.store.networkrecords import Assigned, EndpointRecord, NetworkRecord, PoolRecord
from aiod.store.records import ContainerRecord

REACHED = [ipaddress.ip_network("172.17.0.0/16")]


def around(*networks: NetworkRecord) -> Surroundings:
    return Surroundings(networks, REACHED, bytes(5))


def made(request: NetworkRequest, *networks: NetworkRecord) -> NetworkRecord:
    making.check(request, around(*networks))
    return making.record(request, around(*networks), 1)


def asking(*pools: PoolRequest, **more: Any) -> NetworkRequest:
    return NetworkRequest(Name="n", IPAM=IpamRequest(Config=list(pools)), **more)


def test_a_network_that_asks_for_nothing_has_a_bridge_and_a_pool() -> None:
    found = made(NetworkRequest(Name="n"))
    assert found.pools == (PoolRecord("172.18.0.0/16", gateway="172.18.0.1", chosen=True),)
    assert (found.driver, found.link) == ("bridge", f"br-{found.id[:12]}")
    other = making.record(NetworkRequest(Name="m"), around(found), 1)
    assert other.pools[0].subnet == "172.19.0.0/16"


def test_pools_that_are_asked_for_are_had_with_their_gateways() -> None:
    six, four = PoolRequest(Subnet="fd83::/64"), PoolRequest("10.83.0.0/24", "10.83.0.128/25")
    found = made(asking(six, four, EnableIPv6=True))
    assert [pool.gateway for pool in found.pools] == ["10.83.0.128", "fd83::1"]
    assert not any(pool.chosen for pool in found.pools)


def test_each_family_has_a_pool_only_if_it_is_on() -> None:
    both = made(NetworkRequest(Name="n", EnableIPv6=True))
    assert [pool.subnet for pool in both.pools] == ["172.18.0.0/16", "fd00::/64"]
    six = made(NetworkRequest(Name="n", EnableIPv4=False, EnableIPv6=True))
    assert [pool.subnet for pool in six.pools] == ["fd00::/64"]
    with pytest.raises(InvalidParameterError):
        made(NetworkRequest(Name="n", EnableIPv4=False))


def test_pools_of_a_family_that_is_off_are_told() -> None:
    request = asking(PoolRequest(Subnet="fd83::/64"))
    assert [pool.subnet for pool in made(request).pools] == ["172.18.0.0/16"]
    assert making.warning(request) == making.IGNORED
    assert making.warning(NetworkRequest(Name="n")) == ""


def test_what_is_asked_for_may_lie_in_what_the_host_reaches() -> None:
    assert made(asking(PoolRequest(Subnet="172.17.3.0/24"))).pools[0].gateway == "172.17.3.1"


def test_settings_are_lent() -> None:
    lender = making.record(
        NetworkRequest(
            Name="lender", ConfigOnly=True, Options={model.MTU: "1400"}, Labels={"a": "b"},
            IPAM=IpamRequest(Config=[PoolRequest(Subnet="10.9.0.0/16")]),
        ),
        around(), 1,
    )  # fmt: skip
    assert (lender.driver, lender.link, lender.pools[0].gateway) == ("null", "", "")
    found = made(NetworkRequest(Name="n", ConfigFrom=LenderRequest("lender")), lender)
    assert found.pools == (PoolRecord("10.9.0.0/16", gateway="10.9.0.1"),)
    assert (found.config_from, found.options, found.labels) == (
        "lender", {model.MTU: "1400"}, {"a": "b"},
    )  # fmt: skip


def test_a_bridge_is_one_networks() -> None:
    one = made(NetworkRequest(Name="n", Options={model.LINK_NAME: "mine"}))
    assert one.link == "mine"
    with pytest.raises(ForbiddenError, match="same bridge name"):
        made(NetworkRequest(Name="m", Options={model.LINK_NAME: "mine"}), one)
    with pytest.raises(ConflictError):
        made(NetworkRequest(Name="n"), one)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "isolated"),
        ("com.docker.network.bridge.inhibit_ipv4", "true"),
        ("com.docker.network.host_ipv4", "192.0.2.1"),
    ],
)
def test_options_that_are_dockers_alone_are_refused_by_name(option: str, value: str) -> None:
    with pytest.raises(UnsupportedError, match=option):
        options.check("bridge", {option: value})


def test_options_of_nobody_are_kept() -> None:
    options.check("bridge", {"com.example": "x", model.ICC: "f", model.MTU: "0"})


@pytest.mark.parametrize(
    "subnet",
    ["", "10.0.0.0", "10.0.0.0/8/9", "10.0.0.0/ 8", "10.0.0.0/255.0.0.0", "10.0.0.1/8",
     "fe80::%eth0/64", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8\n"],
)  # fmt: skip
def test_what_is_no_subnet(subnet: str) -> None:
    with pytest.raises(InvalidParameterError, match="invalid subnet"):
        made(asking(PoolRequest(Subnet=subnet)))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", "\x7f"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidParameterError, match="invalid name"):
        made(NetworkRequest(Name=name))


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "a\0b", "a%d", "a:1", "sixteen-letters-x"])
def test_what_is_no_link(name: str) -> None:
    with pytest.raises(InvalidParameterError, match="invalid interface name"):
        options.check("bridge", {model.LINK_NAME: name})


@pytest.mark.parametrize(
    "text", ["x", "02:42:00:00:00", "02:42:00:00:00:0g", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01",
             "00:00:00:00:00:00", "02:42-00:00:00:01", "02:42:00:00:00:01\n"],
)  # fmt: skip
def test_what_is_no_mac_address(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="MAC address"):
        joining.check_mac(text)


# ---- ends ----


def network(name: str, *pools: PoolRecord, **more: Any) -> NetworkRecord:
    return NetworkRecord(f"id-{name}", name, 1, pools=pools, link=f"br-{name}", **more)


A = network("a", PoolRecord("10.1.0.0/16", gateway="10.1.0.1"))
B = network(
    "b", PoolRecord("10.2.0.0/16", gateway="10.2.0.1"), PoolRecord("fd02::/64", gateway="fd02::1")
)
INSIDE = network("inside", PoolRecord("10.3.0.0/16", gateway="10.3.0.1"), internal=True)


def end(of: NetworkRecord, ipv4: str = "", ipv6: str = "", priority: int = 0) -> End:
    settings = EndpointSettings(GwPriority=priority)
    row = EndpointRecord("c", of.id, of.name, settings)
    return End(of, row, Assigned("e", ipv4, ipv6, "02:42:0a:01:00:02", "veth1", f"eth-{of.name}"))


def leading(*ends: End) -> list[tuple[str, str]]:
    return [(one.gateway, one.interface) for one in sandboxes.describe(ends, "t").routes]


def test_the_gateway_is_that_of_the_highest_priority_and_then_of_both_families() -> None:
    a, b = end(A, "10.1.0.2/16"), end(B, "10.2.0.2/16", "fd02::2/64")
    assert leading(a, b) == [("10.2.0.1", "eth-b"), ("fd02::1", "eth-b")]
    first = end(A, "10.1.0.2/16", priority=1)
    assert leading(first, b) == [("10.1.0.1", "eth-a"), ("fd02::1", "eth-b")]
    plain = end(B, "10.2.0.2/16")
    assert leading(plain, a) == [("10.1.0.1", "eth-a")]


def test_an_internal_network_leads_nowhere() -> None:
    inside = end(INSIDE, "10.3.0.2/16", priority=9)
    assert leading(inside) == []
    assert leading(inside, end(A, "10.1.0.2/16")) == [("10.1.0.1", "eth-a")]


def test_a_description_says_all_that_there_is_to_make() -> None:
    settings = EndpointSettings(
        IPAMConfig=IpamConfig(LinkLocalIPs=["169.254.1.2", "fe80::7"]),
        DriverOpts={model.INTERFACE_SYSCTLS: "net.ipv4.conf.IFNAME.rp_filter=2"},
    )
    has = Assigned("e", "10.1.0.2/16", "", "02:42:0a:01:00:02", "veth1", "eth0")
    found = sandboxes.describe([End(A, EndpointRecord("c", A.id, "a", settings), has)], "table")
    (one,) = found.interfaces
    assert one.addresses == ("10.1.0.2/16", "169.254.1.2/16", "fe80::7/64")
    assert (one.kind, one.parent, one.host_name, one.name) == ("bridge", "br-a", "veth1", "eth0")
    assert one.sysctls == {"ipv4/rp_filter": "2"}
    assert found.routes == (Route("0.0.0.0/0", "10.1.0.1", "eth0"),)
    assert (found.table, found.resolver) == ("table", True)


# ---- what a container asks for ----


def record(mode: str, asked: dict[str, EndpointSettings], **config: Any) -> ContainerRecord:
    return ContainerRecord(
        "c", "name", 1, "sha256:i", "i", "sh", (), ContainerConfig(**config),
        HostConfig(NetworkMode=mode), NetworkingConfig(EndpointsConfig=asked), mode, (), "h", "",
    )  # fmt: skip


NOTHING = EndpointSettings()


def test_the_modes_network_is_joined_first_and_alone_if_no_other_is_named() -> None:
    assert list(joining.wanted(record("b", {}))) == ["b"]
    assert list(joining.wanted(record("b", {"a": NOTHING, "b": NOTHING}))) == ["b", "a"]
    assert list(joining.wanted(record("b", {"a": NOTHING}))) == ["a"]
    assert list(joining.wanted(record("bridge", {"default": NOTHING}))) == ["bridge"]


def test_whoever_has_no_network_of_its_own_joins_none() -> None:
    assert joining.wanted(record("container:x", {"a": NOTHING})) == {}
    assert joining.wanted(record("bridge", {}, NetworkDisabled=True)) == {}
    with pytest.raises(InvalidParameterError, match="host network"):
        joining.wanted(record("host", {"a": NOTHING}))


def test_the_mac_address_of_a_container_is_that_of_its_main_network() -> None:
    mac, other = "02:42:00:00:00:0a", "02:42:00:00:00:0b"
    found = joining.wanted(record("a", {"b": NOTHING, "a": NOTHING}, MacAddress=mac))
    assert [settings.MacAddress for settings in found.values()] == [mac, ""]
    with pytest.raises(InvalidParameterError, match="must match"):
        joining.wanted(record("a", {"a": EndpointSettings(MacAddress=other)}, MacAddress=mac))


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["a", "b"], False),
        (["a", "a"], True),
        (["a", "none"], True),
        (["a", "host"], True),
        (["none"], False),
    ],
)
def test_which_networks_go_together(names: list[str], refused: bool) -> None:
    try:
        joining.check_together(names)
    except AiodError:
        assert refused
    else:
        assert not refused


@pytest.mark.parametrize(
    "setting",
    ["net.ipv4.conf.eth0.rp_filter=2", "net.ipv4.conf.IFNAME.rp_filter", "kernel.x.IFNAME.y=1",
     "net.ipv4.conf.IFNAME.../../x=1"],
)  # fmt: skip
def test_settings_of_a_link_that_are_none(setting: str) -> None:
    opts = {model.INTERFACE_SYSCTLS: setting}
    with pytest.raises(InvalidParameterError, match="invalid sysctl"):
        joining.check_form(EndpointSettings(DriverOpts=opts))


# ---- filters ----

LABELLED = network("labelled", labels={"a": "b"}, driver="macvlan")
BUILT_IN = NetworkRecord("id-bridge", "bridge", 1)
ALL = [A, B, LABELLED, BUILT_IN]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["a", "b", "labelled", "bridge"]),
        ({"name": ["lab"]}, ["labelled"]),
        ({"name": ["lab", "ridge"]}, ["labelled", "bridge"]),
        ({"id": ["id-a"]}, ["a"]),
        ({"driver": ["macvlan"]}, ["labelled"]),
        ({"label": ["a"]}, ["labelled"]),
        ({"label": ["a=b"]}, ["labelled"]),
        ({"label": ["a=c"]}, []),
        ({"label": ["a", "x"]}, []),
        ({"type": ["builtin"]}, ["bridge"]),
        ({"type": ["custom"], "name": ["b"]}, ["b", "labelled"]),
        ({"scope": ["swarm"]}, []),
        ({"dangling": ["true"]}, ["b", "labelled"]),
        ({"dangling": ["0"]}, ["a", "bridge"]),
    ],
)
def test_filters(filters: dict[str, list[str]], names: list[str]) -> None:
    assert [one.name for one in selection.select(ALL, filters, {A.id})] == names


@pytest.mark.parametrize("filters", [{"type": ["x"]}, {"dangling": ["x"]}])
def test_filters_that_mean_nothing(filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidParameterError):
        selection.select(ALL, filters, set())


def test_a_prune_spares_what_is_used_built_in_or_lent() -> None:
    lender = network("lender", config_only=True)
    found = selection.prunable([*ALL, lender], {}, {A.id}, None)
    assert [one.name for one in found] == ["b", "labelled"]
    assert selection.prunable(ALL, {"label!": ["a"]}, set(), None) == [A, B]
    assert selection.prunable(ALL, {"label": ["a=b"]}, set(), None) == [LABELLED]
    assert selection.prunable(ALL, {}, set(), 1) == []
