"""The HTTP side alone, over real sockets and both event loops, with routes of the test's own."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from aiod.api import absent, listen, params, replies, server
from aiod.api.hijack import Hijacked, HijackedStream, hijack, wants_upgrade
from aiod.api.routing import Call, Route
from aiod.api.server import ApiServer, Counters
from aiod.config import DaemonConfig, Paths
from tests.support.engine import eventually

Talk = Callable[[HijackedStream], Awaitable[None]]


class Site:
    """A server with one route per thing to be tested."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counters = Counters()
        self.talk: Talk = self._echo
        self.talked = asyncio.Event()
        self.watching = asyncio.Event()
        self.unwatched = asyncio.Event()
        self.changing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.changed = asyncio.Event()
        self.server = ApiServer([*self._routes(), *absent.routes()], self.counters)
        config = DaemonConfig(paths=Paths(path.parent, path.parent), hosts=(f"unix://{path}",))
        self.listener = listen.open_all(config)

    def _routes(self) -> list[Route]:
        return [
            Route("POST", "/containers/{id}/attach", self._attach, interruptible=True),
            Route("POST", "/echo", self._json),
            Route("GET", "/broken", self._broken),
            Route("POST", "/watch", self._watch, interruptible=True),
            Route("POST", "/change", self._change),
        ]

    async def _attach(self, call: Call) -> web.StreamResponse:
        try:
            async with hijack(call.request, "x/raw", call.common_headers) as stream:
                await self.talk(stream)
        finally:
            self.talked.set()
        return Hijacked(101 if wants_upgrade(call.request) else 200)

    @staticmethod
    async def _echo(stream: HijackedStream) -> None:
        while data := await stream.read():
            await stream.write(data)
        await stream.write(b"<end>")

    async def _json(self, call: Call) -> web.StreamResponse:
        data = await params.json_bytes(call.request)
        return replies.json(params.decode(data, dict[str, int]))

    async def _broken(self, call: Call) -> web.StreamResponse:
        raise RuntimeError("broken on purpose")

    async def _watch(self, call: Call) -> web.StreamResponse:
        try:
            async with replies.JsonLines(call) as lines:
                self.watching.set()
                await asyncio.Event().wait()
            return lines.response
        finally:
            self.unwatched.set()

    async def _change(self, call: Call) -> web.StreamResponse:
        self.changing.set()
        await self.go_on.wait()
        self.changed.set()
        return replies.empty()

    async def connect(
        self, head: str, limit: int = 1 << 16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=limit)
        writer.write(head.replace("\n", "\r\n").encode())
        return reader, writer

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        length = f"Content-Length: {len(body)}\n" if body else ""
        reader, writer = await self.connect(f"{head}\nHost: x\n{length}Connection: close\n\n")
        writer.write(body)
        answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers, rest


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "d.sock")
    await made.listener.serve(made.server.protocol_factory)
    yield made
    made.listener.close()
    await made.server.close()
    assert not (tmp_path / "d.sock").exists()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


UPGRADE = "POST /v1.51/containers/x/attach HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: tcp\n"
PLAIN = "POST /containers/x/attach HTTP/1.1\nHost: x\n"


async def head(reader: asyncio.StreamReader) -> list[str]:
    return (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")


async def test_upgrade_and_half_close(site: Site) -> None:
    reader, writer = await site.connect(UPGRADE + "\n")
    lines = await head(reader)
    assert lines[0] == "HTTP/1.1 101 UPGRADED"
    assert {"Content-Type: x/raw", "Connection: Upgrade", "Upgrade: tcp"} <= set(lines)
    assert "Api-Version: 1.51" in lines
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.write_eof()
    assert await reader.read() == b"<end>"
    writer.close()


async def test_plain_hijack(site: Site) -> None:
    reader, writer = await site.connect(PLAIN + "Content-Length: 0\n\n")
    lines = await head(reader)
    assert lines[0] == "HTTP/1.1 200 OK"
    assert not any(line.startswith(("Upgrade", "Content-Length")) for line in lines)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello<end>"
    writer.close()


async def test_output_goes_on_after_half_close(site: Site) -> None:
    closed = asyncio.Event()

    async def talk(stream: HijackedStream) -> None:
        assert await stream.read() == b""
        closed.set()
        for _ in range(64):
            await stream.write(b"o" * 65536)

    site.talk = talk
    reader, writer = await site.connect(UPGRADE + "\n")
    await head(reader)
    writer.write_eof()
    await closed.wait()
    assert len(await reader.read()) == 64 * 65536
    writer.close()


async def test_much_both_ways(site: Site) -> None:
    reader, writer = await site.connect(UPGRADE + "\n")
    await head(reader)
    data = os.urandom(8 << 20)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sender = asyncio.create_task(send())
    assert await reader.read() == data + b"<end>"
    await sender
    writer.close()


async def test_slow_reader_holds_the_writer(site: Site) -> None:
    written = 0

    async def talk(stream: HijackedStream) -> None:
        nonlocal written
        for _ in range(1000):
            await stream.write(b"x" * 65536)
            written += 65536

    site.talk = talk
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, str(site.path))
        await loop.sock_sendall(client, (UPGRADE + "\n").replace("\n", "\r\n").encode())
        seen = -1
        while seen != written or written == 0:
            seen = written
            for _ in range(50):
                await asyncio.sleep(0)
        assert written < 4 << 20
    await site.talked.wait()


async def test_reader_may_be_late_for_what_is_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiod.api.hijack.CLOSE_TIMEOUT", 0.01)
    data = os.urandom(1 << 20)

    async def talk(stream: HijackedStream) -> None:
        stream._transport.write(data)

    site.talk = talk
    reader, writer = await site.connect(UPGRADE + "\n", limit=1024)
    await asyncio.sleep(0.2)
    await head(reader)
    assert await reader.read() == data
    writer.close()


@pytest.mark.parametrize("half_first", [False, True])
async def test_vanished_client_leaks_nothing(site: Site, half_first: bool) -> None:
    before = descriptors()

    async def talk(stream: HijackedStream) -> None:
        await stream.gone.wait()

    site.talk = talk
    for _ in range(5):
        site.talked.clear()
        reader, writer = await site.connect(UPGRADE + "\n")
        await head(reader)
        if half_first:
            writer.write_eof()
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(site.talked.wait(), 10)
    for _ in range(100):
        if descriptors() <= before:
            break
        await asyncio.sleep(0)
    assert descriptors() <= before


async def test_watcher_is_cancelled_when_its_client_goes(site: Site) -> None:
    reader, writer = await site.connect("POST /watch HTTP/1.1\nHost: x\n\n")
    lines = await head(reader)
    assert lines[0] == "HTTP/1.1 200 OK"
    assert not site.unwatched.is_set()
    writer.close()
    await asyncio.wait_for(site.unwatched.wait(), 10)


async def test_change_is_finished_when_its_client_goes(site: Site) -> None:
    _, writer = await site.connect("POST /change HTTP/1.1\nHost: x\n\n")
    await site.changing.wait()
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.01)
    site.go_on.set()
    await asyncio.wait_for(site.changed.wait(), 10)


async def test_close_ends_watchers_and_waits_for_changes(site: Site) -> None:
    _, watcher = await site.connect("POST /watch HTTP/1.1\nHost: x\n\n")
    _, changer = await site.connect("POST /change HTTP/1.1\nHost: x\n\n")
    await site.watching.wait()
    await site.changing.wait()
    closing = asyncio.create_task(site.server.close())
    await site.unwatched.wait()
    assert not closing.done()
    site.go_on.set()
    await closing
    assert site.changed.is_set()
    for writer in (watcher, changer):
        writer.close()


JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("head", "body", "status", "says"),
    [
        ("POST /v1.52/echo HTTP/1.1", b"", 400,
         "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("POST /v1.12/echo HTTP/1.1", b"", 400,
         "client version 1.12 is too old. Minimum supported API version is 1.24, "
         "please upgrade your client to a newer version"),
        ("GET /nope HTTP/1.1", b"", 404, "page not found"),
        ("DELETE /echo HTTP/1.1", b"", 404, "page not found"),
        ("GET /v1.51/swarm HTTP/1.1", b"", 503, "This node is not a swarm manager."),
        ("POST /v1.51/plugins/pull HTTP/1.1", b"", 501, "POST /plugins/pull"),
        ("GET /plugins/a/b/c/json HTTP/1.1", b"", 404, 'plugin "a/b/c" not found'),
        (f"POST /echo HTTP/1.1\n{JSON}", b'{"a": ', 400, "unexpected EOF"),
        (f"POST /echo HTTP/1.1\n{JSON}", b"hello", 400, "invalid character 'h'"),
        (f"POST /echo HTTP/1.1\n{JSON}", b'{"a": "b"}', 400, "Expected `int`"),
        (f"POST /echo HTTP/1.1\n{JSON}", b"[" * 100_000, 400, "invalid JSON"),
        ("POST /echo HTTP/1.1\nContent-Type: text/plain", b"{}", 400, "application/json"),
        ("POST /echo HTTP/1.1", b"", 400, "EOF"),
        ("GET /broken HTTP/1.1", b"", 500, "broken on purpose"),
    ],
)  # fmt: skip
async def test_errors(site: Site, head: str, body: bytes, status: int, says: str) -> None:
    code, headers, answer = await site.ask(head, body)
    assert code == status
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Api-Version"] == "1.51"
    assert headers["Ostype"] == "linux"
    assert says in params.decode(answer, dict[str, str])["message"]


async def test_answer_and_counters(site: Site) -> None:
    status, _, body = await site.ask(f"POST /v1.24/echo HTTP/1.1\n{JSON}", b'{"a": 1}')
    assert (status, body) == (200, b'{"a":1}\n')
    assert site.counters.requests["POST", "/echo", 200] == 1
    assert site.counters.in_flight == 0


async def test_large_body_is_refused_but_answered(site: Site) -> None:
    status, _, body = await site.ask(f"POST /echo HTTP/1.1\n{JSON}", b"x" * (100 << 20))
    assert status == 413
    assert b"exceeds" in body


async def test_large_chunked_body(site: Site) -> None:
    reader, writer = await site.connect(
        f"POST /echo HTTP/1.1\nHost: x\n{JSON}\nTransfer-Encoding: chunked\nConnection: close\n\n"
    )
    for _ in range(32):
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    assert (await head(reader))[0].startswith("HTTP/1.1 413")
    await reader.read()
    writer.close()


async def test_expect_continue(site: Site) -> None:
    reader, writer = await site.connect(
        f"POST /echo HTTP/1.1\nHost: x\n{JSON}\nContent-Length: 2\nExpect: 100-continue\n\n"
    )
    assert (await head(reader))[0] == "HTTP/1.1 100 Continue"
    writer.write(b"{}")
    assert (await head(reader))[0] == "HTTP/1.1 200 OK"
    writer.close()


def test_stale_socket_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    config = DaemonConfig(hosts=(f"unix://{path}",))
    listener = listen.open_all(config)
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(listen.ListenError, match="another process answers"):
        listen.open_all(config)
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("tcp://0.0.0.0:0", "mutual TLS"),
        ("tcp://127.0.0.1:0", "mutual TLS"),
        ("tcp://127.0.0.1:x", "--host"),
        ("http://x", "expected unix://"),
        ("nothing", "expected unix://"),
        ("fd://", "passed no socket"),
    ],
)
def test_refused_hosts(host: str, says: str) -> None:
    with pytest.raises(listen.ListenError, match=says):
        listen.open_all(DaemonConfig(hosts=(host,)))


def test_insecure_loopback_when_allowed() -> None:
    config = DaemonConfig(hosts=("tcp://127.0.0.1:0",), allow_insecure_tcp=True)
    listener = listen.open_all(config)
    address, port = listener.sockets[0][0].getsockname()
    assert address == "127.0.0.1"
    assert listener.names == [f"tcp://127.0.0.1:{port}"]
    listener.close()


def test_no_socket_file_over_another_file(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    with pytest.raises(listen.ListenError, match="no socket"):
        listen.open_all(DaemonConfig(hosts=(f"unix://{path}",)))
    assert path.read_text() == "x"


@pytest.mark.parametrize("sent", ["", "GET /bro", "POST /echo HTTP/1.1\nHost: x\nContent-"])
async def test_a_client_that_sends_no_whole_header_is_cut(
    site: Site, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(server, "IDLE_TIMEOUT", 0.2)
    reader, writer = await site.connect(sent)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


async def test_a_second_header_that_does_not_come_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_TIMEOUT", 1.0)
    reader, writer = await site.connect("GET /broken HTTP/1.1\nHost: x\n\nGET /bro")
    async with asyncio.timeout(30):
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
    writer.close()


async def test_a_body_that_does_not_come_is_waited_for_in_vain(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params, "BODY_SECONDS", 0.1)
    head = f"POST /echo HTTP/1.1\nHost: x\n{JSON}\nContent-Length: 9\n\n{{"
    reader, writer = await site.connect(head)
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_one_connection_too_many_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    _, first = await site.connect("POST /watch HTTP/1.1\nHost: x\nContent-Length: 0\n\n")
    await site.watching.wait()
    others = [await site.connect("GET ") for _ in range(2)]
    await connections(site, 3)
    reader, refused = await asyncio.open_unix_connection(str(site.path))
    assert await reader.read() == b""
    for _, writer in (*others, (reader, refused)):
        writer.close()
    await connections(site, 1)
    code, _, _ = await site.ask("GET /broken HTTP/1.1")
    assert code == 500
    first.close()


async def connections(site: Site, number: int) -> None:
    """Until the server has so many."""
    await asyncio.to_thread(eventually, lambda: site.server.connections, lambda n: n == number)
