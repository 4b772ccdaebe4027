"""Routes of containers whose answer is a stream of output: logs and attach.

Must not know where output is kept or how it reaches us.
"""

import contextlib
import re

from aiohttp import web

from aiod.api import params
from aiod.api.hijack import Hijacked, hijack, wants_upgrade
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.api.streams import content_type, log_line
from aiod.api.terminals import Ending, Joint, join
from aiod.containers.logs import LogEntry
from aiod.containers.options import AttachOptions, LogOptions
from aiod.errors import InvalidParameterError
from aiod.wire.detachkeys import parse


class StreamRoutes:
    """`logs` and `attach`."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/containers/{id}/logs", self._logs, interruptible=True),
            Route("POST", "/containers/{id}/attach", self._attach, interruptible=True),
        ]

    async def _logs(self, call: Call) -> web.StreamResponse:
        query = call.query()
        options = LogOptions(
            stdout=params.boolean(query, "stdout"),
            stderr=params.boolean(query, "stderr"),
            follow=params.boolean(query, "follow"),
            tail=_tail(query.get("tail", "all")),
            since_ns=params.timestamp(query, "since"),
            until_ns=params.timestamp(query, "until"),
        )
        if not (options.stdout or options.stderr):
            raise InvalidParameterError("Bad parameters: you must choose at least one stream")
        detailed = params.boolean(query, "details")
        stamped = params.boolean(query, "timestamps")
        record = self._containers.get(call.id)
        tty = record.config.Tty
        pages = await self._containers.logs(record.id, options)
        response = web.StreamResponse(
            headers={**call.common_headers, "Content-Type": content_type(call.version, tty)}
        )
        await response.prepare(call.request)
        async with contextlib.aclosing(pages):
            async for page in pages:
                lines = (_line(entry, detailed, stamped, tty) for entry in page)
                await response.write(b"".join(lines))
        return response

    async def _attach(self, call: Call) -> web.StreamResponse:
        query = call.query()
        keys = parse(query.get("detachKeys", ""))
        options = AttachOptions(
            stdin=params.boolean(query, "stdin"),
            stdout=params.boolean(query, "stdout"),
            stderr=params.boolean(query, "stderr"),
            logs=params.boolean(query, "logs"),
            stream=params.boolean(query, "stream"),
        )
        record = self._containers.get(call.id)
        tty = record.config.Tty
        kind = content_type(call.version, tty)
        joint = Joint(not tty, options.stdin, keys if tty else None)
        async with (
            await self._containers.attach(record.id, options) as process,
            hijack(call.request, kind, call.common_headers) as client,
        ):
            if await join(client, process, joint) is Ending.DETACHED:
                await self._containers.detached(record.id)
        return Hijacked(101 if wants_upgrade(call.request) else 200)


def _line(entry: LogEntry, detailed: bool, stamped: bool, tty: bool) -> bytes:
    # Before it, the attributes that `labels` and `env` of a log driver would give: none.
    data = b" " + entry.data if detailed else entry.data
    return log_line(entry.stream, data, entry.time_ns if stamped else None, not tty)


def _tail(text: str) -> int | None:
    if text in ("", "all"):
        return None
    found = re.fullmatch("(-?)([0-9]{1,18})", text)
    if found is None:
        # As dockerd does: what is no number asks for all.
        return None
    return None if found[1] else int(found[2])
