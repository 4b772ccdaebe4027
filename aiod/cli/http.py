"""The client's half of HTTP/1.1 on one connection: a request, the answer's head, its body.

Small on purpose: it imports in no time, and what attach and exec need (the raw connection
after the head) is simply there. Source: RFC 9112. Must not know the engine's routes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping

from aiod.cli.errors import UnreachableError
from aiod.wire.tls import TlsError

_PIECE = 65536
_BROKEN = "the engine's answer is broken: "


class Connection:
    """One connection, good for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> "Response":
        """Send a request and read the head of its answer; UnreachableError if none comes."""
        with contextlib.suppress(ConnectionError):  # it may have answered before it stopped reading
            await self._send(method, target, headers, body)
        try:
            return await _read_head(self.reader)
        except TlsError as error:
            raise UnreachableError(f"the engine refuses the connection: {error}") from None
        except (ConnectionError, asyncio.IncompleteReadError):
            raise UnreachableError("the engine closed the connection without an answer") from None

    async def _send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> None:
        streamed = body is not None and not isinstance(body, bytes)
        length = {"Transfer-Encoding": "chunked"} if streamed else {"Content-Length": _size(body)}
        lines = [f"{method} {target} HTTP/1.1", "Host: aiod"]
        lines += [f"{name}: {value}" for name, value in {**headers, **length}.items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if isinstance(body, bytes):
            self.writer.write(body)
        elif body is not None:
            async for piece in body:
                self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                await self.writer.drain()
            self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def close(self) -> None:
        """Close at once; what is unsent is lost."""
        self.writer.transport.abort()


def _size(body: object) -> str:
    return str(len(body)) if isinstance(body, bytes) else "0"


class Response:
    """An answer whose head has been read."""

    def __init__(
        self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader
    ) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; UnreachableError when it is cut short."""
        try:
            async for piece in self._body():
                yield piece
        except (ConnectionError, asyncio.IncompleteReadError):
            raise UnreachableError("the connection to the engine was lost") from None

    async def lines(self) -> AsyncIterator[bytes]:
        """The body's lines as they come, without their ends and without empty ones."""
        held = b""
        async for piece in self.pieces():
            *whole, held = (held + piece).split(b"\n")
            for line in whole:
                if line := line.strip():
                    yield line
        if held.strip():
            yield held.strip()

    def _body(self) -> AsyncIterator[bytes]:
        if self.status in (204, 304) or self.status < 200:
            return _exactly(self._reader, 0)
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return _chunked(self._reader)
        length = self.headers.get("content-length")
        return _exactly(self._reader, None if length is None else _number(length, 10))


async def _read_head(reader: asyncio.StreamReader) -> Response:
    while True:
        lines = (await _until_blank(reader)).decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1."):
            raise UnreachableError(_BROKEN + "it is no HTTP")
        status = _number(rest.partition(" ")[0], 10)
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if status not in (100, 102, 103):
            return Response(status, headers, reader)


async def _until_blank(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise UnreachableError(_BROKEN + "its head has no end") from None


def _number(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise UnreachableError(f"{_BROKEN}{text!r} is no number") from None


async def _exactly(reader: asyncio.StreamReader, size: int | None) -> AsyncIterator[bytes]:
    """`size` bytes, or all until the end of the connection."""
    left = size
    while left != 0:
        piece = await reader.read(_PIECE if left is None else min(left, _PIECE))
        if not piece and left is None:
            return
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left = None if left is None else left - len(piece)
        yield piece


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        head = await reader.readuntil(b"\r\n")
        size = _number(head.decode("latin-1").partition(";")[0].strip(), 16)
        if size == 0:
            return
        async for piece in _exactly(reader, size):
            yield piece
        await reader.readexactly(2)
