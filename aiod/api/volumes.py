"""Routes of the tag Volume. Must not know where volumes are kept, but for the path to show."""

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.history import conduct
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import UnavailableError
from aiod.store.records import VolumeRecord
from aiod.volumes.selection import LIST_FILTERS, PRUNE_FILTERS
from aiod.wire.times import rfc3339

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)


class CreateBody(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of a create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeView(msgspec.Struct, frozen=True):
    """A volume in Docker's words."""

    CreatedAt: str
    Driver: str
    Labels: dict[str, str] | None
    Mountpoint: str
    Name: str
    Options: dict[str, str] | None
    Scope: str = "local"


class ListReply(msgspec.Struct, frozen=True):
    """The answer of list."""

    Volumes: list[VolumeView]
    Warnings: None = None


class PruneReply(msgspec.Struct, frozen=True):
    """The answer of prune."""

    VolumesDeleted: list[str]
    SpaceReclaimed: int


def view(record: VolumeRecord, data: Path) -> VolumeView:
    """A record in Docker's words; the time is in whole seconds, as dockerd's."""
    return VolumeView(
        CreatedAt=rfc3339(record.created_ns // 10**9 * 10**9),
        Driver=record.driver,
        Labels=record.labels,
        Mountpoint=str(data),
        Name=record.name,
        Options=record.options,
    )


class VolumeRoutes:
    """Create, list, inspect, remove, prune."""

    def __init__(self, services: Services) -> None:
        self._volumes = services.volumes
        self._paths = services.config.paths

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/volumes", self._list, interruptible=True),
            Route("POST", "/volumes/create", self._create),
            Route("POST", "/volumes/prune", self._prune),
            Route("GET", "/volumes/{name}", self._inspect, interruptible=True),
            Route("PUT", "/volumes/{name}", self._update),
            Route("DELETE", "/volumes/{name}", self._remove),
        ]

    def _view(self, record: VolumeRecord) -> VolumeView:
        return view(record, self._paths.volume(record.name))

    async def _list(self, call: Call) -> web.StreamResponse:
        found = self._volumes.list(params.filters(call.query(), LIST_FILTERS))
        return replies.json(ListReply([self._view(record) for record in found]))

    async def _create(self, call: Call) -> web.StreamResponse:
        asked = params.decode(await params.json_bytes(call.request), CreateBody)
        if asked.cluster_volume_spec is not None:
            raise UnavailableError(_NO_SWARM)
        made = await self._volumes.create(asked.name, asked.driver, asked.driver_opts, asked.labels)
        return replies.json(self._view(made), 201)

    async def _prune(self, call: Call) -> web.StreamResponse:
        filters = params.filters(call.query(), PRUNE_FILTERS)
        named = not conduct.NAMED_KEPT.holds(call.version)
        report = await self._volumes.prune(filters, named=named)
        return replies.json(PruneReply(list(report.deleted), report.reclaimed))

    async def _inspect(self, call: Call) -> web.StreamResponse:
        return replies.json(self._view(self._volumes.get(call.name)))

    async def _update(self, call: Call) -> web.StreamResponse:
        """Of cluster volumes alone."""
        raise UnavailableError(_NO_SWARM)

    async def _remove(self, call: Call) -> web.StreamResponse:
        await self._volumes.remove(call.name, force=params.boolean(call.query(), "force"))
        return replies.empty()
