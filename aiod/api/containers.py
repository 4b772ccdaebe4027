"""Routes of the tag Container, but for streams (see `attaching`).

Must not know how a container is run.
"""

import asyncio
import functools
import time

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.endpointviews import EndpointViews
from aiod.api.history import conduct
from aiod.api.history.replies import CONTAINER, CONTAINERS, shown
from aiod.api.history.requests import CREATE, Create, Gone, GoneRest
from aiod.api.inspecting import Inspections
from aiod.api.listing import FILTERS, Test, ports_of, select
from aiod.api.render import Renderer, Sizes
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.containers.entries import WaitResult
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig
from aiod.store.records import ContainerRecord

_CONDITIONS = ("not-running", "next-exit", "removed")


class CreateRest(msgspec.Struct, frozen=True, rename="pascal"):
    """The two members of a create body that are no part of `Config`."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class CreateReply(msgspec.Struct, frozen=True):
    """The answer of create."""

    Id: str
    Warnings: list[str]


class WaitError(msgspec.Struct, frozen=True):
    """Why a wait has no exit code."""

    Message: str


class WaitReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of wait."""

    StatusCode: int = msgspec.field()
    Error: WaitError | None = None


class TopReply(msgspec.Struct, frozen=True):
    """The answer of top."""

    Titles: list[str]
    Processes: list[list[str]]


class ContainerRoutes:
    """Everything about containers that is a question and an answer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._containers = services.containers
        self._ends = EndpointViews(services.networks)
        self.renderer = Renderer(services.config.paths, self._ends)
        self._inspections = Inspections(self.renderer, self._ends)

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("POST", "/containers/create", self._create),
            Route("GET", "/containers/json", self._list, interruptible=True),
            Route("GET", "/containers/{id}/json", self._inspect, interruptible=True),
            Route("POST", "/containers/{id}/start", self._start),
            Route("POST", "/containers/{id}/stop", self._stop),
            Route("POST", "/containers/{id}/restart", self._restart),
            Route("POST", "/containers/{id}/kill", self._kill),
            Route("POST", "/containers/{id}/rename", self._rename),
            Route("POST", "/containers/{id}/pause", self._pause),
            Route("POST", "/containers/{id}/unpause", self._unpause),
            Route("POST", "/containers/{id}/resize", self._resize),
            Route("POST", "/containers/{id}/wait", self._wait, interruptible=True),
            Route("GET", "/containers/{id}/top", self._top),
            Route("DELETE", "/containers/{id}", self._remove),
        ]

    async def _create(self, call: Call) -> web.StreamResponse:
        query = call.query()
        asked = CREATE.applied(_asked(await params.json_bytes(call.request)), call.version)
        created = await self._containers.create(
            query.get("name") or None,
            asked.config,
            asked.host,
            asked.networking,
            platform=query.get("platform", ""),
            read_only_below=asked.read_only_below,
        )
        return replies.json(CreateReply(created.id, [*created.warnings, *asked.warnings]), 201)

    def _descent(self) -> Test:
        """Whether a container's image is one, or built on it; each is looked up once."""
        line_of = functools.cache(self._services.images.line_of)
        return lambda record, ancestor: record.image_id in line_of(ancestor)

    async def _list(self, call: Call) -> web.StreamResponse:
        query = call.query()
        chosen = select(
            self._containers.list(),
            params.filters(query, FILTERS),
            params.boolean(query, "all"),
            params.integer(query, "limit"),
            {
                "ancestor": self._descent(),
                "network": self._ends.is_on,
                "expose": self._exposes,
                "publish": self._publishes,
            },
        )
        sizes: dict[str, Sizes] = {}
        if params.boolean(query, "size"):
            for record in chosen:
                sizes[record.id] = await self._sizes(record)
        now = time.time_ns()
        rows = (self.renderer.summary(r, now, sizes.get(r.id)) for r in chosen)
        return replies.json([CONTAINERS.applied(row, call.version) for row in rows])

    def _exposes(self, record: ContainerRecord, value: str) -> bool:
        """Whether a port of a running container, of its image's or its own, is among these."""
        first, last, protocol = ports_of("expose", value)
        return any(
            port.Type == protocol and first <= port.PrivatePort <= last
            for port in self._ends.ports(record)
        )

    def _publishes(self, record: ContainerRecord, value: str) -> bool:
        first, last, protocol = ports_of("publish", value)
        return any(
            port.Type == protocol and first <= port.PublicPort <= last
            for port in self._ends.ports(record)
            if port.PublicPort
        )

    async def _inspect(self, call: Call) -> web.StreamResponse:
        record = self._containers.get(call.id)
        sizes = await self._sizes(record) if params.boolean(call.query(), "size") else None
        exec_ids = self._containers.execs.ids(record.id)
        if sizes is None:
            return replies.json(self._inspections.answer(record, exec_ids, call.version))
        document = self.renderer.inspect(record, exec_ids, sizes)
        return replies.json(shown(CONTAINER, document, call.version))

    async def _sizes(self, record: ContainerRecord) -> Sizes:
        own = (await asyncio.to_thread(self._containers.roots.usage, record)).size
        image = await self._services.images.size_of(record.image_id)
        return Sizes(own, own + image)

    async def _start(self, call: Call) -> web.StreamResponse:
        query = call.query()
        if keys := query.get("detachKeys"):
            from aiod.wire.detachkeys import parse

            parse(keys)
        if query.get("checkpoint"):
            raise UnsupportedError("start: checkpoint is not supported by aiod")
        await self._containers.start(call.id)
        return replies.empty()

    async def _stop(self, call: Call) -> web.StreamResponse:
        query = call.query()
        timeout = params.optional_integer(query, "t")
        await self._containers.stop(call.id, timeout, query.get("signal") or None)
        return replies.empty()

    async def _restart(self, call: Call) -> web.StreamResponse:
        query = call.query()
        timeout = params.optional_integer(query, "t")
        await self._containers.restart(call.id, timeout, query.get("signal") or None)
        return replies.empty()

    async def _kill(self, call: Call) -> web.StreamResponse:
        await self._containers.kill(call.id, call.query().get("signal") or "SIGKILL")
        return replies.empty()

    async def _rename(self, call: Call) -> web.StreamResponse:
        await self._containers.rename(call.id, call.query().get("name", ""))
        return replies.empty()

    async def _pause(self, call: Call) -> web.StreamResponse:
        await self._containers.pause(call.id)
        return replies.empty()

    async def _unpause(self, call: Call) -> web.StreamResponse:
        await self._containers.unpause(call.id)
        return replies.empty()

    async def _resize(self, call: Call) -> web.StreamResponse:
        query = call.query()
        height, width = params.size(query, "h"), params.size(query, "w")
        await self._containers.resize(call.id, width, height)
        return replies.empty(200)

    async def _wait(self, call: Call) -> web.StreamResponse:
        condition = call.query().get("condition") or "not-running"
        if condition not in _CONDITIONS:
            raise InvalidParameterError(f'invalid condition: "{condition}"')
        waiter = self._containers.open_wait(call.id, condition)
        if not conduct.TOLD_AT_ONCE.holds(call.version):
            return replies.json(_over(await waiter.result()))
        # The header tells the client that the wait is registered: `docker run` starts the
        # container only then.
        async with replies.JsonLines(call, end=b"\n") as lines:
            result = await waiter.result()
            if not result.error or conduct.FAILURE_TOLD.holds(call.version):
                await lines.send(_over(result))
        return lines.response

    async def _top(self, call: Call) -> web.StreamResponse:
        found = await self._containers.top(call.id, call.query().get("ps_args") or "-ef")
        return replies.json(TopReply(list(found.titles), [list(row) for row in found.processes]))

    async def _remove(self, call: Call) -> web.StreamResponse:
        query = call.query()
        await self._containers.remove(
            call.id,
            force=params.boolean(query, "force"),
            volumes=params.boolean(query, "v"),
            link=params.boolean(query, "link"),
        )
        return replies.empty()


def _asked(body: bytes) -> Create:
    config = params.decode(body, ContainerConfig)
    rest = params.decode(body, CreateRest)
    return Create(
        config,
        rest.host_config or HostConfig(),
        rest.networking_config or NetworkingConfig(),
        _gone(body) if b"kernelmemory" in body.lower() else Gone(),
    )


def _gone(body: bytes) -> Gone:
    return params.decode(body, GoneRest).HostConfig or Gone()


def _over(result: WaitResult) -> WaitReply:
    return WaitReply(result.exit_code, WaitError(result.error) if result.error else None)
