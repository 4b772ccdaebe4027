"""Routes of the tag Image.

Must not know how images are stored or unpacked.
"""

import msgspec
from aiohttp import web

from aiod.api import imagerender, params, progress, replies
from aiod.api.history.replies import IMAGE, IMAGES, shown
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.images import pruning
from aiod.images.platform import wanted_platform
from aiod.images.pulling import pull_reference
from aiod.images.reference import check_tag
from aiod.images.registry import credentials

_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})


class ImageRoutes:
    """List, inspect, history, load, save, import, tag, remove, prune."""

    def __init__(self, services: Services) -> None:
        self._images = services.images

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/images/json", self._list, interruptible=True),
            Route("POST", "/images/load", self._load),
            Route("POST", "/images/create", self._create, interruptible=True),
            Route("GET", "/images/{name}/json", self._inspect, interruptible=True),
            Route("GET", "/images/{name}/history", self._history),
            Route("POST", "/images/{name}/tag", self._tag),
            Route("GET", "/images/get", self._get_many, interruptible=True),
            Route("GET", "/images/{name}/get", self._get, interruptible=True),
            Route("POST", "/images/prune", self._prune),
            Route("DELETE", "/images/{name}", self._delete),
        ]

    async def _list(self, call: Call) -> web.StreamResponse:
        query = call.query()
        rows = await self._images.list(
            _filters(query),
            all_images=params.boolean(query, "all"),
            shared_size=params.boolean(query, "shared-size"),
            count_containers=True,
        )
        documents: list[object] = list(rows)
        if params.boolean(query, "manifests"):
            documents = [
                {**msgspec.to_builtins(row), "Manifests": await self._images.manifests(row.id)}
                for row in rows
            ]
        return replies.json([shown(IMAGES, document, call.version) for document in documents])

    async def _inspect(self, call: Call) -> web.StreamResponse:
        query = call.query()
        manifests = params.boolean(query, "manifests")
        if manifests and query.get("platform"):
            raise InvalidParameterError(
                "conflicting options: manifests and platform options cannot both be set"
            )
        await self._require_platform(call)
        document = imagerender.inspect(await self._images.inspect(call.name))
        if manifests:
            document["Manifests"] = await self._images.manifests(call.name)
        return replies.json(shown(IMAGE, document, call.version))

    async def _require_platform(self, call: Call) -> None:
        if (wanted := params.platform(call.query())) is not None:
            await self._images.require_platform(call.name, wanted)

    async def _history(self, call: Call) -> web.StreamResponse:
        await self._require_platform(call)
        return replies.json(await self._images.history(call.name))

    async def _tag(self, call: Call) -> web.StreamResponse:
        query = call.query()
        await self._images.tag(call.name, query.get("repo", ""), query.get("tag", ""))
        return replies.empty(201)

    async def _get(self, call: Call) -> web.StreamResponse:
        return await self._archive(call, [call.name])

    async def _get_many(self, call: Call) -> web.StreamResponse:
        return await self._archive(call, call.values("names"))

    async def _archive(self, call: Call, names: list[str]) -> web.StreamResponse:
        if (wanted := params.platform(call.query())) is not None:
            for name in names:
                await self._images.require_platform(name, wanted)
        return await replies.streamed(call, self._images.save(names), "application/x-tar")

    async def _prune(self, call: Call) -> web.StreamResponse:
        return replies.json(await self._images.prune(params.filters(call.query(), pruning.FILTERS)))

    async def _delete(self, call: Call) -> web.StreamResponse:
        query = call.query()
        if query.get("platforms"):
            raise UnsupportedError("images/{name}: platforms is not supported by aiod yet")
        return replies.json(
            await self._images.delete(
                call.name,
                force=params.boolean(query, "force"),
                prune=not params.boolean(query, "noprune"),
            )
        )

    async def _load(self, call: Call) -> web.StreamResponse:
        query = call.query()
        if query.get("platform"):
            raise UnsupportedError("images/load: platform is not supported by aiod yet")
        quiet = params.boolean(query, "quiet", default=True)
        return await progress.stream(
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
        changes = tuple(call.values("changes"))
        reference = query.get("repo", "")
        if reference and query.get("tag"):
            reference += f":{check_tag(query['tag'])}"
        return await progress.stream(
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
        if query.get("fromSrc") or query.get("repo"):
            raise InvalidParameterError("fromImage goes with neither fromSrc nor repo")
        reference = pull_reference(query["fromImage"], query.get("tag", ""))
        platform = wanted_platform(query["platform"]) if query.get("platform") else None
        who = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
        return await progress.stream(call, self._images.pull(reference, platform, who))


def _filters(query: dict[str, str]) -> params.Filters:
    found = params.filters(query, _FILTERS)
    if query.get("filter"):
        found.setdefault("reference", []).append(query["filter"])
    return found
