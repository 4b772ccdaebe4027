"""`GET /system/df`: what the engine's things hold on disk.

Must not know how sizes are found.
"""

import asyncio
import time

import msgspec
from aiohttp import web

from aiod.api import replies
from aiod.api.history.replies import CONTAINERS, IMAGE_USAGE, USAGE, shown
from aiod.api.render import Renderer, Sizes
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.api.volumes import view
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.threads import run_to_end
from aiod.store.records import ContainerRecord

_TYPES = frozenset({"container", "image", "volume", "build-cache"})


class UsageRoutes:
    """`system/df`."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer
        self._asked: asyncio.Lock = asyncio.Lock()

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/system/df", self._usage)]

    async def _usage(self, call: Call) -> web.StreamResponse:
        chosen = _types(call)
        found: dict[str, object] = {
            "LayersSize": 0, "Images": None, "Containers": None, "Volumes": None,
            "BuildCache": None,
        }  # fmt: skip
        async with self._asked:  # whole trees are walked: once at a time is enough
            if "image" in chosen:
                found["LayersSize"] = await self._services.images.layers_size()
                found["Images"] = await self._images(call)
            if "container" in chosen:
                found["Containers"] = await self._containers(call)
            if "volume" in chosen:
                found["Volumes"] = await self._volumes()
        if "build-cache" in chosen:
            found["BuildCache"] = []  # steps are images here
        return replies.json(shown(USAGE, found, call.version))

    async def _images(self, call: Call) -> list[object]:
        rows = await self._services.images.list({}, shared_size=True, count_containers=True)
        return [shown(IMAGE_USAGE, row, call.version) for row in rows]

    async def _containers(self, call: Call) -> list[object]:
        now = time.time_ns()
        rows = [
            self._renderer.summary(record, now, await self._sizes(record))
            for record in self._services.containers.list()
        ]
        return [CONTAINERS.applied(row, call.version) for row in rows]

    async def _sizes(self, record: ContainerRecord) -> Sizes:
        roots = self._services.containers.roots
        own = (await run_to_end(lambda stop: roots.usage(record))).size
        return Sizes(own, own + await self._services.images.size_of(record.image_id))

    async def _volumes(self) -> list[object]:
        held: dict[str, set[str]] = {}
        for record in self._services.containers.list():
            for point in record.mounts:
                if point.name:
                    held.setdefault(point.name, set()).add(record.id)
        found: list[object] = []
        for volume in self._services.volumes.list({}):
            try:
                size = await self._services.volumes.usage(volume.name)
            except NotFoundError:
                continue  # it has just gone
            shown = view(volume, self._services.config.paths.volume(volume.name))
            usage = {"RefCount": len(held.get(volume.name, ())), "Size": size}
            found.append({**msgspec.structs.asdict(shown), "UsageData": usage})
        return found


def _types(call: Call) -> frozenset[str]:
    asked = call.values("type")
    if not asked:
        return _TYPES
    for word in asked:
        if word not in _TYPES:
            raise InvalidParameterError(f"unknown object type: {word}")
    return frozenset(asked)
