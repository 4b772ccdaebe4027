"""What containers ask to have published, and which of the host's ports they get."""

import socket
from collections.abc import Iterator

import msgspec
import pytest

from aiod.errors import AiodError, InternalError, InvalidParameterError
from aiod.native.network.description import Port
from aiod.native.network.ruleset import NetworkRules
from aiod.networks import model, portviews
from aiod.networks.portrequests import ContainerPort, PortRequest, exposed, requested
from aiod.networks.ports import HostPorts
from aiod.networks.publishing import Publisher, rules_of
from aiod.networks.sandboxes import End
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig, PortBinding
from aiod.store.networkrecords import Assigned, EndpointRecord, NetworkRecord, PoolRecord
from aiod.store.records import ContainerRecord

ADDRESSES = ("172.17.0.2", "")
QUIET = "127.9.8.7"  # where nobody else has a port
WEB = ContainerPort(80)


def asked(
    bindings: dict[str, list[PortBinding] | None],
    *,
    names: tuple[str, ...] = (),
    every: bool = False,
) -> tuple[PortRequest, ...]:
    config = ContainerConfig(ExposedPorts={name: {} for name in names})
    return requested(config, HostConfig(PortBindings=bindings, PublishAllPorts=every))


def request(host_port: str = "", host_address: str = "", port: str = "80/tcp") -> PortRequest:
    (found,) = asked({port: [PortBinding(host_address, host_port)]})
    return found


def refuse(bindings: dict[str, list[PortBinding] | None]) -> None:
    asked(bindings)
    exposed(ContainerConfig(), HostConfig(PortBindings=bindings))


@pytest.mark.parametrize(
    ("host_port", "first", "last"),
    [("8080", 8080, 8080), ("", 0, 0), ("0", 0, 0), ("8000-8010", 8000, 8010), ("53/udp", 53, 53)],
)
def test_a_binding_names_a_port_or_a_range_or_any(host_port: str, first: int, last: int) -> None:
    assert request(host_port) == PortRequest(WEB, "", first, last)


@pytest.mark.parametrize(
    ("text", "port"), [("80", WEB), ("80/TCP", WEB), ("53/udp", ContainerPort(53, "udp"))]
)
def test_a_container_port_without_a_protocol_is_tcp(text: str, port: ContainerPort) -> None:
    assert request("8080", port=text).port == port


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"80-82/tcp": []}, 'invalid port specification: "80-82"'),
        ({"abc/tcp": []}, 'invalid port specification: "abc"'),
        ({"70000/tcp": []}, 'invalid port specification: "70000"'),
        ({"0/tcp": []}, 'invalid port specification: "0"'),
        ({"": []}, 'invalid port specification: ""'),
        ({"80/xyz": []}, "invalid port specification: '80/xyz': unknown protocol"),
        ({"80/sctp": []}, "80/sctp: publishing sctp is not supported by aiod"),
        ({"80": [PortBinding("", "8010-8000")]}, 'invalid port specification: "8010-8000"'),
        ({"80": [PortBinding("", "8000-x")]}, 'invalid port specification: "8000-x"'),
        ({"80": [PortBinding("", "abc")]}, 'invalid port specification: "abc"'),
        ({"80": [PortBinding("", "70000")]}, 'invalid port specification: "70000"'),
        ({"80": [PortBinding("", "-1")]}, 'invalid port specification: "-1"'),
        ({"80": [PortBinding("1.2.3", "80")]}, "invalid IP address: 1.2.3"),
        ({"80": [PortBinding("localhost", "80")]}, "invalid IP address: localhost"),
    ],
)
def test_what_is_no_port_is_refused(
    bindings: dict[str, list[PortBinding] | None], message: str
) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        refuse(bindings)
    assert str(refused.value) == message


def test_all_exposed_ports_are_published_if_asked_where_no_binding_says_how() -> None:
    bindings: dict[str, list[PortBinding] | None] = {"80": [PortBinding("", "8080")], "90": None}
    found = asked(bindings, names=("80/tcp", "53/udp", "81-82/tcp"), every=True)
    assert found == (
        PortRequest(WEB, "", 8080, 8080),
        *(PortRequest(ContainerPort(*one)) for one in ((53, "udp"), (81,), (82,), (90,))),
    )


def test_a_protocol_that_cannot_be_published_may_be_exposed() -> None:
    config = ContainerConfig(ExposedPorts={"80/sctp": {}})
    assert exposed(config, HostConfig()) == [ContainerPort(80, "sctp")]
    with pytest.raises(InvalidParameterError, match="publishing sctp is not supported"):
        requested(config, HostConfig(PublishAllPorts=True))


def test_what_leaves_no_choice_comes_first() -> None:
    found = asked(
        {"1": [PortBinding()], "2": [PortBinding("", "5-9")], "3": [PortBinding("", "7")]}
    )
    assert [one.port.number for one in found] == [3, 2, 1]


def test_a_port_without_an_address_is_bound_at_every_address_of_the_host() -> None:
    assert HostPorts().choose([request("8080")], ADDRESSES) == [
        Port("tcp", "0.0.0.0", 8080, "172.17.0.2", 80),
        Port("tcp", "::", 8080, "172.17.0.2", 80),
    ]


def test_each_family_leads_to_the_address_of_that_family() -> None:
    found = HostPorts().choose([request("8080")], ("172.17.0.2", "fd00::2"))
    assert [port.address for port in found] == ["172.17.0.2", "fd00::2"]


def test_a_container_without_ipv4_is_reached_by_it() -> None:
    found = HostPorts().choose([request("8080")], ("", "fd00::2"))
    assert [port.address for port in found] == ["fd00::2", "fd00::2"]


def test_a_host_without_ipv6_binds_none_of_it() -> None:
    found = HostPorts(ipv6=False).choose([request("8080")], ADDRESSES)
    assert [port.host_address for port in found] == ["0.0.0.0"]


def test_a_network_may_say_where_ports_are_bound_that_name_no_address() -> None:
    ports = HostPorts()
    (found,) = ports.choose([request("8080")], ADDRESSES, "10.0.0.1")
    assert found.host_address == "10.0.0.1"
    (found,) = ports.choose([request("8080", "10.0.0.2")], ADDRESSES, "10.0.0.1")
    assert found.host_address == "10.0.0.2"


def test_a_taken_port_is_refused_in_dockers_words_and_nothing_is_taken() -> None:
    ports = HostPorts()
    ports.hold([Port("tcp", "0.0.0.0", 8080, "172.17.0.9", 80)])
    with pytest.raises(AiodError) as refused:
        ports.choose([request("7979"), request("8080")], ADDRESSES)
    assert str(refused.value) == "Bind for 0.0.0.0:8080 failed: port is already allocated"
    assert ports.choose([request("7979")], ADDRESSES)


def test_an_ipv6_address_is_named_in_brackets() -> None:
    ports = HostPorts()
    ports.choose([request("8080", "::1")], ADDRESSES)
    with pytest.raises(AiodError, match=r"Bind for \[::1\]:8080 failed: port is already allocated"):
        ports.choose([request("8080", "::1")], ADDRESSES)


def test_the_other_protocol_and_another_address_are_other_ports() -> None:
    ports = HostPorts()
    ports.choose([request("8080", "127.0.0.1")], ADDRESSES)
    assert ports.choose([request("8080", "127.0.0.2")], ADDRESSES)
    assert ports.choose([request("8080", "127.0.0.1", "80/udp")], ADDRESSES)


def test_of_a_range_the_first_free_port_is_given_until_none_is_left() -> None:
    ports = HostPorts()
    given = [ports.choose([request("27000-27001", QUIET)], ADDRESSES)[0] for _ in range(2)]
    assert [port.host_port for port in given] == [27000, 27001]
    with pytest.raises(AiodError, match="all ports are allocated"):
        ports.choose([request("27000-27001", QUIET)], ADDRESSES)
    ports.give_back(given[:1])
    assert ports.choose([request("27000-27001", QUIET)], ADDRESSES)[0].host_port == 27000


def test_any_port_is_another_one_each_time_though_the_last_was_given_back() -> None:
    ports = HostPorts((27010, 27012))
    numbers = []
    for _ in range(4):
        (port,) = ports.choose([request("", QUIET)], ADDRESSES)
        numbers.append(port.host_port)
        ports.give_back([port])
    assert numbers == [27010, 27011, 27012, 27010]


@pytest.fixture
def foreign() -> Iterator[int]:
    """A port where another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_what_is_chosen_is_no_port_of_another_program(foreign: int) -> None:
    ports = HostPorts((foreign, foreign))
    with pytest.raises(AiodError, match="all ports are allocated"):
        ports.choose([request("", "127.0.0.1")], ADDRESSES)


def test_a_port_that_was_named_is_left_to_whoever_binds_it(foreign: int) -> None:
    (port,) = HostPorts().choose([request(str(foreign), "127.0.0.1")], ADDRESSES)
    assert port.host_port == foreign


def test_inspect_shows_what_is_bound_and_what_is_only_exposed() -> None:
    config = ContainerConfig(ExposedPorts={"80/tcp": {}, "53/udp": {}})
    ports = [Port("tcp", "0.0.0.0", 8080, "172.17.0.2", 80), Port("tcp", "::", 8080, "fd00::2", 80)]
    shown = portviews.inspected(exposed(config, HostConfig()), ports)
    assert shown == {
        "53/udp": None,
        "80/tcp": [PortBinding("0.0.0.0", "8080"), PortBinding("::", "8080")],
    }


def test_a_listing_shows_a_line_for_each_binding_and_each_exposed_port() -> None:
    config = ContainerConfig(ExposedPorts={"80/tcp": {}, "53/udp": {}})
    ports = [Port("tcp", "0.0.0.0", 8080, "172.17.0.2", 80)]
    shown = portviews.listed(exposed(config, HostConfig()), ports)
    assert shown == [
        portviews.PortSummary(53, "udp"),
        portviews.PortSummary(80, "tcp", "0.0.0.0", 8080),
    ]


def network(options: dict[str, str] | None = None, *, internal: bool = False) -> NetworkRecord:
    pools = PoolRecord("172.18.0.0/16", gateway="172.18.0.1"), PoolRecord("fd01::/64")
    return NetworkRecord(
        "1" * 64, "net", 0, pools=pools, link="br-1", internal=internal, options=options or {}
    )


BOTH = ("172.18.0.0/16", "fd01::/64")


@pytest.mark.parametrize(
    ("record", "rules"),
    [
        (network(), NetworkRules("br-1", BOTH)),
        (network(internal=True), NetworkRules("br-1", internal=True)),
        (network({model.ICC: "false"}), NetworkRules("br-1", BOTH, apart=True)),
        (network({model.MASQUERADE: "false"}), NetworkRules("br-1")),
        (
            network({model.GATEWAY_MODES[0]: "nat-unprotected"}),
            NetworkRules("br-1", BOTH, open=True),
        ),
        (msgspec.structs.replace(network(), driver="macvlan"), None),
    ],
)
def test_the_rules_are_told_what_a_network_asks(
    record: NetworkRecord, rules: NetworkRules | None
) -> None:
    assert rules_of(record) == rules


def end(options: dict[str, str] | None = None) -> End:
    record = EndpointRecord("c", "1" * 64, "net")
    return End(network(options), record, Assigned("e1", ipv4="172.18.0.2/16"))


def container(*bindings: PortBinding) -> ContainerRecord:
    return ContainerRecord(
        id="c", name="web", created_ns=0, image_id="", image_name="", path="", args=(),
        config=ContainerConfig(), host=HostConfig(PortBindings={"80/tcp": list(bindings)}),
        networking=NetworkingConfig(), network_mode="net", layers=(), hostname="", log_path="",
    )  # fmt: skip


def test_a_container_publishes_by_the_end_that_has_the_gateway() -> None:
    publisher = Publisher(HostPorts())
    found = publisher.choose(container(PortBinding("", "8080")), end(), None)
    assert [port.address for port in found] == ["172.18.0.2", "172.18.0.2"]
    assert publisher.choose(container(PortBinding("", "8080")), None, None) == []


def test_a_port_is_bound_where_its_network_says() -> None:
    publisher = Publisher(HostPorts())
    anywhere = {model.BINDING: "0.0.0.0"}
    assert len(publisher.choose(container(PortBinding("", "80")), end(anywhere), None)) == 2
    (port,) = publisher.choose(
        container(PortBinding("", "80")), end({model.BINDING: "10.0.0.1"}), None
    )
    assert port.host_address == "10.0.0.1"


def test_a_start_without_its_ports_names_the_endpoint() -> None:
    publisher = Publisher(HostPorts())
    publisher.choose(container(PortBinding("", "8080")), end(), None)
    with pytest.raises(InternalError) as refused:
        publisher.choose(container(PortBinding("", "8080")), end(), None)
    assert str(refused.value) == (
        "driver failed programming external connectivity on endpoint web (e1): "
        "Bind for 0.0.0.0:8080 failed: port is already allocated"
    )
