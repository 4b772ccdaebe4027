"""`GET /events`: the persistent event log, from any time on, as far as wanted.

Must not know who records events or how they are kept.
"""

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.eventfilters import FILTERS, Test, passing
from aiod.api.history import conduct
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import InvalidParameterError
from aiod.store.records import EventRecord


class Actor(msgspec.Struct, frozen=True):
    """Whom it happened to."""

    ID: str
    Attributes: dict[str, str]


class EventMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the answer; lower-case `status`, `id` and `from` are for old clients."""

    Type: str
    Action: str
    Actor: Actor
    scope: str
    time: int
    timeNano: int  # noqa: N815 (Docker's name)
    status: str = ""
    id: str = ""
    from_: str = msgspec.field(name="from", default="")


def message(event: EventRecord) -> EventMessage:
    """An event in Docker's words."""
    old = event.type in ("container", "image")
    return EventMessage(
        Type=event.type,
        Action=event.action,
        Actor=Actor(event.actor_id, dict(event.attributes)),
        scope=event.scope,
        time=event.time_ns // 10**9,
        timeNano=event.time_ns,
        status=event.action if old else "",
        id=event.actor_id if old else "",
        from_=event.attributes.get("image", "") if event.type == "container" else "",
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request wants: times in nanoseconds; `past`: the end has been already."""

    since: int | None
    until: int | None
    past: bool
    tests: list[Test]


def _asked(call: Call) -> _Asked:
    query = call.query()
    since = params.timestamp(query, "since", zero=True)
    until = params.timestamp(query, "until", zero=True)
    if until == 0:  # as dockerd has it: everything up to now
        until = time.time_ns()
    if since and until and since > until:
        raise InvalidParameterError(
            f"`since` time ({query['since']}) cannot be after `until` time ({query['until']})"
        )
    tests = passing(params.filters(query, FILTERS))
    if not conduct.CREATED_TOLD.holds(call.version):
        tests.append(lambda event: (event.type, event.action) != ("image", "create"))
    return _Asked(since, until, until is not None and until <= time.time_ns(), tests)


class EventRoutes:
    """The one route of the event log."""

    def __init__(self, services: Services) -> None:
        self._events = services.events

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/events", self._answer, interruptible=True)]

    async def _answer(self, call: Call) -> web.StreamResponse:
        asked = _asked(call)
        if asked.past:
            return await replies.gathered(call, self._pieces(asked), replies.JSON)
        async with (
            replies.JsonLines(call) as lines,
            contextlib.aclosing(self._pieces(asked)) as pieces,
        ):
            async for piece in pieces:
                await lines.write(piece)
        return lines.response

    async def _pieces(self, asked: _Asked) -> AsyncGenerator[bytes, None]:
        """The answer's lines, as many at once as there are."""
        follow = self._events.pages(since_ns=asked.since, until_ns=asked.until, wait=not asked.past)
        # Closed here and now, or a client that left would be counted on.
        async with contextlib.aclosing(follow) as pages:
            async for page in pages:
                found = [message(one) for one in page if all(test(one) for test in asked.tests)]
                if found:
                    yield replies.encode_lines(found)
