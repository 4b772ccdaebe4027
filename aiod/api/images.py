"""Routes of the tag Image.

Must not know how images are stored or unpacked.
"""

from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import AiodError, InvalidParameterError, NotFoundError, UnsupportedError
from aiod.images.model import ProgressMessage

_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})


class ErrorDetail(msgspec.Struct, frozen=True):
    """The reason, again."""

    message: str


class ErrorLine(msgspec.Struct, frozen=True, rename="camel"):
    """The line that ends a progress stream which failed after its header was sent."""

    error_detail: ErrorDetail
    error: str


class ImageRoutes:
    """Load, import, list, inspect, remove."""

    def __init__(self, services: Services) -> None:
        self._images = services.images

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/images/json", self._list),
            Route("POST", "/images/load", self._load),
            Route("POST", "/images/create", self._create),
            Route("GET", "/images/{name}/json", self._inspect),
            Route("DELETE", "/images/{name}", self._delete),
        ]

    async def _list(self, call: Call) -> web.StreamResponse:
        query = call.query()
        filters = params.filters(query, _FILTERS)
        return replies.json(
            await self._images.list(
                filters,
                all_images=params.boolean(query, "all"),
                shared_size=params.boolean(query, "shared-size"),
            )
        )

    async def _inspect(self, call: Call) -> web.StreamResponse:
        return replies.json(await self._images.inspect(call.name))

    async def _delete(self, call: Call) -> web.StreamResponse:
        query = call.query()
        return replies.json(
            await self._images.delete(
                call.name,
                force=params.boolean(query, "force"),
                prune=not params.boolean(query, "noprune"),
            )
        )

    async def _load(self, call: Call) -> web.StreamResponse:
        quiet = params.boolean(call.query(), "quiet")
        return await _progress(
            call, self._images.load(call.request.content.iter_any(), quiet=quiet)
        )

    async def _create(self, call: Call) -> web.StreamResponse:
        query = call.query()
        if query.get("fromImage"):
            return await self._pull(call, query)
        source = query.get("fromSrc", "")
        if not source:
            raise InvalidParameterError("either fromImage or fromSrc is needed")
        if source != "-":
            raise UnsupportedError("images/create: fromSrc with a URL is not supported by aiod yet")
        changes = tuple(call.request.query.getall("changes", []))
        reference = query.get("repo", "")
        if reference and query.get("tag"):
            reference += f":{query['tag']}"
        return await _progress(
            call,
            self._images.import_root(
                call.request.content.iter_any(),
                reference,
                message=query.get("message", ""),
                changes=changes,
                platform=query.get("platform", ""),
            ),
        )

    async def _pull(self, call: Call, query: dict[str, str]) -> web.StreamResponse:
        name = query["fromImage"]
        if tag := query.get("tag"):
            name += f"@{tag}" if tag.startswith("sha256:") else f":{tag}"
        try:
            await self._images.inspect(name)
        except NotFoundError:
            raise UnsupportedError(
                f"images/create: pull of {name} from a registry is not supported by aiod yet; "
                "use load or import"
            ) from None
        return await _progress(call, _present(name))


async def _present(name: str) -> AsyncIterator[ProgressMessage]:
    yield ProgressMessage(status=f"Status: Image is up to date for {name}")


async def _progress(call: Call, messages: AsyncIterator[ProgressMessage]) -> web.StreamResponse:
    """Stream progress. A failure before the first message has its own status; a later one
    is the stream's last line, as the header is sent by then."""
    try:
        first = await anext(messages)
    except StopAsyncIteration:
        return replies.empty(200)
    async with replies.JsonLines(call) as lines:
        await lines.send(first)
        try:
            async for message in messages:
                await lines.send(message)
        except AiodError as error:
            await lines.send(ErrorLine(ErrorDetail(error.message), error.message))
    return lines.response
