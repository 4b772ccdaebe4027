"""Routes of what this engine has none of, and which are asked all the same: plugins, build cache.

`docker system prune` and `docker plugin ls` are to do what they do where there is nothing of them.
Must not know how anything else is done.
"""

import time

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.routing import Call, Route
from aiod.images.selection import moment

_PLUGIN_FILTERS = frozenset({"capability", "enabled"})
_CACHE_FILTERS = frozenset(
    {"description", "id", "inuse", "parent", "private", "shared", "type", "unused-for", "until"}
)


class BuildPruneReply(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of `POST /build/prune`."""

    caches_deleted: list[str] | None
    space_reclaimed: int


class NothingRoutes:
    """The list of plugins, and the pruning of builds: their steps are images here."""

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/plugins", self._plugins),
            Route("POST", "/build/prune", self._prune),
        ]

    async def _plugins(self, call: Call) -> web.StreamResponse:
        params.boolean_filter(params.filters(call.query(), _PLUGIN_FILTERS), "enabled")
        return replies.json([])

    async def _prune(self, call: Call) -> web.StreamResponse:
        query = call.query()
        for value in params.filters(query, _CACHE_FILTERS).get("until", []):
            moment(value, time.time_ns())
        for name in ("keep-storage", "reserved-space", "max-used-space", "min-free-space"):
            params.integer(query, name)
        return replies.json(BuildPruneReply(None, 0))
