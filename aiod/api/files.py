"""Routes of containers' files: archives of them, what has changed, the whole root.

Must not know how a container's files are reached.
"""

import base64
import stat

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.containers.files.reading import PathStat
from aiod.errors import InvalidParameterError
from aiod.wire.times import ZERO, rfc3339

_TAR = "application/x-tar"
_HEADER = "X-Docker-Container-Path-Stat"
# Go's io/fs.FileMode, which clients decode.
_KINDS = {
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFBLK: 1 << 26, stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24, stat.S_IFCHR: 1 << 26 | 1 << 21, stat.S_IFREG: 0,
}  # fmt: skip
_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


class StatReply(msgspec.Struct, frozen=True, rename="camel"):
    """What the header holds."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


class ChangeReply(msgspec.Struct, frozen=True, rename="pascal"):
    """One path that differs."""

    path: str
    kind: int


class FileRoutes:
    """`archive`, `changes`, `export`."""

    def __init__(self, services: Services) -> None:
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("HEAD", "/containers/{id}/archive", self._head),
            Route("GET", "/containers/{id}/archive", self._get, interruptible=True),
            Route("PUT", "/containers/{id}/archive", self._put, interruptible=True),
            Route("GET", "/containers/{id}/changes", self._changes),
            Route("GET", "/containers/{id}/export", self._export, interruptible=True),
        ]

    async def _head(self, call: Call) -> web.StreamResponse:
        found = await self._containers.files.stat(call.id, _path(call))
        return web.Response(headers={_HEADER: _told(found)})

    async def _get(self, call: Call) -> web.StreamResponse:
        async with self._containers.files.archive(call.id, _path(call)) as (found, pieces):
            return await replies.streamed(call, pieces, _TAR, {_HEADER: _told(found)})

    async def _put(self, call: Call) -> web.StreamResponse:
        query = call.query()
        await self._containers.files.extract(
            call.id,
            _path(call),
            call.request.content.iter_any(),
            keep_kinds=params.boolean(query, "noOverwriteDirNonDir"),
            copy_owner=params.boolean(query, "copyUIDGID"),
        )
        return replies.empty(200)

    async def _changes(self, call: Call) -> web.StreamResponse:
        found = await self._containers.files.changes(call.id)
        return replies.json([ChangeReply(one.path, one.kind) for one in found])

    async def _export(self, call: Call) -> web.StreamResponse:
        return await replies.streamed(
            call, self._containers.files.export(call.id), "application/octet-stream"
        )


def _path(call: Call) -> str:
    path = call.query().get("path", "")
    if not path:
        raise InvalidParameterError("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidParameterError(f"bad parameter: invalid path {path!r}")
    return path


def _told(found: PathStat) -> str:
    try:
        mtime = rfc3339(found.mtime_ns)
    except (ValueError, OverflowError, OSError):  # a file may have any
        mtime = ZERO
    reply = StatReply(found.name, found.size, go_mode(found.mode), mtime, found.link_target)
    return base64.b64encode(replies.encode(reply)).decode()


def go_mode(mode: int) -> int:
    """A status's mode as Go's."""
    found = stat.S_IMODE(mode) & 0o777 | _KINDS[stat.S_IFMT(mode)]
    return found | sum(theirs for ours, theirs in _BITS.items() if mode & ours)
