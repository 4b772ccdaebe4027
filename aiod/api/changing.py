"""Routes that change containers, or make something of them, beyond the verbs of their lives.

`update`, `commit` and `prune`. Must not know how it is done.
"""

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.history.requests import UPDATE, Gone, Update
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.containers import pruning
from aiod.containers.committing import CommitOptions
from aiod.errors import InvalidParameterError
from aiod.store.models import ContainerConfig, HostConfig


class UpdateReply(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of update."""

    warnings: tuple[str, ...] | None


class CommitReply(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of commit."""

    id: str


class PruneReply(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of prune."""

    containers_deleted: tuple[str, ...] | None
    space_reclaimed: int


class ChangingRoutes:
    """`update`, `commit`, `prune`."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("POST", "/containers/{id}/update", self._update),
            Route("POST", "/containers/prune", self._prune),
            Route("POST", "/commit", self._commit),
        ]

    async def _update(self, call: Call) -> web.StreamResponse:
        body = await params.json_bytes(call.request)
        asked = Update(params.decode(body, HostConfig), params.decode(body, Gone))
        asked = UPDATE.applied(asked, call.version)
        warnings = await self._containers.update(call.id, asked.host)
        return replies.json(UpdateReply((*asked.warnings, *warnings) or None))

    async def _prune(self, call: Call) -> web.StreamResponse:
        found = params.filters(call.query(), pruning.FILTERS)
        report = await self._containers.prune(found)
        return replies.json(PruneReply(report.deleted or None, report.reclaimed))

    async def _commit(self, call: Call) -> web.StreamResponse:
        query = call.query()
        body = await params.json_bytes(call.request, required=False)
        config = (
            None if body.strip() in (b"{}", b"null", b"") else params.decode(body, ContainerConfig)
        )
        options = CommitOptions(
            repository=query.get("repo", ""),
            tag=query.get("tag", ""),
            author=query.get("author", ""),
            comment=query.get("comment", ""),
            pause=params.boolean(query, "pause", default=True) or not query.get("pause"),
            changes=tuple(call.values("changes")),
            config=config,
        )
        if not query.get("container"):
            raise InvalidParameterError('invalid name or ID supplied: ""')
        image = await self._containers.commit(query["container"], options)
        return replies.json(CommitReply(image.id), 201)
