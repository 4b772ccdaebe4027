"""Routes that speak to registries: push, search, login, and a look at what a registry has.

Must not know how registries are spoken to. Credentials go from the request to the service
and nowhere else.
"""

import msgspec
from aiohttp import web

from aiod.api import params, progress, replies
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.images import searching
from aiod.images.pushing import push_reference
from aiod.images.registry import credentials
from aiod.images.registry.credentials import Credentials


class LoggedIn(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of `POST /auth`."""

    identity_token: str
    status: str = "Login Succeeded"


class RegistryRoutes:
    """Push, search, auth, distribution."""

    def __init__(self, services: Services) -> None:
        self._images = services.images
        self._pushes = services.pushes
        self._lookups = services.lookups

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("POST", "/images/{name}/push", self._push, interruptible=True),
            Route("GET", "/images/search", self._search, interruptible=True),
            Route("POST", "/auth", self._login, interruptible=True),
            Route("GET", "/distribution/{name}/json", self._distribution, interruptible=True),
        ]

    async def _push(self, call: Call) -> web.StreamResponse:
        query = call.query()
        reference = push_reference(call.name, query.get("tag", ""))
        if (wanted := params.platform(query)) is not None:
            await self._images.require_platform(str(reference), wanted)
        return await progress.stream(call, self._pushes.push(reference, _credentials(call)))

    async def _search(self, call: Call) -> web.StreamResponse:
        query = call.query()
        filters = params.filters(query, searching.FILTERS)
        limit = params.integer(query, "limit", searching.DEFAULT_LIMIT)
        return replies.json(await self._lookups.search(query.get("term", ""), limit, filters))

    async def _login(self, call: Call) -> web.StreamResponse:
        given = credentials.from_json(await params.json_bytes(call.request))
        return replies.json(LoggedIn(await self._lookups.login(given)))

    async def _distribution(self, call: Call) -> web.StreamResponse:
        return replies.json(await self._lookups.inspect(call.name, _credentials(call)))


def _credentials(call: Call) -> Credentials:
    return credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
