"""Routes below `/aiod`: what is this engine's own and no part of the Engine API.

Must not know how anything is checked.
"""

from aiohttp import web

from aiod.api import params, progress
from aiod.api.routing import Call, Route
from aiod.api.services import Services


class UpkeepRoutes:
    """Verify."""

    def __init__(self, services: Services) -> None:
        self._images = services.images

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("POST", "/aiod/images/verify", self._verify, interruptible=True)]

    async def _verify(self, call: Call) -> web.StreamResponse:
        repair = params.boolean(call.query(), "repair")
        return await progress.stream(call, self._images.verify(repair=repair))
