"""HTTP to registries: connections, TLS, proxies, redirects, time-outs and repetition.

Owns the one client session. Must not know the registry API, nor who is asking: the
`Authorization` header is the caller's, and goes to no host but the one it was meant for.
"""

import asyncio
import email.utils
import logging
import os
import random
import ssl
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import aiohttp
from yarl import URL

import aiod
from aiod.config import RegistrySettings
from aiod.images.registry import hosts
from aiod.images.registry.errors import BrokenError, UnreachableError, UntrustedError
from aiod.images.registry.proxies import proxy_for

logger = logging.getLogger(__name__)

_MOST_REDIRECTS = 8
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PASSING = frozenset((408, 429, 500, 502, 503, 504))
_LONGEST_RETRY_AFTER = 60.0  # seconds
_CONNECTIONS = 64
_KEEP = 15.0  # seconds that an idle connection is kept
_CHUNK = 1 << 18

T = TypeVar("T")
Body = bytes | Callable[[], AsyncIterable[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; a `body` that is a function makes a fresh stream for every attempt.

    `redirect` False hands a redirect
    to the caller; `repeat` False is for what must not be sent twice.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    redirect: bool = True
    repeat: bool = True


class Transport:
    """Everything that one daemon says to registries goes through here."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._answering: dict[str, URL] = {}

    async def close(self) -> None:
        """End every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> aiohttp.ClientResponse:
        """The answer, whatever its status; the caller releases it (`async with`).

        Connection failures, 429 and those of the 5xx that pass are tried again, at most
        `settings.attempts` times in all; the last such answer is returned. Raises
        UnreachableError, and at once UntrustedError.
        """
        attempts = self.settings.attempts if request.repeat else 1
        for attempt in range(1, attempts + 1):
            try:
                answer = await self._follow(request)
            except UntrustedError:
                raise
            except UnreachableError as error:
                if attempt == attempts:
                    raise
                logger.info("%s; attempt %d of %d", error.message, attempt, attempts)
                wait = self.delay(attempt)
            else:
                if answer.status not in _PASSING or attempt == attempts:
                    return answer
                wait = max(self.delay(attempt), _retry_after(answer))
                answer.close()
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`th failure: doubling, with half of it by chance."""
        longest = min(self.settings.first_delay * 2.0 ** (attempt - 1), self.settings.longest_delay)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    async def repeated(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work` done again as long as it raises BrokenError, at most `attempts` times."""
        for attempt in range(1, self.settings.attempts):
            try:
                return await work()
            except BrokenError as error:
                logger.info("%s; attempt %d of %d", error.message, attempt, self.settings.attempts)
            await asyncio.sleep(self.delay(attempt))
        return await work()

    async def _follow(self, request: Request) -> aiohttp.ClientResponse:
        for _ in range(_MOST_REDIRECTS):
            answer = await self._once(request)
            place = answer.headers.get("Location")
            if not request.redirect or answer.status not in _REDIRECTS or not place:
                return answer
            answer.close()
            request = self._redirected(request, place)
        raise UnreachableError(f'{request.method} "{_shown(request.url)}": too many redirects')

    def _redirected(self, request: Request, place: str) -> Request:
        """The next request. Signed URLs must stay as they are; secrets stay with their host."""
        try:
            url = request.url.join(URL(place, encoded=True))
        except ValueError:
            url = URL()
        downgraded = request.url.scheme == "https" and url.scheme == "http"
        allowed = not downgraded or hosts.is_insecure(url.authority, self.settings)
        if url.scheme not in ("http", "https") or not url.host or not allowed:
            raise UntrustedError(
                f'{request.method} "{_shown(request.url)}": refused to follow a redirect'
            )
        headers = request.headers
        if url.origin() != request.url.origin():
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        return replace(request, url=url, headers=headers)

    async def _once(self, request: Request) -> aiohttp.ClientResponse:
        url = request.url
        body = request.body() if callable(request.body) else request.body
        context = await self._context(url)
        proxy = proxy_for(url, os.environ)
        headers = {"Accept-Encoding": "identity", **request.headers}
        try:
            return await self._opened().request(
                request.method, url, headers=headers, data=body, allow_redirects=False,
                ssl=context, proxy=proxy,
            )  # fmt: skip
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            self._contexts.pop(url.authority, None)  # the files may be put right meanwhile
            raise UntrustedError(_failed(request, error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnreachableError(_failed(request, error)) from error
        except ValueError as error:  # of aiohttp, for an answer or a URL that is none
            raise UnreachableError(_failed(request, error)) from error

    async def _context(self, url: URL) -> ssl.SSLContext | bool:
        if url.scheme != "https":
            return True
        authority = url.authority
        if (known := self._contexts.get(authority)) is not None:
            return known
        context = await asyncio.to_thread(hosts.tls_context, authority, self.settings)
        return self._contexts.setdefault(authority, context)

    def prefer(self, base: URL) -> None:
        """This is the address at which its host answers."""
        self._answering[base.authority] = base

    def preferred(self, bases: Sequence[URL]) -> list[URL]:
        """These addresses of one host, with the one that answered last in front."""
        return sorted(bases, key=lambda base: self._answering.get(base.authority) != base)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                raise_for_status=False,
                read_bufsize=_CHUNK,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self.settings.connect_timeout,
                    sock_read=self.settings.stall_timeout,
                ),
                headers={"User-Agent": f"aiod/{aiod.__version__}"},
            )
        return self._session


async def read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body. Raises BrokenError when it breaks off or is over `limit` bytes."""
    data = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            data += chunk
            if len(data) > limit:
                raise BrokenError(
                    f'{answer.method} "{_shown(answer.url)}": the answer is over {limit} bytes'
                )
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise broken(answer, error) from error
    return bytes(data)


def broken(answer: aiohttp.ClientResponse, error: Exception) -> BrokenError:
    """The error of a body that could not be read to its end."""
    return BrokenError(f'{answer.method} "{_shown(answer.url)}": {_reason(error)}')


def _failed(request: Request, error: Exception) -> str:
    return f'{request.method.capitalize()} "{_shown(request.url)}": {_reason(error)}'


def _shown(url: URL) -> str:
    """A URL fit for a log: a signed one's query is a secret, as are user and password."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verification failed: {error.verify_message}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        # A look-up's failure has a number of getaddrinfo(3), below 0.
        why = os.strerror(number) if number > 0 else error.os_error.strerror or error.os_error
        return f"cannot connect: {why}"
    return str(error) or type(error).__name__


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    """Seconds that the registry asks for (RFC 9110, 10.2.3): a number, or a date."""
    text = answer.headers.get("Retry-After", "")
    if text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return min(max(moment.timestamp() - time.time(), 0.0), _LONGEST_RETRY_AFTER)
