"""`GET /containers/{id}/attach/ws`: attach by WebSocket (RFC 6455).

Owns the frames; how the two sides are joined is `terminals`'. Output is not told apart by
stream, as in dockerd.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from aiod.api import params
from aiod.api.history import conduct
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.api.terminals import Ending, Joint, join
from aiod.containers.options import AttachOptions
from aiod.errors import InvalidParameterError
from aiod.wire.detachkeys import parse

_AHEAD = 8  # messages
_LARGEST = 1 << 20  # bytes of one


class WebSocketStream:
    """The two directions, as bytes."""

    def __init__(self, socket: web.WebSocketResponse, *, binary: bool) -> None:
        self._socket = socket
        self._binary = binary
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._ended = False
        self.gone = asyncio.Event()

    async def pump(self, *, wanted: bool) -> None:
        """Take what the client sends until it leaves; kept only if `wanted`."""
        try:
            async for message in self._socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                data = message.data
                if wanted and data:
                    await self._arrived.put(data.encode() if isinstance(data, str) else data)
        finally:
            self.gone.set()

    async def read(self) -> bytes:
        """What the client sent next; empty when it has left."""
        if not self._arrived.empty():
            return self._arrived.get_nowait()
        taking = asyncio.ensure_future(self._arrived.get())
        leaving = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait((taking, leaving), return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else b""
        finally:
            taking.cancel()
            leaving.cancel()

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow; ConnectionResetError when it is gone."""
        if self._binary:
            await self._socket.send_bytes(data)
        else:
            await self._socket.send_str(data.decode(errors="replace"))


class WebSocketRoutes:
    """`attach/ws`."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/containers/{id}/attach/ws", self._attach, interruptible=True)]

    async def _attach(self, call: Call) -> web.StreamResponse:
        query = call.query()
        keys = parse(query.get("detachKeys", ""))
        every = not conduct.STREAMS_CHOSEN.holds(call.version)
        options = AttachOptions(
            stdin=every or params.boolean(query, "stdin"),
            stdout=every or params.boolean(query, "stdout"),
            stderr=every or params.boolean(query, "stderr"),
            logs=params.boolean(query, "logs"),
            stream=params.boolean(query, "stream"),
        )
        record = self._containers.get(call.id)
        socket = web.WebSocketResponse(max_msg_size=_LARGEST, compress=False)
        if not socket.can_prepare(call.request):
            raise InvalidParameterError("attach/ws: the request is no WebSocket handshake")
        socket.headers.update(call.common_headers)
        async with await self._containers.attach(record.id, options) as process:
            await socket.prepare(call.request)
            client = WebSocketStream(socket, binary=conduct.BINARY.holds(call.version))
            joint = Joint(False, options.stdin, keys if record.config.Tty else None)
            async with _pumped(client, wanted=options.stdin):
                if await join(client, process, joint) is Ending.DETACHED:
                    await self._containers.detached(record.id)
                await socket.close()
        return socket


@contextlib.asynccontextmanager
async def _pumped(client: WebSocketStream, *, wanted: bool) -> AsyncIterator[None]:
    task = asyncio.create_task(client.pump(wanted=wanted))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
