"""Answering a registry's challenge: Basic, or a bearer token from its token server.

As Docker's token specification ("Token Authentication") and its OAuth2 extension say. One
`Authorizer` serves one operation and is forgotten with it; nothing is kept longer.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from yarl import URL

from aiod.errors import UnauthorizedError
from aiod.images.registry import errors, hosts
from aiod.images.registry.challenge import Challenge, parse
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.transport import Request, Transport, read

_LARGEST_ANSWER = 1 << 20
_CLIENT = "aiod"
_SHORTEST_LIFE = 60  # seconds; the token specification's default


class _Token(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None


class Authorizer:
    """The `Authorization` header for one host, fetched when it is asked for."""

    def __init__(
        self, transport: Transport, credentials: Credentials, scopes: Sequence[str]
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._scopes = list(scopes)
        self._lock = asyncio.Lock()
        self._header = ""
        self._expires = 0.0
        self.refresh_token = ""

    def header(self) -> str:
        """What to send unasked; empty before the first challenge and after the token's time."""
        return self._header if time.monotonic() < self._expires else ""

    def widen(self, scopes: Sequence[str]) -> None:
        """Ask for these scopes as well from now on."""
        new = [scope for scope in scopes if scope not in self._scopes]
        if new:
            self._scopes += new
            self._header = ""

    async def answer(self, headers: Sequence[str], used: str) -> str | None:
        """The header that meets the challenge of a 401; None when `used` was already the best.

        Raises UnauthorizedError, and the token server's own refusal.
        """
        async with self._lock:
            if self._header and self._header != used:
                return self._header  # somebody else has just been given one
            header, life = await self._met(parse(headers))
            if header == used:
                return None
            self._header, self._expires = header, time.monotonic() + life
            return header

    async def _met(self, challenges: list[Challenge]) -> tuple[str, float]:
        who = self._credentials
        for challenge in challenges:
            if challenge.scheme == "bearer":
                if who.registry_token:
                    return f"Bearer {who.registry_token}", float("inf")
                return await self._bearer(challenge)
            if challenge.scheme == "basic":
                if not who.username:
                    raise UnauthorizedError("no basic auth credentials")
                return who.basic, float("inf")
        raise UnauthorizedError("unauthorized: authentication required")

    async def _bearer(self, challenge: Challenge) -> tuple[str, float]:
        realm = self._realm(challenge)
        service = challenge.parameters.get("service", "")
        scopes = self._scopes or challenge.parameters.get("scope", "").split()
        if self._credentials.identity_token:
            request = self._refreshed(realm, service, scopes)
        else:
            request = self._asked(realm, service, scopes)
        async with await self._transport.send(request) as answer:
            body = await read(answer, _LARGEST_ANSWER)
            if answer.status != 200:
                raise errors.from_answer(answer.status, body)
        token = _decoded(body)
        self.refresh_token = token.refresh_token or self.refresh_token
        life = max(token.expires_in or 0, _SHORTEST_LIFE)
        return f"Bearer {token.token or token.access_token}", life * 0.9

    def _realm(self, challenge: Challenge) -> URL:
        try:
            realm = URL(challenge.parameters.get("realm", ""))
        except ValueError:
            realm = URL()
        if realm.scheme not in ("http", "https") or not realm.host:
            raise UnauthorizedError("the registry names no token server")
        in_clear = realm.scheme == "http" and self._credentials
        if in_clear and not hosts.is_insecure(realm.authority, self._transport.settings):
            raise UnauthorizedError(
                f"refused to send credentials in clear to the token server {realm.authority}"
            )
        return realm

    def _asked(self, realm: URL, service: str, scopes: Sequence[str]) -> Request:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers: dict[str, str] = {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
            headers["Authorization"] = self._credentials.basic
            if not scopes:  # a login: a token that outlives it is wanted
                query += [("client_id", _CLIENT), ("offline_token", "true")]
        return Request("GET", realm.extend_query(query), headers)

    def _refreshed(self, realm: URL, service: str, scopes: Sequence[str]) -> Request:
        form = {
            "grant_type": "refresh_token",
            "client_id": _CLIENT,
            "refresh_token": self._credentials.identity_token,
            "service": service,
            "scope": " ".join(scopes),
        }
        body = URL().with_query(form).raw_query_string.encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm, headers, body)


def _decoded(body: bytes) -> _Token:
    try:
        token = msgspec.json.decode(body, type=_Token)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        token = _Token()
    value = token.token or token.access_token
    if not value or not value.isprintable() or not value.isascii():
        raise UnauthorizedError("the token server answered without a token")
    return token
