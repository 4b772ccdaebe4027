"""Published ports: from another host, from the machine, from containers; and their conflicts."""

import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.http import ApiError
from tests.support.netns import Namespace
from tests.support.playground import PORT, Box, Playground
from tests.support.traffic import TCP, UDP, ask, silent


def bound(ground: Playground, box: Box, port: str) -> list[tuple[str, str]]:
    """The addresses and ports of the machine that a container's port has."""
    bindings = ground.api.inspect(box.id)["NetworkSettings"]["Ports"][port]
    return [(one["HostIp"], one["HostPort"]) for one in bindings]


def everywhere(ground: Playground) -> list[tuple[Namespace, str]]:
    """Whoever can ask, and under which address of the machine."""
    machine = ground.machine
    return [
        (ground.neighbour, machine.ip4),
        (ground.neighbour, machine.ip6),
        (machine, machine.ip4),
        (machine, machine.ip6),
        (machine, "127.0.0.1"),
        (machine, "::1"),
    ]


@pytest.mark.parametrize("own", [False, True], ids=["default bridge", "own bridge"])
def test_a_port_answers_from_everywhere(ground: Playground, own: bool) -> None:
    network = ground.network() if own else "bridge"
    box = ground.published(network=network, p8000="80/tcp", p8001="80/udp")
    ground.servers.add(box.namespace, box.name, PORT, UDP)
    assert bound(ground, box, "80/tcp") == [("0.0.0.0", "8000"), ("::", "8000")]
    for where, address in everywhere(ground):
        assert ask(where, address, 8000).name == box.name, address
        assert ask(where, address, 8001, UDP).name == box.name, address
    # another host is seen as itself
    assert ask(ground.neighbour, ground.machine.ip4, 8000).client == ground.neighbour.ip4


def test_containers_reach_it_by_the_machine(ground: Playground) -> None:
    """Also the one that it belongs to, and those of other networks."""
    network = ground.network()
    box = ground.published(network=network, p8002="80/tcp")
    gateway = ground.api.call("GET", f"/networks/{network}")["IPAM"]["Config"][0]["Gateway"]
    for asking in (box, ground.run(network), ground.run("bridge")):
        assert asking.ask(ground.machine.ip4, 8002).name == box.name
    assert box.ask(gateway, 8002).name == box.name


def test_a_port_of_one_address(ground: Playground) -> None:
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8003"}]}
    box = ground.run("bridge", host={"PortBindings": bindings}, ExposedPorts={"80/tcp": {}})
    assert bound(ground, box, "80/tcp") == [("127.0.0.1", "8003")]
    assert ask(ground.machine, "127.0.0.1", 8003).name == box.name
    assert silent(ground.machine, ground.machine.ip4, 8003)
    assert silent(ground.neighbour, ground.machine.ip4, 8003)
    assert silent(ground.machine, "::1", 8003)
    bindings = {"80/tcp": [{"HostIp": ground.machine.ip4, "HostPort": "8003"}]}
    other = ground.run("bridge", host={"PortBindings": bindings}, ExposedPorts={"80/tcp": {}})
    assert ask(ground.neighbour, ground.machine.ip4, 8003).name == other.name
    assert ask(ground.machine, ground.machine.ip4, 8003).name == other.name
    assert ask(ground.machine, "127.0.0.1", 8003).name == box.name
    bindings = {"80/tcp": [{"HostIp": "::1", "HostPort": "8003"}]}
    six = ground.run("bridge", host={"PortBindings": bindings}, ExposedPorts={"80/tcp": {}})
    assert ask(ground.machine, "::1", 8003).name == six.name


def test_ports_that_the_engine_chooses(ground: Playground) -> None:
    boxes = [ground.published("80/tcp") for _ in range(3)]
    ports = [int(bound(ground, box, "80/tcp")[0][1]) for box in boxes]
    assert len(set(ports)) == 3
    for box, port in zip(boxes, ports, strict=True):
        assert 32768 <= port <= 65535
        assert ask(ground.neighbour, ground.machine.ip4, port).name == box.name


def test_exposed_ports_are_published_when_all_are_asked_for(ground: Playground) -> None:
    box = ground.run(
        "bridge", host={"PublishAllPorts": True}, ExposedPorts={"80/tcp": {}, "81/udp": {}}
    )
    ground.servers.add(box.namespace, "udp", 81, UDP)
    assert ask(ground.neighbour, ground.machine.ip4, int(bound(ground, box, "80/tcp")[0][1])).name
    udp = int(bound(ground, box, "81/udp")[0][1])
    assert ask(ground.neighbour, ground.machine.ip4, udp, UDP).name == "udp"


def test_lists_find_the_ports_that_containers_have(ground: Playground) -> None:
    """Those of the image and of the container alike, while it runs; one filter's are enough."""
    box = ground.published(network=ground.network(), p8019="80/tcp")
    other = ground.run("bridge", ExposedPorts={"81/tcp": {}, "53/udp": {}})

    def found(**filters: list[str]) -> list[str]:
        rows = ground.api.call("GET", "/containers/json", all="1", filters=json.dumps(filters))
        here = {box.id: "box", other.id: "other"}
        return sorted(here[row["Id"]] for row in rows if row["Id"] in here)

    assert found(expose=["80"]) == ["box"]
    assert found(expose=["79-81/tcp"]) == ["box", "other"]
    assert found(expose=["53/udp", "9/tcp"]) == ["other"]
    assert found(expose=["53"]) == []
    assert found(publish=["8019"]) == ["box"]
    assert found(publish=["80"]) == []
    assert found(publish=["8019"], expose=["81"]) == ["box", "other"]
    ground.api.call("POST", f"/containers/{other.id}/kill")
    ground.api.wait(other.id)
    assert found(expose=["81"]) == []


def test_ranges(ground: Playground) -> None:
    flags = ("-p", "8010-8012:90-92", "-p", "8020-8025:80")
    box = ground.by_command(*flags)
    for port in range(90, 93):
        ground.servers.add(box.namespace, str(port), port)
        assert ask(ground.neighbour, ground.machine.ip4, port + 7920).name == str(port)
    ground.servers.add(box.namespace, box.name)
    first = int(bound(ground, box, "80/tcp")[0][1])
    assert 8020 <= first <= 8025
    second = int(bound(ground, ground.by_command(*flags[2:]), "80/tcp")[0][1])
    assert second in set(range(8020, 8026)) - {first}
    assert ask(ground.neighbour, ground.machine.ip4, first).name == box.name


def test_a_port_goes_with_its_container_and_comes_back(ground: Playground) -> None:
    box = ground.published(p8030="80/tcp")
    before = ground.machine.rules()
    assert ask(ground.machine, "127.0.0.1", 8030).name == box.name
    ground.end(box.id)
    for where, address in everywhere(ground):
        assert silent(where, address, 8030), address
    assert ground.machine.rules() != before
    again = ground.start(box.name)
    for where, address in everywhere(ground):
        assert ask(where, address, 8030).name == again.name


def test_a_taken_port_leaves_nothing_half_done(ground: Playground) -> None:
    first = ground.published(p8040="80/tcp")
    before = ground.machine.trace()
    bindings = {"81/tcp": [{"HostPort": "8041"}], "80/tcp": [{"HostPort": "8040"}]}
    second = ground.create(
        "bridge", host={"PortBindings": bindings}, ExposedPorts={port: {} for port in bindings}
    )
    with pytest.raises(ApiError, match="port is already allocated") as refused:
        ground.api.start(second)
    assert refused.value.status == 500
    ground.assert_as(before)
    failed = ground.api.inspect(second)
    assert failed["State"]["Status"] == "created"
    assert not failed["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    # the other port of the one that failed is free again
    assert silent(ground.machine, "127.0.0.1", 8041)
    third = ground.published(p8041="80/tcp")
    assert ask(ground.neighbour, ground.machine.ip4, 8041).name == third.name
    assert ask(ground.neighbour, ground.machine.ip4, 8040).name == first.name


def test_a_port_that_another_program_has(ground: Playground) -> None:
    ground.servers.add(ground.machine, "other", 8050, TCP, "0.0.0.0")
    with pytest.raises(ApiError, match="address already in use") as refused:
        ground.published(p8050="80/tcp")
    assert refused.value.status == 500
    assert ask(ground.neighbour, ground.machine.ip4, 8050).name == "other"


def test_what_is_not_published_is_not_reached_from_outside(ground: Playground) -> None:
    network = ground.network()
    box = ground.published(network=network, p8060="80/tcp")
    ground.servers.add(box.namespace, "hidden", 81)
    subnet = ground.api.call("GET", f"/networks/{network}")["IPAM"]["Config"][0]["Subnet"]
    ground.neighbour.ip(f"route add {subnet} via {ground.machine.ip4}")
    try:
        assert silent(ground.neighbour, box.ip4(network), 81)
        assert ask(ground.machine, box.ip4(network), 81).name == "hidden"
    finally:
        ground.neighbour.ip(f"route del {subnet}")


def test_ports_of_a_container_that_is_connected_later(ground: Playground) -> None:
    """The network with the default route has them; it keeps them as networks come and go."""
    first, second = ground.network(), ground.network()
    box = ground.published(network=first, p8070="80/tcp")
    ground.connect(second, box.name)
    assert ask(ground.neighbour, ground.machine.ip4, 8070).name == box.name
    ground.disconnect(first, box.name)
    for where, address in everywhere(ground)[:1]:
        assert ask(where, address, 8070).name == box.name
    ground.disconnect(second, box.name)
    assert silent(ground.neighbour, ground.machine.ip4, 8070)


def test_many_bytes_both_ways_over_the_loopback(ground: Playground) -> None:
    """What goes by a proxy is whole, and its ends are passed on, one way after the other."""
    box = ground.published(p8080="90/tcp")
    with box.namespace.entered():
        server = socket.create_server(("0.0.0.0", 90))

    def serve() -> None:
        client, _ = server.accept()
        with client:
            digest = hashlib.sha256()
            while chunk := client.recv(65536):
                digest.update(chunk)
            client.sendall(digest.digest() + bytes(20_000_000))

    sent = bytes(range(256)) * 40_000
    with ground.machine.entered():
        client = socket.socket(socket.AF_INET)
    client.settimeout(30)
    with client, server, ThreadPoolExecutor(1) as pool:
        pool.submit(serve)
        client.connect(("127.0.0.1", 8080))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        back = b"".join(iter(lambda: client.recv(65536), b""))
    assert back == hashlib.sha256(sent).digest() + bytes(20_000_000)
