"""One repository of one registry, in typed calls (OCI distribution spec v1.1, "API").

Owns authentication as it goes along and the mapping of refusals to RegistryError. Must not
know what is done with the answers. Uploads are built on `Repository.call`.
"""

import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from aiod.errors import AiodError
from aiod.images import config as formats
from aiod.images.reference import Reference, is_sha256
from aiod.images.registry import challenge, errors, hosts
from aiod.images.registry.auth import Authorizer
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.registry.errors import BrokenError, RegistryError, UnreachableError, UntrustedError
from aiod.images.registry.transport import Body, Request, Transport, broken, read

logger = logging.getLogger(__name__)

LARGEST_MANIFEST = 4 << 20  # what the distribution spec asks registries to accept
LARGEST_ANSWER = 8 << 20
_MOST_TAGS = 100_000
_BAD_REQUEST = 400
SCHEMA1 = frozenset(
    f"application/vnd.docker.distribution.manifest.v1+{form}" for form in ("json", "prettyjws")
)
_ACCEPT = ", ".join(
    (formats.DOCKER_MANIFEST, formats.DOCKER_MANIFEST_LIST, formats.OCI_MANIFEST,
     formats.OCI_INDEX, "application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest or an index as it came; `digest` was computed from `data`."""

    media_type: str
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobStream:
    """A blob's bytes on their way; the first is the one at `offset`."""

    offset: int
    answer: aiohttp.ClientResponse

    async def chunks(self) -> AsyncIterator[bytes]:
        """As they arrive. Raises BrokenError when they break off or stall."""
        try:
            async for chunk in self.answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise broken(self.answer, error) from error


T = TypeVar("T")


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Registry:
    """A host that has been found to answer; makes repositories."""

    def __init__(self, transport: Transport, host: hosts.Host, credentials: Credentials) -> None:
        self._transport = transport
        self._host = host
        # Credentials are for the registry that the user named, never for its mirrors.
        self._credentials = ANONYMOUS if host.mirror else credentials
        self._base: URL | None = None

    @property
    def domain(self) -> str:
        """The name that references have for it."""
        return self._host.domain

    async def base(self) -> URL:
        """The address that answers: for an insecure host https is tried, then http.

        Raises UnreachableError with the reason of the one tried last.
        """
        if self._base is not None:
            return self._base
        *others, last = self._transport.preferred(self._host.bases)
        for base in others:
            try:
                return await self._probe(base, repeat=False)
            except UntrustedError:
                raise
            except UnreachableError as error:
                logger.debug("%s", error.message)
        return await self._probe(last, repeat=True)

    async def _probe(self, base: URL, *, repeat: bool) -> URL:
        async with await self._transport.send(
            Request("GET", base / "v2" / "", repeat=repeat)
        ) as it:
            if it.status == _BAD_REQUEST:  # what Go's servers say in clear where TLS is spoken
                raise UnreachableError(f'Get "{base}/v2/": {it.status} {it.reason}')
        self._transport.prefer(base)
        self._base = base
        return base

    async def login(self) -> str:
        """Check the credentials; returns the identity token, if there is one.

        Raises UnauthorizedError or RegistryError when they are refused.
        """
        checked = _Calls(self._transport, await self.base(), self._credentials, ())
        async with await checked.call("GET", "", ok=(200,)):
            return checked.authorizer.refresh_token

    async def repository(self, path: str, *, push: bool = False) -> "Repository":
        """A repository of this registry."""
        scope = f"repository:{path}:{'pull,push' if push else 'pull'}"
        return Repository(self._transport, await self.base(), path, self._credentials, (scope,))


def origin(transport: Transport, domain: str, credentials: Credentials) -> Registry:
    """The registry that a reference's domain names."""
    return Registry(transport, hosts.origin(domain, transport.settings), credentials)


def sources(transport: Transport, reference: Reference, credentials: Credentials) -> list[Registry]:
    """Who may have an image: the domain's mirrors, and last the registry itself."""
    mirrors = hosts.mirrors(reference.domain, transport.settings)
    found = [Registry(transport, host, ANONYMOUS) for host in mirrors]
    return [*found, origin(transport, reference.domain, credentials)]


class _Calls:
    """Authenticated requests below `/v2/` of one registry."""

    def __init__(
        self, transport: Transport, base: URL, credentials: Credentials, scopes: Sequence[str]
    ) -> None:
        self._transport = transport
        self._base = base
        self.authorizer = Authorizer(transport, credentials, scopes)

    @property
    def transport(self) -> Transport:
        """What everything goes through."""
        return self._transport

    def url(self, path: str) -> URL:
        """The address of a path below `/v2/`, which is already encoded."""
        return URL(f"{self._base}/v2/{path}", encoded=True)

    async def call(
        self,
        method: str,
        path: str | URL,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        ok: Sequence[int] = (200,),
        unknown: str = errors.UNKNOWN,
        redirect: bool = True,
        repeat: bool = True,
    ) -> aiohttp.ClientResponse:
        """An answer with one of the `ok` statuses; the caller releases it (`async with`).

        `path` is below `/v2/`, or a URL that the registry gave. `unknown` is the code of a
        404 without one. Raises RegistryError for any other status, UnreachableError.
        """
        url = path if isinstance(path, URL) else self.url(path)
        request = Request(method, url, headers or {}, body, redirect, repeat)
        answer = await self._authorized(request)
        if answer.status in ok:
            return answer
        async with answer:
            said = b"" if method == "HEAD" else await _readable(answer)
        if answer.status == 401 and _is_out_of_scope(answer):
            raise RegistryError(errors.DENIED, "requested access to the resource is denied", 401)
        raise errors.from_answer(answer.status, said, unknown)

    async def _authorized(self, request: Request) -> aiohttp.ClientResponse:
        """Send; on a challenge send again with what it asks for, once, or twice if it expired."""
        ours = request.url.origin() == self._base.origin()
        for _ in range(2):
            used = self.authorizer.header() if ours else ""
            answer = await self._transport.send(_with_authorization(request, used))
            if answer.status != 401 or not ours:
                return answer
            challenges = answer.headers.getall("WWW-Authenticate", [])
            if not challenges:
                return answer
            header = await self._answered(answer, challenges, used)
            if header is None:
                return answer
            answer.close()
        return await self._transport.send(_with_authorization(request, self.authorizer.header()))

    async def _answered(
        self, answer: aiohttp.ClientResponse, challenges: Sequence[str], used: str
    ) -> str | None:
        try:
            return await self.authorizer.answer(challenges, used)
        except BaseException:
            answer.close()
            raise


def _is_out_of_scope(answer: aiohttp.ClientResponse) -> bool:
    """Whether a token was understood, but is for something else (RFC 6750, 3.1)."""
    challenges = challenge.parse(answer.headers.getall("WWW-Authenticate", []))
    return any(one.parameters.get("error") == "insufficient_scope" for one in challenges)


def _with_authorization(request: Request, value: str) -> Request:
    if not value:
        return request
    return replace(request, headers={**request.headers, "Authorization": value})


async def _readable(answer: aiohttp.ClientResponse) -> bytes:
    with contextlib.suppress(UnreachableError):
        return await read(answer, LARGEST_ANSWER)
    return b""


class Repository(_Calls):
    """One repository; `path` is its name at the registry."""

    def __init__(
        self,
        transport: Transport,
        base: URL,
        path: str,
        credentials: Credentials,
        scopes: Sequence[str],
    ) -> None:
        super().__init__(transport, base, credentials, scopes)
        self.path = path

    async def manifest(self, reference: str) -> Fetched:
        """A manifest or index by tag or digest, verified.

        Raises RegistryError, and BrokenError when what came is not what was announced.
        """
        return await self._transport.repeated(lambda: self._manifest(reference))

    async def _manifest(self, reference: str) -> Fetched:
        path = f"{self.path}/manifests/{reference}"
        async with await self.call(
            "GET", path, {"Accept": _ACCEPT}, unknown=errors.MANIFEST_UNKNOWN
        ) as answer:
            data = await read(answer, LARGEST_MANIFEST)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        announced = answer.headers.get("Docker-Content-Digest", "")
        for wanted in (reference, announced):
            if is_sha256(wanted) and wanted != digest:
                raise BrokenError(
                    f"manifest verification failed for digest {wanted}: what came is {digest}"
                )
        return Fetched(_media_type(answer, data), digest, data)

    async def manifest_head(self, reference: str) -> formats.Descriptor | None:
        """What a tag or digest stands for, or None if the registry has it not."""
        path = f"{self.path}/manifests/{reference}"
        async with await self.call(
            "HEAD", path, {"Accept": _ACCEPT}, ok=(200, 404), unknown=errors.MANIFEST_UNKNOWN
        ) as answer:
            if answer.status == 404:
                return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not is_sha256(digest):
            fetched = await self.manifest(reference)
            return formats.Descriptor(fetched.media_type, fetched.digest, len(fetched.data))
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return formats.Descriptor(media_type, digest, answer.content_length or 0)

    async def blob_size(self, digest: str) -> int | None:
        """Bytes of a blob, -1 if the registry does not say; None if it has it not."""
        async with await self.call(
            "HEAD", f"{self.path}/blobs/{digest}", ok=(200, 404), unknown=errors.BLOB_UNKNOWN
        ) as answer:
            if answer.status == 404:
                return None
            size = answer.headers.get("Content-Length", "")
            return int(size) if size.isdigit() else -1

    @contextlib.asynccontextmanager
    async def blob(self, digest: str, offset: int = 0) -> AsyncIterator[BlobStream]:
        """A blob from `offset` on, or from its beginning if the registry knows no ranges."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with await self.call(
            "GET", f"{self.path}/blobs/{digest}", headers,
            ok=(200, 206), unknown=errors.BLOB_UNKNOWN,
        ) as answer:  # fmt: skip
            yield BlobStream(_begins(answer), answer)

    async def small_blob(self, digest: str, size: int) -> bytes:
        """All of a blob, verified. Raises BrokenError when what came is another."""

        async def whole() -> bytes:
            async with self.blob(digest) as stream:
                data = await read(stream.answer, size)
            if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
                raise BrokenError(f"verification failed for digest {digest}")
            return data

        return await self._transport.repeated(whole)

    async def tags(self) -> list[str]:
        """Every tag of the repository."""
        found: list[str] = []
        place: str | URL | None = f"{self.path}/tags/list"
        while place is not None and len(found) < _MOST_TAGS:
            async with await self.call("GET", place, unknown=errors.NAME_UNKNOWN) as answer:
                body = await read(answer, LARGEST_ANSWER)
            new = _decoded(body, _Tags).tags or []
            found += new
            place = _next_page(answer) if new else None
        return found

    async def referrers(self, digest: str) -> list[formats.Descriptor]:
        """The manifests whose subject is `digest`: the referrers API, else its tag schema."""
        try:
            async with await self.call("GET", f"{self.path}/referrers/{digest}") as answer:
                index = formats.decode_index(await read(answer, LARGEST_MANIFEST))
        except RegistryError as error:
            if error.answered not in (400, 404, 405):
                raise
            return await self._referrers_by_tag(digest)
        return list(index.manifests)

    async def _referrers_by_tag(self, digest: str) -> list[formats.Descriptor]:
        try:
            fetched = await self.manifest(digest.replace(":", "-"))
        except RegistryError as error:
            if error.answered != 404:
                raise
            return []
        return list(formats.decode_index(fetched.data).manifests)


def _next_page(answer: aiohttp.ClientResponse) -> URL | None:
    """What the `Link` header calls the next page (RFC 8288)."""
    link = re.search(r'<([^>]*)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
    return answer.url.join(URL(link[1], encoded=True)) if link else None


def _begins(answer: aiohttp.ClientResponse) -> int:
    """The offset of the first byte of the body (RFC 9110, 14.4)."""
    if answer.status != 206:
        return 0
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise BrokenError("the registry answered a range without saying which")
    return int(first)


class _Typed(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""
    schema_version: int = 0


def _media_type(answer: aiohttp.ClientResponse, data: bytes) -> str:
    """What the document says it is, else what the header says."""
    typed = _decoded(data, _Typed)
    said = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if typed.schema_version == 1:
        return said if said in SCHEMA1 else min(SCHEMA1)
    return typed.media_type or said


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AiodError(f"the registry's answer cannot be read: {error}") from error
