"""A registry that only takes uploads, to the letter of the OCI distribution spec v1.1.

For what Debian's docker-registry does not do: it says how far a broken upload has got and
takes it up there, and it can ask for chunks of a certain size at least. Use it in the loop
of the test.
"""

import asyncio
import hashlib

from aiohttp import web


class UploadServer:
    """Runs inside `async with`; `blobs` are those that were put, `chunks` their parts' sizes."""

    def __init__(self, least: int = 0) -> None:
        self._least = least
        self._session = bytearray()
        self._taking = asyncio.Lock()
        self._runner: web.AppRunner
        self.blobs: dict[str, bytes] = {}
        self.chunks: list[int] = []
        self.requests: list[str] = []
        self.port = 0

    @property
    def address(self) -> str:
        """`host:port`, as references begin with."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "UploadServer":
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/v2/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == "/v2/":
            return web.Response()
        self.requests.append(request.method)
        if request.method == "HEAD":
            digest = request.path.rpartition("/")[2]
            return web.Response(status=200 if digest in self.blobs else 404)
        if request.method == "POST":
            self._session.clear()
            return self._place(202)
        async with self._taking:  # what a broken connection still brought is taken first
            if request.method == "GET":
                return self._place(204)
            return await self._taken(request)

    async def _taken(self, request: web.Request) -> web.Response:
        begin = request.headers.get("Content-Range", f"{len(self._session)}-").partition("-")[0]
        if int(begin) != len(self._session):
            return web.Response(status=416)
        size = len(self._session)
        try:
            async for data in request.content.iter_any():
                self._session += data
        finally:
            self.chunks.append(len(self._session) - size)
        if request.method == "PATCH":
            return self._place(202)
        digest = request.query["digest"]
        if "sha256:" + hashlib.sha256(self._session).hexdigest() != digest:
            return web.Response(status=400)
        self.blobs[digest] = bytes(self._session)
        return web.Response(status=201, headers={"Location": f"/v2/up/blobs/{digest}"})

    def _place(self, status: int) -> web.Response:
        headers = {"Location": "/v2/up/blobs/uploads/one?state=a%2Fb=="}
        if self._session:
            headers["Range"] = f"0-{len(self._session) - 1}"
        if self._least:
            headers["OCI-Chunk-Min-Length"] = str(self._least)
        return web.Response(status=status, headers=headers)
