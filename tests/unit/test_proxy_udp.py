"""The proxy of published ports, for datagrams, as clients and a service see it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.native.network.description import Port
from tests.support.proxies import SECONDS, Proxy, port_of, proxy_in, server

MORE_THAN_ARE_KEPT = 1100
KIND = socket.SOCK_DGRAM


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with proxy_in(tmp_path) as made:
        yield made


@contextlib.contextmanager
def echo(address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A service that answers each datagram with itself, until it gets an empty one."""
    with server(address, KIND) as made:
        thread = threading.Thread(target=answer_all, args=(made,))
        thread.start()
        try:
            yield made
        finally:
            with socket.socket(made.family, KIND) as last:
                last.sendto(b"", made.getsockname())
            thread.join()


def answer_all(service: socket.socket) -> None:
    while True:
        data, client = service.recvfrom(1 << 16)
        if not data:
            return
        service.sendto(data, client)


def peer(port: Port, address: str = "") -> socket.socket:
    """A client that hears nobody but whom it asks."""
    made = socket.socket(socket.AF_INET6 if ":" in port.host_address else socket.AF_INET, KIND)
    made.settimeout(SECONDS)
    made.connect((address or port.host_address, port.host_port))
    return made


def ask(client: socket.socket, question: bytes) -> bytes:
    client.send(question)
    return client.recv(1 << 16)


def test_each_client_gets_its_own_answers(proxy: Proxy) -> None:
    with echo() as service:
        port = port_of(service)
        assert proxy.start(port) == (0, "")
        with peer(port) as one, peer(port) as other:
            for number in range(10):
                assert ask(one, b"one %d" % number) == b"one %d" % number
                assert ask(other, b"other %d" % number) == b"other %d" % number


def test_the_largest_datagram_passes(proxy: Proxy) -> None:
    with echo() as service:
        port = port_of(service)
        assert proxy.start(port) == (0, "")
        with peer(port) as one:
            assert ask(one, b"x" * 65507) == b"x" * 65507


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.5"])
def test_an_answer_comes_from_the_address_that_was_asked(proxy: Proxy, address: str) -> None:
    with echo() as service:
        port = port_of(service, "0.0.0.0")
        assert proxy.start(port) == (0, "")
        with peer(port, address) as one:
            assert ask(one, b"x") == b"x"


@pytest.mark.parametrize(("host", "container"), [("::", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_either_address_family_leads_to_the_other(proxy: Proxy, host: str, container: str) -> None:
    with echo(container) as service:
        port = port_of(service, host)
        assert proxy.start(port) == (0, "")
        with peer(port, "::1" if host == "::" else "") as one:
            assert ask(one, b"x") == b"x"


def test_more_clients_than_are_kept_are_all_answered(proxy: Proxy) -> None:
    with echo() as service:
        port = port_of(service)
        assert proxy.start(port) == (0, "")
        for number in range(MORE_THAN_ARE_KEPT):
            with peer(port) as one:
                assert ask(one, b"%d" % number) == b"%d" % number


def test_a_client_is_answered_when_the_service_has_come_back(proxy: Proxy) -> None:
    with echo() as service:
        port = port_of(service)
        where = service.getsockname()
    assert proxy.start(port) == (0, "")
    with peer(port) as one:
        one.send(b"nobody is there")
        with socket.socket(socket.AF_INET, KIND) as service:
            service.settimeout(SECONDS)
            service.bind(where)
            one.send(b"x")
            assert service.recv(100) in (b"x", b"nobody is there")


def test_a_port_leads_elsewhere_after_a_reload(proxy: Proxy) -> None:
    with echo() as first, server("127.0.0.2", KIND) as second:
        port = port_of(first)
        assert proxy.start(port) == (0, "")
        with peer(port) as one:
            assert ask(one, b"x") == b"x"
            address, number = second.getsockname()
            moved = Port("udp", port.host_address, port.host_port, address, number)
            assert proxy.reload(moved) == (0, "")
            one.send(b"y")
            assert second.recv(100) == b"y"


def test_clients_stay_known_while_other_ports_come(proxy: Proxy) -> None:
    with echo() as service:
        port = port_of(service)
        assert proxy.start(port) == (0, "")
        with peer(port) as one:
            assert ask(one, b"x") == b"x"
            assert proxy.reload(port_of(service), port) == (0, "")
            assert ask(one, b"y") == b"y"
