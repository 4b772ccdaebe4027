"""The proxy of published ports, for connections, as clients and a service see it."""

import contextlib
import errno
import os
import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.native.network.description import Port
from tests.support.proxies import Proxy, client, everything, free_port, port_of, proxy_in, server

RESET = struct.pack("ii", 1, 0)
MANY = 1500
FEW = 30


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with proxy_in(tmp_path) as made:
        yield made


@pytest.fixture
def service() -> Iterator[socket.socket]:
    with server() as made:
        yield made


@contextlib.contextmanager
def pair(proxy: Proxy, service: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and the service's end of the connection."""
    port = port_of(service)
    assert proxy.start(port) == (0, "")
    with client(port) as near, service.accept()[0] as far:
        yield near, far


def test_bytes_go_both_ways_and_each_way_ends_for_itself(
    proxy: Proxy, service: socket.socket
) -> None:
    with pair(proxy, service) as (near, far):
        near.sendall(b"question")
        near.shutdown(socket.SHUT_WR)
        assert everything(far) == b"question"
        far.sendall(b"answer")
        far.close()
        assert everything(near) == b"answer"


def test_much_arrives_whole_both_ways_at_once(proxy: Proxy, service: socket.socket) -> None:
    up, down = os.urandom(1 << 20) * 24, os.urandom(1 << 20) * 24
    with pair(proxy, service) as (near, far):
        received: list[bytes] = []

        def serve() -> None:
            sender = threading.Thread(target=send_all, args=(far, down))
            sender.start()
            received.append(everything(far))
            sender.join()

        serving = threading.Thread(target=serve)
        sending = threading.Thread(target=send_all, args=(near, up))
        serving.start()
        sending.start()
        assert everything(near) == down
        serving.join()
        sending.join()
        assert received == [up]


def send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def test_a_reader_that_does_not_read_stops_the_writer(proxy: Proxy, service: socket.socket) -> None:
    with pair(proxy, service) as (near, far):
        near.setblocking(False)
        sent = fill(near)
        assert sent < 64 << 20
        near.setblocking(True)
        near.shutdown(socket.SHUT_WR)
        assert len(everything(far)) == sent


def fill(connection: socket.socket) -> int:
    """Write until nothing more is taken."""
    sent = 0
    while select.select([], [connection], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(bytes(1 << 18))
    return sent


def test_a_service_that_is_not_there_resets_its_clients(
    proxy: Proxy, service: socket.socket
) -> None:
    port = port_of(service)
    service.close()
    assert proxy.start(port) == (0, "")
    with pytest.raises(ConnectionResetError), client(port) as near:
        near.recv(1)


def test_a_reset_of_the_service_is_one_for_the_client(proxy: Proxy, service: socket.socket) -> None:
    with pair(proxy, service) as (near, far):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
        with pytest.raises(ConnectionResetError):
            near.recv(1)


def test_a_reset_of_the_client_is_one_for_the_service(proxy: Proxy, service: socket.socket) -> None:
    with pair(proxy, service) as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        near.close()
        with pytest.raises(ConnectionResetError):
            far.recv(1)


@pytest.mark.parametrize(("host", "container"), [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_either_address_family_leads_to_the_other(proxy: Proxy, host: str, container: str) -> None:
    with server(container) as service:
        port = port_of(service, host)
        assert proxy.start(port) == (0, "")
        with client(port) as near, service.accept()[0] as far:
            near.sendall(b"x")
            assert far.recv(1) == b"x"


def test_a_port_of_all_addresses_is_of_its_family_alone(
    proxy: Proxy, service: socket.socket
) -> None:
    four, six = port_of(service, "0.0.0.0"), port_of(service, "::")
    both = Port(six.protocol, "::", four.host_port, six.address, six.port)
    assert proxy.start(four, both) == (0, "")
    for address in ("127.0.0.1", "::1"):
        with client(four, address), service.accept()[0]:
            pass


@contextlib.contextmanager
def descriptors(most: int) -> Iterator[None]:
    """This process may have so many, if its hard limit allows that."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_and_more_connections_at_once(proxy: Proxy, service: socket.socket) -> None:
    port = port_of(service)
    assert proxy.start(port) == (0, "")
    with contextlib.ExitStack() as held:
        held.enter_context(descriptors(8 * MANY))
        pairs = []
        for _ in range(MANY):
            near = held.enter_context(client(port))
            pairs.append((near, held.enter_context(service.accept()[0])))
        for number, (near, _) in enumerate(pairs):
            near.sendall(b"%d" % number)
            near.shutdown(socket.SHUT_WR)
        answers = set()
        for near, far in pairs:
            said = everything(far)
            far.sendall(said)
            far.close()
            answers.add(everything(near))
        assert len(answers) == MANY


def test_where_descriptors_are_short_connections_wait_their_turn(
    proxy: Proxy, service: socket.socket
) -> None:
    port = port_of(service)
    assert proxy.start(port) == (0, "")
    with contextlib.ExitStack() as held:
        held.enter_context(descriptors(128 + 3 * FEW))
        clients = [held.enter_context(client(port)) for _ in range(FEW + 10)]
        serving = threading.Thread(target=echo_each, args=(service, len(clients)))
        serving.start()
        for number, near in enumerate(clients):
            near.sendall(b"%d" % number)
            near.shutdown(socket.SHUT_WR)
        assert [int(everything(near)) for near in clients] == list(range(len(clients)))
        serving.join()


def echo_each(service: socket.socket, times: int) -> None:
    for _ in range(times):
        with service.accept()[0] as far:
            far.sendall(everything(far))


def test_a_port_of_another_program_is_refused_and_none_is_open(
    proxy: Proxy, service: socket.socket
) -> None:
    with server() as foreign:
        taken = foreign.getsockname()[1]
        free = port_of(service)
        ports = (free, Port("tcp", "127.0.0.1", taken, free.address, free.port))
        assert proxy.start(*ports) == (
            errno.EADDRINUSE, f"listen tcp4 127.0.0.1:{taken}: bind"
        )  # fmt: skip
    with pytest.raises(ConnectionRefusedError):
        client(free)


@pytest.mark.parametrize(
    ("protocol", "host", "step"),
    [
        ("tcp", "192.0.2.1", "listen tcp4 192.0.2.1:{}: bind"),
        ("udp", "192.0.2.1", "listen udp4 192.0.2.1:{}: bind"),
        ("tcp", "2001:db8::1", "listen tcp6 [2001:db8::1]:{}: bind"),
    ],
)
def test_an_address_that_the_host_has_not_is_refused(
    proxy: Proxy, protocol: str, host: str, step: str
) -> None:
    number = free_port()
    port = Port(protocol, host, number, "127.0.0.1", 80)
    assert proxy.start(port) == (errno.EADDRNOTAVAIL, step.format(number))


def test_ports_come_and_go_while_connections_stay(proxy: Proxy, service: socket.socket) -> None:
    first, second = port_of(service), port_of(service)
    assert proxy.start(first) == (0, "")
    with client(first) as near, service.accept()[0] as far:
        assert proxy.reload(first, second) == (0, "")
        with client(second), service.accept()[0]:
            pass
        assert proxy.reload(second) == (0, "")
        with pytest.raises(ConnectionRefusedError):
            client(first)
        near.sendall(b"x")
        assert far.recv(1) == b"x"


def test_a_port_leads_elsewhere_after_a_reload(proxy: Proxy, service: socket.socket) -> None:
    port = port_of(service)
    assert proxy.start(port) == (0, "")
    with server("127.0.0.2") as other:
        address, number = other.getsockname()
        moved = Port("tcp", port.host_address, port.host_port, address, number)
        assert proxy.reload(moved) == (0, "")
        with client(port), other.accept()[0]:
            pass


def test_a_reload_that_fails_changes_nothing(proxy: Proxy, service: socket.socket) -> None:
    first = port_of(service)
    assert proxy.start(first) == (0, "")
    with server() as foreign:
        taken = Port("tcp", "127.0.0.1", foreign.getsockname()[1], "127.0.0.1", 80)
        assert proxy.reload(port_of(service), taken)[0] == errno.EADDRINUSE
    with client(first), service.accept()[0]:
        pass


def test_what_the_service_said_at_last_arrives_though_all_ends(
    proxy: Proxy, service: socket.socket
) -> None:
    with pair(proxy, service) as (near, far):
        far.sendall(b"the last words")
        far.close()
        proxy.end()
        assert everything(near) == b"the last words"
