"""Who asks a registry: what `X-Registry-Auth` carries.

Credentials live as long as the operation they came with; no representation shows them.
"""

import base64
import binascii
from dataclasses import dataclass

import msgspec

from aiod.errors import InvalidParameterError

_LARGEST_HEADER = 64 * 1024


class _AuthConfig(msgspec.Struct, frozen=True):
    """The JSON in the header (Engine API, "Authentication"); `auth` is `user:password`."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """At most one of: user and password, an identity token, a registry token."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)" if self else "Credentials()"

    def __bool__(self) -> bool:
        """Whether anybody is named."""
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of a Basic `Authorization` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


ANONYMOUS = Credentials()


def from_header(text: str) -> Credentials:
    """Read `X-Registry-Auth`; nothing, or an empty object, is nobody.

    Raises InvalidParameterError, which repeats nothing of what was sent.
    """
    return from_json(_data(text)) if text else ANONYMOUS


def by_registry(text: str) -> dict[str, Credentials]:
    """Read `X-Registry-Config`: an `AuthConfig` for each registry that the client has one for.

    Raises InvalidParameterError, which repeats nothing of what was sent.
    """
    if not text:
        return {}
    try:
        found = msgspec.json.decode(_data(text), type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidParameterError("invalid X-Registry-Config header: must be JSON") from None
    return {registry: from_json(bytes(raw)) for registry, raw in found.items()}


def _data(text: str) -> bytes:
    if len(text) > _LARGEST_HEADER:
        raise InvalidParameterError("invalid X-Registry-Auth header: too long")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        # The standard alphabet is what some clients send.
        data = _standard(text)
    return data or b"{}"


def _standard(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameterError(
            "invalid X-Registry-Auth header: must be base64url of JSON"
        ) from None


def from_json(data: bytes) -> Credentials:
    """Read an `AuthConfig` object. Raises InvalidParameterError."""
    try:
        found = msgspec.json.decode(data, type=_AuthConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidParameterError("invalid X-Registry-Auth header: must be JSON") from None
    username, password = found.username or "", found.password or ""
    if not username and found.auth:
        username, _, password = _decoded(found.auth).partition(":")
    return Credentials(
        username,
        password,
        found.identitytoken or "",
        found.registrytoken or "",
        found.serveraddress or "",
    )


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidParameterError("invalid X-Registry-Auth header: auth is not base64") from None
