"""`GET /events`: the persistent event log, from any time on, as far as wanted.

Must not know who records events or how they are kept.
"""

import asyncio
import contextlib
import time

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.history import conduct
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import InvalidParameterError
from aiod.store.records import EventRecord

_FILTERS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
     "scope", "secret", "service", "type", "volume"}
)  # fmt: skip


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


def matches(event: EventRecord, filters: params.Filters) -> bool:
    """Whether an event passes every filter (values of one filter are alternatives)."""
    return all(_passes(event, name, values) for name, values in filters.items() if values)


def _passes(event: EventRecord, name: str, values: list[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "scope":
        return event.scope in values
    if name == "event":
        # `exec_create: sh` is found by `exec_create` as well as by its full text.
        return event.action in values or event.action.partition(":")[0] in values
    if name == "label":
        return all(_has_label(event.attributes, value) for value in values)
    if name == "image":
        names = (
            event.actor_id,
            event.attributes.get("name", ""),
            event.attributes.get("image", ""),
        )
        return any(_image_matches(value, names) for value in values)
    known = (event.actor_id, event.attributes.get("name", ""))
    return event.type == name and any(_actor_matches(value, known) for value in values)


def _is_made(event: EventRecord) -> bool:
    return event.type == "image" and event.action == "create"


def _has_label(attributes: dict[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in attributes and (not separator or attributes[key] == value)


def _actor_matches(value: str, known: tuple[str, str]) -> bool:
    return value in known or (len(value) >= 4 and known[0].startswith(value))


def _image_matches(value: str, known: tuple[str, ...]) -> bool:
    return any(name == value or name.partition(":")[0] == value for name in known if name)


class EventRoutes:
    """The one route of the event log."""

    def __init__(self, services: Services) -> None:
        self._events = services.events

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/events", self._stream, interruptible=True)]

    async def _stream(self, call: Call) -> web.StreamResponse:
        query = call.query()
        since = params.timestamp(query, "since", zero=True)
        until = params.timestamp(query, "until", zero=True)
        if until == 0:  # as dockerd has it: everything up to now
            until = time.time_ns()
        if since and until and since > until:
            raise InvalidParameterError(
                f"`since` time ({query['since']}) cannot be after `until` time ({query['until']})"
            )
        filters = params.filters(query, _FILTERS)
        created_told = conduct.CREATED_TOLD.holds(call.version)
        left = None if until is None else max(0.0, (until - time.time_ns()) / 1e9)
        async with replies.JsonLines(call, end=b"\n") as lines:
            try:
                async with asyncio.timeout(left or None):
                    # Closed here and now, or a client that left would be counted on.
                    follow = self._events.follow(since_ns=since, until_ns=until, wait=left != 0.0)
                    async with contextlib.aclosing(follow) as events:
                        async for event in events:
                            if matches(event, filters) and (created_told or not _is_made(event)):
                                await lines.send(message(event))
            except TimeoutError:
                pass  # `until` has come: the regular end of the answer
        return lines.response
