"""Answers: JSON bodies, errors and streams of JSON lines.

Must not know any route.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType

import msgspec
from aiohttp import web

from aiod.api.routing import Call
from aiod.errors import AiodError

logger = logging.getLogger(__name__)

JSON = "application/json"
_GATHERED = 1 << 20  # bytes of an answer that are kept until its end is known

_encoder = msgspec.json.Encoder()


class ErrorBody(msgspec.Struct, frozen=True):
    """What every failed request is answered with."""

    message: str


def encode(value: object) -> bytes:
    """JSON of structs, dictionaries and lists."""
    return _encoder.encode(value)


def encode_lines(values: Sequence[object]) -> bytes:
    """Of each its JSON, and a newline."""
    return _encoder.encode_lines(values)


def json(value: object, status: int = 200) -> web.Response:
    """A JSON answer, with the newline dockerd ends it with."""
    return web.Response(status=status, body=encode(value) + b"\n", content_type=JSON)


def empty(status: int = 204) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status)


def failure(error: AiodError) -> web.Response:
    """The answer for an error; 304 has no body."""
    if error.status == 304:
        return web.Response(status=304)
    return json(ErrorBody(error.message), error.status)


async def streamed(
    call: Call,
    pieces: AsyncGenerator[bytes, None],
    content_type: str,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """An answer of bytes as they come. A failure before the first piece has its own status;
    a later one cuts the connection, so that nobody takes the half for the whole.
    """
    async with contextlib.aclosing(pieces):
        first = await anext(pieces, b"")
        response = web.StreamResponse(headers={"Content-Type": content_type, **(headers or {})})
        response.headers.update(call.common_headers)
        await response.prepare(call.request)
        await response.write(first)
        try:
            async for piece in pieces:
                await response.write(piece)
        except AiodError as error:
            logger.error("%s: %s", call.route, error.message)
            if call.request.transport is not None:
                call.request.transport.abort()
            raise ConnectionResetError(error.message) from error
        await response.write_eof()
    return response


async def gathered(
    call: Call, pieces: AsyncGenerator[bytes, None], content_type: str
) -> web.StreamResponse:
    """An answer of bytes whose end is near: in one piece, or, where it is large, `streamed`."""
    found = bytearray()
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            found += piece
            if len(found) > _GATHERED:
                return await streamed(call, _led_by(bytes(found), pieces), content_type)
    return web.Response(body=found, content_type=content_type)


async def _led_by(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in others:
        yield piece


class JsonLines:
    """An answer that goes on: one JSON value per line, each sent at once.

    Use as an async context manager: the header goes out on entering.
    """

    def __init__(self, call: Call, content_type: str = JSON, end: bytes = b"\r\n") -> None:
        self._call = call
        self._end = end
        self._response = web.StreamResponse(headers={"Content-Type": content_type})

    async def __aenter__(self) -> "JsonLines":
        self._response.headers.update(self._call.common_headers)
        await self._response.prepare(self._call.request)
        return self

    async def send(self, value: object) -> None:
        """Send one value; ConnectionResetError when the client is gone."""
        await self.write(encode(value) + self._end)

    async def write(self, lines: bytes) -> None:
        """Send values that are encoded; ConnectionResetError when the client is gone."""
        await self._response.write(lines)

    @property
    def response(self) -> web.StreamResponse:
        """What the route returns at the end."""
        return self._response

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self._response.write_eof()
