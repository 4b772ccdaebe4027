"""A connection taken over from HTTP: raw bytes both ways, as attach and exec speak.

Owns the socket's transport from the moment the header is sent: back-pressure in both
directions, the client's half-close (end of its stdin while output goes on) and the
discovery of a client that went away without a word. Must not know what the bytes mean.

The transport's protocol is exchanged rather than the socket duplicated: that works alike
with asyncio, uvloop and TLS, and leaves one owner of the descriptor at every instant.
"""

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_READ_HIGH = 256 * 1024
_READ_LOW = 64 * 1024
CLOSE_TIMEOUT = 10.0  # seconds that closing may take once everything was sent


class HijackedStream(asyncio.Protocol):
    """The two directions of a taken-over connection."""

    def __init__(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._handler = handler
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._read_paused = False
        self._eof = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.gone = asyncio.Event()
        self._hangup: select.epoll | None = None

    # transport callbacks

    def data_received(self, data: bytes) -> None:
        """Queue what the client sent; stop reading when too much waits."""
        self._chunks.append(data)
        self._held += len(data)
        self._arrived.set()
        if self._held >= _READ_HIGH and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client will send no more, but may well go on reading."""
        self._eof = True
        self._arrived.set()
        self._watch_hangup()
        return True

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody up and let the HTTP side forget the connection."""
        self._eof = True
        self.gone.set()
        self._arrived.set()
        self._writable.set()
        self._unwatch_hangup()
        self._handler.connection_lost(exc)

    # A peer that half-closes and one that is gone both look like end of file. Only the
    # second is a hang-up, which epoll reports unasked; the loop offers no way to wait for
    # that alone, so an epoll of one descriptor is nested in it, from end of file on.

    def _watch_hangup(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._transport.is_closing() or self._hangup is not None:
            return
        self._hangup = select.epoll()
        self._hangup.register(sock.fileno(), 0)
        asyncio.get_running_loop().add_reader(self._hangup.fileno(), self._hung_up)

    def _hung_up(self) -> None:
        self._unwatch_hangup()
        self._transport.abort()

    def _unwatch_hangup(self) -> None:
        if self._hangup is not None:
            asyncio.get_running_loop().remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None

    # for the route

    async def read(self) -> bytes:
        """What the client sent next; empty at the end of its input."""
        while not self._chunks:
            if self._eof:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._chunks.popleft()
        self._held -= len(data)
        if self._read_paused and self._held <= _READ_LOW and not self.gone.is_set():
            self._read_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow; ConnectionResetError when it is gone."""
        if self.gone.is_set():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._writable.wait()

    async def close(self) -> None:
        """Let the client read what is left, however slowly, then close."""
        self._transport.set_write_buffer_limits(high=0)
        await self._writable.wait()
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.gone.wait()
        self.abort()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._unwatch_hangup()
        if not self.gone.is_set():
            self._transport.abort()


class Hijacked(web.StreamResponse):
    """Tells the HTTP side that the answer was given by other means."""

    def __init__(self, status: int) -> None:
        super().__init__(status=status)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing: the header is long sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: the stream has ended."""

    @property
    def prepared(self) -> bool:
        """Always: another header must never follow."""
        return True


def _take_tail(handler: RequestHandler) -> bytes:
    # Bytes sent behind an Upgrade request, which the HTTP parser has set aside.
    tail, handler._message_tail = handler._message_tail, b""
    return tail


def _header(status_line: str, headers: dict[str, str]) -> bytes:
    lines = [status_line, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _pieces(content_type: str, upgrade: bool) -> Iterator[tuple[str, str]]:
    yield "Content-Type", content_type
    if upgrade:
        yield "Connection", "Upgrade"
        yield "Upgrade", "tcp"


@contextlib.asynccontextmanager
async def hijack(
    request: web.BaseRequest, content_type: str, headers: dict[str, str]
) -> AsyncIterator[HijackedStream]:
    """Answer 101 (or 200 when no upgrade was asked for) and hand over the raw connection.

    `headers` are the common ones. The request's body must have been read. The connection
    is closed on leaving, whatever the reason.
    """
    transport, handler = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client is gone")
    upgrade = wants_upgrade(request)
    line = "HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK"
    stream = HijackedStream(handler, transport)
    tail = _take_tail(handler)
    transport.set_protocol(stream)
    with contextlib.suppress(RuntimeError):  # uvloop's word for "was not paused"
        transport.resume_reading()
    try:
        transport.write(_header(line, {**dict(_pieces(content_type, upgrade)), **headers}))
        if tail:
            stream.data_received(tail)
        if getattr(handler, "half_closed", False):
            stream.eof_received()
        yield stream
        await stream.close()
    finally:
        stream.abort()


def wants_upgrade(request: web.BaseRequest) -> bool:
    """Whether the client asked for the 101 answer."""
    return "upgrade" in request.headers
