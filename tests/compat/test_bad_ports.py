"""Published ports that cannot be: what is answered, word for word, and that nothing stays of it."""

import re
from typing import Any

import pytest

from tests.support.http import ApiError
from tests.support.playground import Playground
from tests.support.traffic import TCP, silent

FAILED = (
    r"driver failed programming external connectivity on endpoint {name} \([0-9a-f]{{64}}\): {why}"
)
Bindings = dict[str, list[dict[str, str]] | None]


def create(ground: Playground, bindings: Bindings, **config: Any) -> str:
    exposed: dict[str, dict[str, str]] = {port: {} for port in bindings}
    return ground.create("bridge", host={"PortBindings": bindings}, ExposedPorts=exposed, **config)


def bound(port: str, address: str = "") -> Bindings:
    return {"80/tcp": [{"HostIp": address, "HostPort": port}]}


@pytest.mark.parametrize(
    ("bindings", "text"),
    [
        ({"80-82/tcp": [{"HostPort": "8100"}]}, "80-82"),
        ({"abc/tcp": [{"HostPort": "8100"}]}, "abc"),
        ({"70000/tcp": [{"HostPort": "8100"}]}, "70000"),
        (bound("abc"), "abc"),
        (bound("70000"), "70000"),
        (bound("-1"), "-1"),
        (bound("8110-8100"), "8110-8100"),
    ],
)
def test_what_is_no_port_is_refused_at_once(
    ground: Playground, bindings: Bindings, text: str
) -> None:
    with pytest.raises(ApiError) as refused:
        create(ground, bindings)
    assert refused.value.status == 400
    assert refused.value.message == f'invalid port specification: "{text}"'


def refused_start(ground: Playground, bindings: Bindings, why: str) -> str:
    """Its name; it is as it was before the start, but says why."""
    name = create(ground, bindings)
    with pytest.raises(ApiError) as refused:
        ground.api.start(name)
    assert refused.value.status == 500
    assert re.fullmatch(FAILED.format(name=name, why=re.escape(why)), refused.value.message)
    state = ground.api.inspect(name)["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 128)
    assert state["Error"] == refused.value.message
    return name


def test_a_port_of_another_container(ground: Playground) -> None:
    ground.published(p8101="80/tcp")
    other: Bindings = {"79/tcp": [{"HostPort": "8102"}], **bound("8101")}
    refused_start(ground, other, "Bind for 0.0.0.0:8101 failed: port is already allocated")
    assert silent(ground.machine, "127.0.0.1", 8102)


def test_a_port_twice_in_one_container(ground: Playground) -> None:
    twice: Bindings = {"79/tcp": [{"HostPort": "8103"}], **bound("8103")}
    refused_start(ground, twice, "Bind for 0.0.0.0:8103 failed: port is already allocated")


@pytest.mark.parametrize(
    ("address", "listener"),
    [("", "tcp4 0.0.0.0:8104"), ("127.0.0.1", "tcp4 127.0.0.1:8104"), ("::1", "tcp6 [::1]:8104")],
)
def test_a_port_of_another_program(ground: Playground, address: str, listener: str) -> None:
    ground.servers.add(ground.machine, "other", 8104, TCP, address or "0.0.0.0")
    why = f"Error starting userland proxy: listen {listener}: bind: address already in use"
    name = refused_start(ground, bound("8104", address), why)
    ground.servers.leave(ground.machine)
    assert ground.start(name).ip4("bridge")


def test_an_address_that_the_machine_has_not(ground: Playground) -> None:
    listener = "listen tcp4 198.51.100.1:8105: bind: cannot assign requested address"
    why = f"Error starting userland proxy: {listener}"
    refused_start(ground, bound("8105", "198.51.100.1"), why)


def test_a_range_of_which_none_is_left(ground: Playground) -> None:
    for _ in range(2):
        ground.start(create(ground, bound("8106-8107")))
    refused_start(ground, bound("8106-8107"), "all ports are allocated")
