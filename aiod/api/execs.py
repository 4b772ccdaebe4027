"""Routes of the tag Exec.

Must not know how a process is put into a container.
"""

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.hijack import Hijacked, HijackedStream, hijack, wants_upgrade
from aiod.api.history.requests import EXEC, EXEC_START, ExecStart
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.api.streams import content_type
from aiod.api.terminals import Ending, Joint, join
from aiod.errors import AiodError
from aiod.store.models import ExecConfig
from aiod.wire import frames
from aiod.wire.detachkeys import parse


class ExecCreated(msgspec.Struct, frozen=True):
    """The answer of `POST /containers/{id}/exec`."""

    Id: str


class ExecRoutes:
    """Create, start, resize, inspect."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("POST", "/containers/{id}/exec", self._create),
            Route("POST", "/exec/{id}/start", self._start, interruptible=True),
            Route("POST", "/exec/{id}/resize", self._resize),
            Route("GET", "/exec/{id}/json", self._inspect, interruptible=True),
        ]

    async def _create(self, call: Call) -> web.StreamResponse:
        config = params.decode(await params.json_bytes(call.request), ExecConfig)
        config = EXEC.applied(config, call.version)
        if config.DetachKeys:
            parse(config.DetachKeys)
        exec_id = await self._containers.execs.create(call.id, config)
        return replies.json(ExecCreated(exec_id), 201)

    async def _start(self, call: Call) -> web.StreamResponse:
        body = await params.json_bytes(call.request, required=False)
        asked = EXEC_START.applied(params.decode(body, ExecStart), call.version)
        if asked.Detach:
            await self._containers.execs.start(call.id, detach=True, console_size=asked.ConsoleSize)
            return replies.empty(200)
        config = self._containers.execs.record(call.id).config
        # As in dockerd: the start says in which form the client reads, the create what there is.
        kind = content_type(call.version, asked.Tty)
        keys = parse(config.DetachKeys) if config.Tty else None
        joint = Joint(not asked.Tty, config.AttachStdin, keys)
        async with hijack(call.request, kind, call.common_headers) as client:
            try:
                await self._run(call.id, asked, config, client, joint)
            except AiodError as error:
                # The header is sent: dockerd, too, says it in the stream.
                await client.write(_told(error, joint.framed))
        return Hijacked(101 if wants_upgrade(call.request) else 200)

    async def _run(
        self,
        exec_id: str,
        asked: ExecStart,
        config: ExecConfig,
        client: HijackedStream,
        joint: Joint,
    ) -> None:
        # Who is attached to nothing waits for nothing, as with dockerd.
        attached = config.AttachStdin or config.AttachStdout or config.AttachStderr
        started = await self._containers.execs.start(
            exec_id, detach=not attached, console_size=asked.ConsoleSize
        )
        if started is None:
            return
        async with started as process:
            if await join(client, process, joint) is Ending.DETACHED:
                await self._containers.execs.detached(exec_id)

    async def _resize(self, call: Call) -> web.StreamResponse:
        query = call.query()
        height, width = params.size(query, "h"), params.size(query, "w")
        await self._containers.execs.resize(call.id, width, height)
        return replies.empty(200)

    async def _inspect(self, call: Call) -> web.StreamResponse:
        return replies.json(await self._containers.execs.inspect(call.id))


def _told(error: AiodError, framed: bool) -> bytes:
    data = f"{error.message}\r\n".encode()
    return frames.encode(frames.STDOUT, data) if framed else data
