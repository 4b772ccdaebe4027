"""Putting blobs and manifests into a repository (OCI distribution spec v1.1, "Push").

Owns the dance of upload sessions: mounted from elsewhere, in one piece or in chunks, and
taken up where a broken connection left off. Must not know what the blobs are.
"""

import asyncio
import contextlib
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from aiod.images.registry import errors
from aiod.images.registry.client import Repository
from aiod.images.registry.errors import BrokenError, RegistryError, UnreachableError, UntrustedError

logger = logging.getLogger(__name__)

_IN_ONE_PIECE = 4 << 20  # bytes up to which a blob is sent with the request that ends it
_CHUNK = 64 << 20
_LARGEST_CHUNK = 1 << 30
_MOST_MOUNTS = 3
_BINARY = {"Content-Type": "application/octet-stream"}
_PASSING = frozenset((404, 408, 416, 429, 500, 502, 503, 504))

Sent = Callable[[int], None]
Open = Callable[[int, int], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True)
class Source:
    """A blob to put: `open(offset, count)` gives that part of its `size` bytes, each time anew."""

    digest: str
    size: int
    open: Open


@dataclass(frozen=True, slots=True)
class Put:
    """How a blob came to be there: it was, or `mounted` names a repository, or it was sent."""

    existed: bool = False
    mounted: str = ""


@dataclass(frozen=True, slots=True)
class _Session:
    """Where the next part goes, and how large the registry wants it at least."""

    place: URL
    offset: int = 0
    chunk: int = _CHUNK


class Uploads:
    """Uploads into one repository, which was opened for pushing."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._settings = repository.transport.settings

    async def blob(self, source: Source, mounts: Sequence[str], sent: Sent) -> Put:
        """Have a blob in the repository.

        `mounts` are paths of the registry's repositories that may have it; `sent` is told
        how many bytes are under way. Raises RegistryError and UnreachableError.
        """
        if await self._repository.blob_size(source.digest) is not None:
            return Put(existed=True)
        mounted, place = await self._mounted(source.digest, mounts[:_MOST_MOUNTS])
        if mounted:
            return Put(mounted=mounted)
        for attempt in range(1, self._settings.attempts + 1):
            try:
                await self._sent(source, place, sent)
                return Put()
            except (RegistryError, UnreachableError) as error:
                if not _passes(error) or attempt == self._settings.attempts:
                    raise
                logger.info("%s; attempt %d of %d", error.message, attempt, self._settings.attempts)
            await asyncio.sleep(self._repository.transport.delay(attempt))
            place = None
            # An answer may have been lost, not the blob.
            if await self._repository.blob_size(source.digest) is not None:
                break
        return Put()

    async def _mounted(self, digest: str, mounts: Sequence[str]) -> tuple[str, URL | None]:
        """The repository that the blob was mounted from; else a session, if one was begun."""
        place: URL | None = None
        for path in mounts:
            self._repository.authorizer.widen([f"repository:{path}:pull"])
            query = f"?mount={digest}&from={quote(path, safe='/')}"
            try:
                async with await self._begun(query) as answer:
                    if answer.status == 201:
                        return path, None
                    await self._given_up(place)
                    place = self._place(answer)
            except RegistryError as error:
                logger.info("mount of %s from %s: %s", digest, path, error.message)
        return "", place

    async def _begun(self, query: str = "") -> aiohttp.ClientResponse:
        path = f"{self._repository.path}/blobs/uploads/{query}"
        return await self._repository.call("POST", path, ok=(201, 202))

    async def _given_up(self, place: URL | None) -> None:
        """End a session that is not wanted; registries forget them in time anyway."""
        if place is not None:
            with contextlib.suppress(RegistryError, UnreachableError):
                async with await self._repository.call("DELETE", place, ok=(200, 202, 204)):
                    pass

    def _place(self, answer: aiohttp.ClientResponse) -> URL:
        """Where an upload goes on. Raises UntrustedError for a way down to clear text."""
        location = answer.headers.get("Location", "")
        try:
            place = answer.url.join(URL(location, encoded=True))
        except ValueError:
            place = URL()
        if not location or place.scheme not in ("http", "https") or not place.host:
            raise BrokenError("the registry does not say where to upload to")
        if answer.url.scheme == "https" and place.scheme != "https":
            raise UntrustedError("the registry wants the upload in clear text: refused")
        return place

    async def _sent(self, source: Source, place: URL | None, sent: Sent) -> None:
        """One session from its beginning to its end."""
        session = await self._opened(place)
        if source.size <= _IN_ONE_PIECE:
            await self._ended(session, source, sent)
            return
        failures = 0
        while session.offset < source.size:
            try:
                session = await self._chunk(session, source, sent)
            except (RegistryError, UnreachableError) as error:
                failures += 1
                if not _passes(error) or failures >= self._settings.attempts:
                    raise
                logger.info("%s; resuming the upload", error.message)
                await asyncio.sleep(self._repository.transport.delay(failures))
                session = await self._resumed(session)
        await self._ended(session, source, sent)

    async def _opened(self, place: URL | None) -> _Session:
        if place is not None:
            return _Session(place)
        async with await self._begun() as answer:
            least = answer.headers.get("OCI-Chunk-Min-Length", "")
            chunk = max(_CHUNK, min(int(least), _LARGEST_CHUNK)) if least.isdigit() else _CHUNK
            return _Session(self._place(answer), chunk=chunk)

    async def _chunk(self, session: _Session, source: Source, sent: Sent) -> _Session:
        first = session.offset
        count = min(session.chunk, source.size - first)
        bounds = f"{first}-{first + count - 1}"
        headers = {**_BINARY, "Content-Range": bounds, "Content-Length": str(count)}
        async with await self._send(
            "PATCH", session.place, headers, source, first, count, sent
        ) as (answer):
            return _Session(self._place(answer), first + count, session.chunk)

    async def _resumed(self, session: _Session) -> _Session:
        """What the registry has of it. Raises RegistryError when it has forgotten."""
        async with await self._repository.call("GET", session.place, ok=(204,)) as answer:
            last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")[2]
            # Nothing at all is said as 0-0, too; no chunk has one byte.
            offset = int(last) + 1 if last.isdigit() and last != "0" else 0
            place = self._place(answer) if "Location" in answer.headers else session.place
            return _Session(place, offset, session.chunk)

    async def _ended(self, session: _Session, source: Source, sent: Sent) -> None:
        """Send the rest, if any, with the request that makes it a blob."""
        first, count = session.offset, source.size - session.offset
        place = _with_digest(session.place, source.digest)
        headers = {**_BINARY, "Content-Length": str(count)}
        async with await self._send("PUT", place, headers, source, first, count, sent):
            pass

    async def _send(
        self, method: str, place: URL, headers: Mapping[str, str], source: Source,
        first: int, count: int, sent: Sent,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        """A request with a part of the blob; one that stands still is given up."""
        stall = self._settings.stall_timeout
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(stall) as limit:

                async def body() -> AsyncIterator[bytes]:
                    done = first
                    sent(done)
                    async with contextlib.aclosing(source.open(first, count)) as pieces:
                        async for piece in pieces:
                            yield piece
                            done += len(piece)
                            sent(done)
                            with contextlib.suppress(RuntimeError):  # answered before the end
                                limit.reschedule(loop.time() + stall)

                data: bytes | Callable[[], AsyncIterable[bytes]] = body if count else b""
                return await self._repository.call(
                    method, place, headers, data, ok=(201, 202, 204), repeat=False
                )
        except TimeoutError:
            raise BrokenError(f"upload of {source.digest}: no progress in {stall:g} s") from None

    async def manifest(self, reference: str, media_type: str, data: bytes, digest: str) -> None:
        """Put a manifest under a tag. Raises BrokenError when the registry makes it another."""
        path = f"{self._repository.path}/manifests/{reference}"
        headers = {"Content-Type": media_type}
        async with await self._repository.call(
            "PUT", path, headers, data, ok=(200, 201, 202)
        ) as answer:
            stored = answer.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise BrokenError(f"the registry stored manifest {digest} as {stored[:80]!r}")


def _passes(error: RegistryError | UnreachableError) -> bool:
    """Whether another attempt may have another end."""
    if isinstance(error, RegistryError):
        return error.code in _LOST or (error.answered in _PASSING and error.code not in _FINAL)
    return not isinstance(error, UntrustedError)


# Debian's docker-registry forgets a session whose last part did not arrive whole.
_LOST = frozenset(("BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "RANGE_INVALID"))
_FINAL = frozenset((errors.DENIED, errors.UNAUTHORIZED, errors.NAME_UNKNOWN, "NAME_INVALID"))


def _with_digest(place: URL, digest: str) -> URL:
    """The rest of the query stays byte for byte: it may be signed."""
    text = str(place)
    return URL(f"{text}{'&' if place.raw_query_string else '?'}digest={digest}", encoded=True)
