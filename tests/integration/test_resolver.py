"""Names in a container, answered by its shim with no daemon there."""

import asyncio
import os
import random
import signal
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest

from aiod.native.network import namespace, texts
from aiod.native.network.description import Sandbox
from aiod.native.network.texts import Holder, Resolver, Scope, Server
from aiod.shim import protocol
from tests.support import dnspackets as dns
from tests.support.containers import extract
from tests.support.engine import eventually
from tests.support.processes import send
from tests.support.shims import Made, Shims, shims_in
from tests.support.upstream import ADDRESS, BIG, Upstream, upstream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

RESOLVER = ("127.0.0.11", 53)
FOUND = socket.inet_ntoa(ADDRESS)


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
async def shims(scratch: Path, lower: Path) -> AsyncIterator[Shims]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="r") as base:
        async with shims_in(Path(base), lower) as shims:
            yield shims


@pytest.fixture
def servers() -> Iterator[tuple[Upstream, Upstream]]:
    """Two on the host's loopback, where nobody else is."""
    first, second = (f"127.{random.randint(32, 250)}.{os.getpid() % 250}.{n}" for n in (1, 2))
    with upstream(first) as one, upstream(second) as two:
        yield one, two


class Client:
    """A program in a container that asks its resolver."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.namespace = namespace.open_of(made.init.pid)

    def close(self) -> None:
        os.close(self.namespace)

    def open(self, kind: socket.SocketKind) -> socket.socket:
        """A socket of the container's network."""
        made = namespace.inside(self.namespace, lambda: socket.socket(socket.AF_INET, kind))
        made.settimeout(30)
        return made

    def raw(self, packet: bytes) -> bytes:
        """The answer to a datagram."""
        with self.open(socket.SOCK_DGRAM) as own:
            own.connect(RESOLVER)
            own.send(packet)
            return own.recv(65536)

    def ask(self, name: str, kind: int = dns.A, edns: int = 0) -> dns.Answer:
        """The answer to a question in a datagram."""
        packet = dns.question(name, kind, random.randrange(65536), edns)
        got = dns.answer(self.raw(packet))
        assert got.identity == int.from_bytes(packet[:2])
        return got

    def connect(self) -> socket.socket:
        """A connection to the resolver."""
        own = self.open(socket.SOCK_STREAM)
        own.connect(RESOLVER)
        return own

    def ask_by_tcp(self, *names: str) -> list[dns.Answer]:
        """The answers to questions that are all sent at once."""
        with self.connect() as own:
            packets = [dns.question(name) for name in names]
            own.sendall(b"".join(struct.pack(">H", len(one)) + one for one in packets))
            with own.makefile("rb") as stream:
                return [dns.answer(_next(stream)) for _ in names]


def _next(stream: BinaryIO) -> bytes:
    size = int.from_bytes(stream.read(2))
    return bytes(stream.read(size))


def describe(shims: Shims, *asked: Server, resolver: bool = True) -> Path:
    """A container on a network with two others, whose resolver asks some servers."""
    directory = shims.describe("sleep", "100000")
    table = directory / "table"
    table.write_text(
        texts.table_text("net", [Holder(("10.9.0.2",), ("web",)), Holder(("10.9.0.3",), ("db",))])
    )
    (directory / protocol.NETWORK_FILE).write_bytes(msgspec.json.encode(Sandbox()))
    if resolver:
        write(directory, *asked)
    return directory


def write(directory: Path, *asked: Server) -> None:
    """What its names are answered from."""
    scope = Scope(str(directory / "table"), (("store", "db"),))
    text = texts.resolver_text(Resolver((scope,), asked))
    (directory / "new").write_text(text)
    (directory / "new").rename(directory / texts.RESOLVER_FILE)


async def started(shims: Shims, *asked: Server) -> Client:
    return Client(await shims.spawn(describe(shims, *asked)))


@pytest.fixture
async def client(shims: Shims, servers: tuple[Upstream, Upstream]) -> AsyncIterator[Client]:
    """In a container whose resolver asks both servers."""
    made = await started(shims, *(Server(one.address) for one in servers))
    yield made
    made.close()


async def test_names_of_the_network(client: Client) -> None:
    assert client.ask("web").records == ("10.9.0.2",)
    assert client.ask("STORE.net.").records == ("10.9.0.3",)
    assert client.ask("3.0.9.10.in-addr.arpa", dns.PTR).records == ("db.net",)
    assert [one.records for one in client.ask_by_tcp("web", "db")] == [("10.9.0.2",), ("10.9.0.3",)]


async def test_others_are_asked_elsewhere(
    client: Client, servers: tuple[Upstream, Upstream]
) -> None:
    assert client.ask("plain.test").records == (FOUND,)
    assert client.ask("nxdomain.test").code == dns.NXDOMAIN
    assert [one.records for one in client.ask_by_tcp("plain.test", "web", "plain.test")] == [
        (FOUND,), ("10.9.0.2",), (FOUND,),
    ]  # fmt: skip
    assert [tcp for _, tcp in servers[0].asked] == [False, False, True, True]
    assert servers[1].asked == []


async def test_others_answers_are_not_believed(client: Client) -> None:
    assert client.ask("forged.test").records == (FOUND,)


async def test_what_is_too_long_for_a_datagram_comes_by_tcp(client: Client) -> None:
    for name in ("big.test", "long.test"):
        cut = client.ask(name)
        assert cut.truncated
        assert cut.records == ()
        (whole,) = client.ask_by_tcp(name)
        assert len(whole.records) == len(BIG)


async def test_the_next_server_is_asked(client: Client, servers: tuple[Upstream, Upstream]) -> None:
    assert client.ask("servfail.test").code == dns.SERVFAIL
    assert [len(one.asked) for one in servers] == [1, 1]
    assert client.ask("stalls.test").code == dns.SERVFAIL
    assert [len(one.asked) for one in servers] == [2, 2]
    assert client.ask_by_tcp("broken.test")[0].code == dns.SERVFAIL
    assert [len(one.asked) for one in servers] == [3, 3]
    servers[0].close()
    assert client.ask("plain.test").records == (FOUND,)
    assert client.ask_by_tcp("plain.test")[0].records == (FOUND,)
    assert [len(one.asked) for one in servers] == [3, 5]


async def test_nobody_to_ask(shims: Shims) -> None:
    client = await started(shims)
    try:
        assert client.ask("plain.test").code == dns.SERVFAIL
        assert client.ask_by_tcp("plain.test", "web")[0].code == dns.SERVFAIL
    finally:
        client.close()


async def test_a_server_in_the_containers_network(shims: Shims) -> None:
    client = await started(shims, Server("127.0.0.1", inside=True))
    try:
        with client.open(socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 53))
            asking = asyncio.create_task(asyncio.to_thread(client.ask, "plain.test"))
            packet, peer = await asyncio.to_thread(server.recvfrom, 4096)
            server.sendto(dns.reply(packet, ((dns.A, ADDRESS),)), peer)
            assert (await asking).records == (FOUND,)
    finally:
        client.close()


async def test_too_many_questions_at_once(
    client: Client, servers: tuple[Upstream, Upstream]
) -> None:
    """Those that nobody answers take all the room there is; names of the network take none."""
    with client.open(socket.SOCK_DGRAM) as own:
        own.connect(RESOLVER)
        for number in range(200):
            own.send(dns.question("stalls.test", identity=number))
        answers = [dns.answer(own.recv(4096)) for _ in range(200 - 128)]
        assert {one.code for one in answers} == {dns.SERVFAIL}
        assert client.ask("web").records == ("10.9.0.2",)
        answers += [dns.answer(own.recv(4096)) for _ in range(128)]
        assert {one.identity for one in answers} == set(range(200))
    assert client.ask("plain.test").records == (FOUND,)


async def test_connections_that_say_nothing(client: Client) -> None:
    """More than are listened to at once: who comes after them waits until they are given up."""
    idle = [client.connect() for _ in range(40)]
    for one in idle[:10]:
        one.close()
    try:
        assert client.ask_by_tcp("web")[0].records == ("10.9.0.2",)
    finally:
        for one in idle:
            one.close()


async def test_rubbish_is_not_answered_for_long(client: Client) -> None:
    with client.connect() as own:
        own.sendall(b"\0\0")
        assert own.recv(1) == b""
    with client.connect() as own:
        own.sendall(b"\xff\xff" + bytes(100))
        assert own.recv(1) == b""
    with client.open(socket.SOCK_DGRAM) as own:
        own.connect(RESOLVER)
        seed = random.randrange(1 << 32)
        print("seed", seed)
        chance = random.Random(seed)
        for size in range(40):
            own.send(chance.randbytes(size))
    assert client.ask("web").records == ("10.9.0.2",)


async def test_the_container_may_have_port_53_for_itself(client: Client) -> None:
    with client.open(socket.SOCK_DGRAM) as udp, client.open(socket.SOCK_STREAM) as tcp:
        udp.bind(("0.0.0.0", 53))
        tcp.bind(("0.0.0.0", 53))
        tcp.listen()
        assert client.ask("web").records == ("10.9.0.2",)
        assert client.ask_by_tcp("web")[0].records == ("10.9.0.2",)
        with client.open(socket.SOCK_DGRAM) as other:
            other.sendto(b"for the container", ("127.0.0.1", 53))
            assert udp.recv(100) == b"for the container"


async def test_a_resolver_comes_later(shims: Shims, servers: tuple[Upstream, Upstream]) -> None:
    made = await shims.spawn(describe(shims, resolver=False))
    client, outcome = Client(made), made.directory / texts.OUTCOME_FILE
    try:
        assert threads(made) == 1
        write(made.directory)
        send(made.shim, signal.SIGHUP)
        await asyncio.to_thread(eventually, outcome.exists, bool)
        assert texts.outcome(outcome.read_text()) == (0, "")
        assert client.ask("web").records == ("10.9.0.2",)
        assert client.ask("plain.test").code == dns.SERVFAIL
        outcome.unlink()
        write(made.directory, Server(servers[0].address))
        send(made.shim, signal.SIGHUP)
        await asyncio.to_thread(eventually, outcome.exists, bool)
        assert client.ask("plain.test").records == (FOUND,)
    finally:
        client.close()


async def test_what_it_costs(shims: Shims) -> None:
    """An idle shim with a resolver, beside one without."""
    bare = await shims.spawn(describe(shims, resolver=False))
    client = await started(shims)
    try:
        before = private_kib(client.made)
        assert before - private_kib(bare) < 150
        for _ in range(100):
            client.ask("web")
            client.ask("plain.test")
            client.ask_by_tcp("web", "plain.test")
        await asyncio.to_thread(
            eventually, lambda: private_kib(client.made), lambda now: now < before + 100
        )
    finally:
        client.close()


async def test_its_end(client: Client) -> None:
    made = client.made
    assert threads(made) == 2
    send(made.init)
    await made.exit()
    await asyncio.to_thread(eventually, lambda: threads(made), lambda now: now == 1)


def threads(made: Made) -> int:
    return len(os.listdir(f"/proc/{made.shim.pid}/task"))


def private_kib(made: Made) -> int:
    """Memory that the shim shares with nobody."""
    text = Path(f"/proc/{made.shim.pid}/smaps_rollup").read_text()
    lines = (line.split() for line in text.splitlines() if line.startswith("Private_"))
    return sum(int(line[1]) for line in lines)
