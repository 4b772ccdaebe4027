"""Who reaches whom: bridges, their ends, and the modes that have none."""

import pytest

from tests.support.http import ApiError
from tests.support.playground import PORT, Playground
from tests.support.traffic import UDP, ask


def subnets(*configs: dict[str, object], **network: object) -> dict[str, object]:
    """What a network with these subnets is created with."""
    return {"IPAM": {"Driver": "default", "Config": list(configs)}, **network}


SIX = subnets({"Subnet": "10.83.0.0/24"}, {"Subnet": "fd83::/64"}, EnableIPv6=True)


def test_two_on_one_bridge_talk(ground: Playground) -> None:
    network = ground.network(**SIX)
    one, two = ground.run(network), ground.run(network)
    ground.servers.add(two.namespace, "udp", PORT, UDP)
    assert one.ask(two.ip4(network)).name == two.name
    assert one.ask(two.ip4(network)).client == one.ip4(network)
    assert one.ask(two.ip6(network)).client == one.ip6(network)
    assert two.ask(one.ip6(network)).name == one.name
    assert one.ask(two.ip4(network), PORT, UDP).name == "udp"


def test_two_on_the_default_bridge_talk(ground: Playground) -> None:
    one, two = ground.run("bridge"), ground.run("default")
    assert one.ask(two.ip4("bridge")).name == two.name
    assert set(ground.members("bridge")) >= {one.name, two.name}


def test_two_on_two_bridges_do_not(ground: Playground) -> None:
    first = ground.network(**SIX)
    second = ground.network(
        **subnets({"Subnet": "10.84.0.0/24"}, {"Subnet": "fd84::/64"}, EnableIPv6=True)
    )
    one, two, other = ground.run(first), ground.run(second), ground.run("bridge")
    for address in (two.ip4(second), two.ip6(second), other.ip4("bridge")):
        assert not one.reaches(address), address
    assert not two.reaches(one.ip4(first))
    assert not other.reaches(one.ip4(first))
    # but each can be reached by the machine itself
    assert ask(ground.machine, two.ip4(second)).name == two.name


def test_the_outside_is_reached_by_the_machines_address(ground: Playground) -> None:
    ground.servers.add(ground.neighbour, "outside", 4000)
    for network in ("bridge", ground.network()):
        box = ground.run(network)
        answer = box.ask(ground.neighbour.ip4, 4000)
        assert (answer.name, answer.client) == ("outside", ground.machine.ip4)


def test_an_internal_network_reaches_nothing_else(ground: Playground) -> None:
    ground.servers.add(ground.neighbour, "outside", 4001)
    network = ground.network(Internal=True)
    one, two = ground.run(network), ground.run(network)
    assert one.ask(two.ip4(network)).name == two.name
    assert not one.reaches(ground.neighbour.ip4, 4001)


def test_a_running_container_is_connected_and_disconnected(ground: Playground) -> None:
    first, second = ground.network(), ground.network()
    one, two = ground.run(first), ground.run(second)
    assert not one.reaches(two.ip4(second))
    ground.connect(second, one.name)
    address = one.ip4(second)
    assert one.ask(two.ip4(second)).client == address
    assert two.ask(address).name == one.name
    assert set(ground.members(second)) == {one.name, two.name}
    assert {"lo", "eth0", "eth1"} <= one.namespace.links()
    ground.disconnect(second, one.name)
    assert "eth1" not in one.namespace.links()
    assert set(ground.members(second)) == {two.name}
    assert not one.reaches(two.ip4(second))
    assert not two.reaches(address)
    # the first is left alone
    assert ask(ground.machine, one.ip4(first)).name == one.name


def test_its_last_network_can_be_left_and_another_joined(ground: Playground) -> None:
    first, second = ground.network(), ground.network()
    one, two = ground.run(first), ground.run(second)
    ground.disconnect(first, one.name)
    assert one.addresses() == set()
    ground.connect(second, one.name)
    assert one.ask(two.ip4(second)).name == two.name
    # the outside too: the default route is that of the network it has
    ground.servers.add(ground.neighbour, "outside", 4002)
    assert one.ask(ground.neighbour.ip4, 4002).client == ground.machine.ip4


def test_what_was_connected_is_there_after_a_restart(ground: Playground) -> None:
    first, second = ground.network(), ground.network()
    one, two = ground.run(first), ground.run(second)
    ground.connect(second, one.name)
    ground.api.call("POST", f"/containers/{one.name}/restart", t=0)
    again = ground.box(one.name)
    assert again.ask(two.ip4(second)).client == again.ip4(second)
    assert again.addresses() == {again.ip4(first), again.ip4(second)}


def test_a_stopped_container_is_connected_when_it_starts(ground: Playground) -> None:
    first, second = ground.network(), ground.network()
    two = ground.run(second)
    name = ground.create(first)
    ground.connect(second, name)
    assert ground.members(second) == {two.name: two.ip4(second)}
    one = ground.start(name)
    assert one.ask(two.ip4(second)).client == one.ip4(second)


def test_a_container_shares_anothers_network(ground: Playground) -> None:
    network = ground.network()
    one, two = ground.run(network), ground.run(network)
    shared = ground.start(ground.create(f"container:{one.name}"), answers=False)
    assert shared.addresses() == one.addresses() == {one.ip4(network)}
    assert shared.ask("127.0.0.1").name == one.name
    assert shared.ask(two.ip4(network)).client == one.ip4(network)
    inspected = ground.api.inspect(shared.id)
    assert inspected["HostConfig"]["NetworkMode"] == f"container:{one.id}"
    assert inspected["NetworkSettings"]["Networks"] == {}


def test_a_container_on_the_hosts_network(ground: Playground) -> None:
    box = ground.start(ground.create("host"), answers=False)
    assert {ground.machine.ip4, ground.machine.ip6} <= box.addresses()
    assert box.namespace.links() == ground.machine.links()
    assert list(ground.api.inspect(box.id)["NetworkSettings"]["Networks"]) == ["host"]


def test_a_container_without_a_network(ground: Playground) -> None:
    box = ground.start(ground.create("none"), answers=False)
    assert box.namespace.links() == {"lo"}
    ground.servers.add(box.namespace, "itself")
    assert box.ask("127.0.0.1").name == "itself"
    assert list(ground.api.inspect(box.id)["NetworkSettings"]["Networks"]) == ["none"]


def test_addresses_that_were_asked_for(ground: Playground) -> None:
    network = ground.network(
        **subnets(
            {
                "Subnet": "10.85.0.0/24",
                "IPRange": "10.85.0.128/25",
                "Gateway": "10.85.0.254",
                "AuxiliaryAddresses": {"printer": "10.85.0.128"},
            },
            {"Subnet": "fd85::/64"},
            EnableIPv6=True,
        )
    )
    fixed = ground.run(
        network, endpoint={"IPAMConfig": {"IPv4Address": "10.85.0.7", "IPv6Address": "fd85::7"}}
    )
    assert (fixed.ip4(network), fixed.ip6(network)) == ("10.85.0.7", "fd85::7")
    assert fixed.addresses() == {"10.85.0.7", "fd85::7"}
    assert "default via 10.85.0.254" in fixed.namespace.run("ip", "route")
    free = ground.run(network)
    assert free.ip4(network) == "10.85.0.129"  # neither the range's first, which is taken
    assert free.ask("fd85::7").name == fixed.name
    late = ground.run("bridge")
    ground.connect(network, late.name, IPAMConfig={"IPv4Address": "10.85.0.9"})
    assert late.ip4(network) == "10.85.0.9"
    assert late.ask("10.85.0.7").client == "10.85.0.9"


def test_a_mac_address_that_was_asked_for(ground: Playground) -> None:
    box = ground.run("bridge", MacAddress="02:42:de:ad:be:ef")
    assert box.endpoint("bridge")["MacAddress"] == "02:42:de:ad:be:ef"
    addresses = {link["ifname"]: link["address"] for link in box.namespace.shown("link")}
    assert addresses["eth0"] == "02:42:de:ad:be:ef"


def test_options_of_a_bridge(ground: Playground) -> None:
    network = ground.network(
        Options={
            "com.docker.network.bridge.name": "br-named",
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.bridge.enable_icc": "false",
        }
    )
    assert "br-named" in ground.machine.links()
    one, two = ground.run(network), ground.run(network)
    mtus = {link["ifname"]: link["mtu"] for link in one.namespace.shown("link")}
    assert mtus["eth0"] == 1400
    ground.servers.add(two.namespace, "inside", 4004)
    assert not one.reaches(two.ip4(network), 4004)
    assert ask(ground.machine, two.ip4(network), 4004).name == "inside"
    ground.servers.add(ground.neighbour, "outside", 4003)
    assert one.ask(ground.neighbour.ip4, 4003).name == "outside"


def test_pools_do_not_overlap(ground: Playground) -> None:
    """Neither with each other nor with what the machine has."""
    networks = [ground.network() for _ in range(5)]
    found = [ground.api.call("GET", f"/networks/{one}")["IPAM"]["Config"][0] for one in networks]
    assert len({config["Subnet"] for config in found}) == 5
    for config in found:
        assert config["Gateway"].split(".")[:2] == config["Subnet"].split(".")[:2]


def test_a_network_goes_when_nobody_is_in_it(ground: Playground) -> None:
    before = ground.machine.trace()
    network = ground.network()
    box = ground.run(network)
    with pytest.raises(ApiError, match="has active endpoints") as refused:
        ground.api.call("DELETE", f"/networks/{network}")
    assert refused.value.status == 403
    ground.remove(box)
    ground.api.call("DELETE", f"/networks/{network}")
    with pytest.raises(ApiError, match=f"network {network} not found"):
        ground.api.call("GET", f"/networks/{network}")
    ground.assert_as(before)
