"""The HTTP side of the API: connections, versions, common headers, errors, cancellation.

Owns every connection and the task of every request. A request that changes something is
carried to its end although its client goes away; one that only watches is cancelled.
Must not know any route's meaning.
"""

import asyncio
import functools
import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

import aiod
from aiod.api import replies, versions
from aiod.api.hijack import Hijacked
from aiod.api.history import parameters
from aiod.api.routing import Call, Found, Route, Table
from aiod.errors import AiodError, InternalError, UnavailableError

log = logging.getLogger(__name__)

FINISH_TIMEOUT = 10.0  # seconds that requests under way are given when the daemon stops
IDLE_TIMEOUT = 300.0  # seconds in which a client sends a whole request header, or hears no more
MOST_CONNECTIONS = 4096
_MAX_LINE = 64 * 1024  # bytes of request line or header; filters travel in the query


class _Connection(RequestHandler):
    """Keeps a connection open whose client ended its input behind an Upgrade request."""

    __slots__ = ("half_closed",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > MOST_CONNECTIONS:
            log.warning("more than %d connections: one is refused", MOST_CONNECTIONS)
            self.force_close()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        self.half_closed = self._upgraded
        return self._upgraded


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.half_closed = False
        return connection


@dataclass(slots=True)
class Counters:
    """What `/metrics` tells of requests: how many by route and status, and seconds spent."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    in_flight: int = 0


class ApiServer:
    """Answers requests from a route table; `protocol_factory` makes one connection."""

    def __init__(self, routes: Iterable[Route], counters: Counters) -> None:
        self._table = Table(routes)
        self._counters = counters
        self._watching: set[asyncio.Task[object]] = set()
        self._changing: set[asyncio.Task[web.StreamResponse]] = set()
        self._stopping = False
        self._server: web.Server | None = None
        self._headers = {
            "Api-Version": versions.text(versions.LATEST),
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": f"aiod/{aiod.__version__} (linux)",
        }

    def protocol_factory(self) -> RequestHandler:
        """One new connection; for `loop.create_server`."""
        if self._server is None:
            self._server = _Server(
                self._answer,
                handler_cancellation=True,
                access_log=None,
                keepalive_timeout=IDLE_TIMEOUT,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                auto_decompress=False,
            )
        return self._server()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return 0 if self._server is None else len(self._server.connections)

    async def close(self) -> None:
        """Cancel who only watches, let the others finish in time, cut all connections."""
        self._stopping = True
        for watching in self._watching:
            watching.cancel()
        pending = self._watching | self._changing
        if pending:
            await asyncio.wait(pending, timeout=FINISH_TIMEOUT)
        for task in self._watching | self._changing:
            task.cancel()
        if self._server is not None:
            await self._server.shutdown(1.0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        begun = time.monotonic()
        self._counters.in_flight += 1
        route = "unknown"
        status = 499  # the client went away before an answer
        try:
            _allow_body(request)
            try:
                target = versions.split(request.path)
                found = self._table.find(request.method, target.path)
                route = found.route.pattern
                response = await self._run(request, versions.chosen(target.asked), found)
            except AiodError as error:
                response = replies.failure(error)
            status = response.status
            return self._finished(request, response)
        finally:
            self._counters.in_flight -= 1
            self._counters.requests[request.method, route, status] += 1
            self._counters.seconds[request.method, route] += time.monotonic() - begun

    def _finished(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> web.StreamResponse:
        if not response.prepared:
            response.headers.update(self._headers)
        if request.transport is None and isinstance(response, Hijacked):
            raise ConnectionResetError("the client is gone")
        return response

    async def _run(
        self, request: web.BaseRequest, version: versions.Version, found: Found
    ) -> web.StreamResponse:
        if self._stopping:
            raise UnavailableError("the daemon is shutting down")
        pattern = found.route.pattern
        passed_over = parameters.unknown(f"{found.route.method} {pattern}", version)
        call = Call(request, version, pattern, found.match, self._headers, passed_over)
        answer = _guarded(found.route.handler(call), request)
        if found.route.interruptible:
            return await self._watch(request, answer)
        task = asyncio.ensure_future(answer)
        self._changing.add(task)
        task.add_done_callback(functools.partial(_ended, self._changing))
        return await asyncio.shield(task)

    async def _watch(
        self, request: web.BaseRequest, answer: Awaitable[web.StreamResponse]
    ) -> web.StreamResponse:
        """In the request's own task: one more would cost as much as many an answer."""
        task = asyncio.current_task()
        assert task is not None
        self._watching.add(task)
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._stopping or _is_gone(request):
                raise
            task.uncancel()
            raise _interrupted(request) from None
        finally:
            self._watching.discard(task)


def _ended(
    owned: set[asyncio.Task[web.StreamResponse]], task: asyncio.Task[web.StreamResponse]
) -> None:
    """Let go of a request's task; of one whose client has left, nobody else asks for its end."""
    owned.discard(task)
    if not task.cancelled():
        task.exception()


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _interrupted(request: web.BaseRequest) -> Exception:
    """What ends a watcher because the daemon does. An answer that has begun is cut, so that
    nobody takes it for the whole."""
    if not request.writer.output_size:
        return UnavailableError("the daemon is shutting down")
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the daemon is shutting down")


def _allow_body(request: web.BaseRequest) -> None:
    # RFC 9110, 10.1.1: curl waits a second for this before it sends a large body.
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _guarded(
    answer: Awaitable[web.StreamResponse], request: web.BaseRequest
) -> web.StreamResponse:
    """Turn what a route must not raise into a 500 that names it, and one line in the log."""
    try:
        return await answer
    except (AiodError, ConnectionError):
        raise
    except Exception as error:
        log.exception("%s %s", request.method, _printable(request.path))
        raise InternalError(f"{type(error).__name__}: {error}") from error


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)[:200]
