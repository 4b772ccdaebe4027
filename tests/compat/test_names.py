"""Names at 127.0.0.11, and the files that tell a container its own."""

from tests.support import nameserver
from tests.support.playground import Playground


def test_names_and_aliases(ground: Playground) -> None:
    network = ground.network()
    one = ground.run(network)
    two = ground.run(network, endpoint={"Aliases": ["db", "store"]})
    address = two.ip4(network)
    for name in (two.name, two.id[:12], "db", "store", "DB"):
        assert one.look_up(name) == [address], name
    assert one.look_up(address, "PTR") == [f"{two.name}.{network}."]
    assert two.look_up(one.name) == [one.ip4(network)]
    assert one.look_up(one.name) == [one.ip4(network)]


def test_a_program_resolves_them(ground: Playground) -> None:
    """By the container's own resolv.conf and C library."""
    network = ground.network()
    one, two = ground.run(network), ground.run(network)
    done = ground.engine.docker("exec", one.name, "nslookup", two.name)
    assert two.ip4(network) in done.stdout
    said = ground.engine.docker("exec", one.name, "cat", "/etc/resolv.conf").stdout
    assert "nameserver 127.0.0.11" in said.splitlines()


def test_names_of_ipv6(ground: Playground) -> None:
    network = ground.network(
        EnableIPv6=True,
        IPAM={"Config": [{"Subnet": "10.86.0.0/24"}, {"Subnet": "fd86::/64"}]},
    )
    one, two = ground.run(network), ground.run(network)
    assert one.look_up(two.name, "AAAA") == [two.ip6(network)]
    assert one.look_up(two.ip6(network), "PTR") == [f"{two.name}.{network}."]


def test_one_name_for_several_is_answered_in_turn(ground: Playground) -> None:
    network = ground.network()
    asking = ground.run(network)
    several = [ground.run(network, endpoint={"Aliases": ["all"]}) for _ in range(3)]
    addresses = {box.ip4(network) for box in several}
    answers = [asking.look_up("all") for _ in range(20)]
    assert all(set(answer) == addresses for answer in answers), answers
    assert len({answer[0] for answer in answers}) > 1, answers


def test_a_name_goes_with_its_container(ground: Playground) -> None:
    network = ground.network()
    one, two = ground.run(network), ground.run(network)
    assert one.look_up(two.name) == [two.ip4(network)]
    ground.end(two.name)
    assert one.look_up(two.name) == []
    ground.api.start(two.name)
    assert one.look_up(two.name) == [two.ip4(network)]
    ground.disconnect(network, two.name)
    assert one.look_up(two.name) == []
    ground.connect(network, two.name, Aliases=["late"])
    assert one.look_up("late") == one.look_up(two.name) == [two.ip4(network)]


def test_a_renamed_container(ground: Playground) -> None:
    network = ground.network()
    one, two = ground.run(network), ground.run(network)
    name = ground.name("new")
    ground.api.call("POST", f"/containers/{two.name}/rename", name=name)
    try:
        assert one.look_up(name) == [two.ip4(network)]
        assert one.look_up(two.name) == []
    finally:
        ground.api.remove(two.id)


def test_names_end_at_the_network(ground: Playground) -> None:
    first, second = ground.network(), ground.network()
    one, two = ground.run(first), ground.run(second)
    assert one.look_up(two.name) == []
    ground.connect(second, one.name)
    assert one.look_up(two.name) == [two.ip4(second)]
    assert two.look_up(one.name) == [one.ip4(second)]


def test_links(ground: Playground) -> None:
    """On the default bridge by /etc/hosts, elsewhere by the resolver."""
    target = ground.run("bridge")
    linked = ground.run("bridge", host={"Links": [f"{target.name}:store"]})
    hosts = ground.engine.docker("exec", linked.name, "cat", "/etc/hosts").stdout
    assert any(
        line.split()[:2] == [target.ip4("bridge"), "store"] for line in hosts.splitlines()
    ), hosts
    network = ground.network()
    target = ground.run(network)
    linked = ground.run(network, endpoint={"Links": [f"{target.name}:store"]})
    other = ground.run(network)
    assert linked.look_up("store") == [target.ip4(network)]
    assert other.look_up("store") == []


def test_other_names_are_asked_of_the_servers_it_was_given(ground: Playground) -> None:
    box = ground.run(ground.network())
    assert box.look_up(nameserver.NAME) == [nameserver.ADDRESS]
    assert box.look_up("unknown.test") == []
    # without a network of its own making, it asks them itself
    plain = ground.run("bridge")
    resolver = ground.engine.docker("exec", plain.name, "cat", "/etc/resolv.conf").stdout
    assert f"nameserver {ground.neighbour.ip4}" in resolver.splitlines()


def test_what_a_container_is_told_of_itself(ground: Playground) -> None:
    network = ground.network()
    box = ground.run(
        network,
        host={
            "ExtraHosts": ["far:198.51.100.7", "gate:host-gateway"],
            "Dns": ["198.51.100.53"],
            "DnsSearch": ["example.test"],
            "DnsOptions": ["ndots:2"],
        },
        Hostname="web",
        Domainname="example.test",
    )
    hosts = ground.engine.docker("exec", box.name, "cat", "/etc/hosts").stdout
    rows = [line.split() for line in hosts.splitlines()]
    gateway = ground.run("bridge").endpoint("bridge")["Gateway"]
    assert [box.ip4(network), "web.example.test", "web"] in rows
    assert ["198.51.100.7", "far"] in rows
    assert [gateway, "gate"] in rows
    assert ["127.0.0.1", "localhost"] in rows
    resolver = ground.engine.docker("exec", box.name, "cat", "/etc/resolv.conf").stdout
    lines = [line for line in resolver.splitlines() if line and not line.startswith("#")]
    assert sorted(lines) == [
        "nameserver 127.0.0.11",
        "options ndots:2",
        "search example.test",
    ]
    assert ground.engine.docker("exec", box.name, "cat", "/etc/hostname").stdout == "web\n"


def test_an_internal_network_asks_nobody_else(ground: Playground) -> None:
    internal, other = ground.network(Internal=True), ground.network()
    one, two = ground.run(internal), ground.run(internal)
    assert one.look_up(two.name) == [two.ip4(internal)]
    if ground.engine.name == "aiod":  # dockerd 20.10 lets its client wait
        assert one.look_up(nameserver.NAME) == []
    ground.connect(other, one.name)
    assert one.look_up(nameserver.NAME) == [nameserver.ADDRESS]
