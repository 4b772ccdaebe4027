"""What goes wrong with a registry, in types: it said no, or it could not be talked to.

Sans-I/O: reads the error JSON of the distribution spec ("Error Codes").
"""

from typing import Any

import msgspec

from aiod.errors import AiodError

DENIED = "DENIED"
UNAUTHORIZED = "UNAUTHORIZED"
MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
NAME_UNKNOWN = "NAME_UNKNOWN"
BLOB_UNKNOWN = "BLOB_UNKNOWN"
TOO_MANY_REQUESTS = "TOOMANYREQUESTS"
UNKNOWN = "UNKNOWN"

_BY_STATUS = {401: UNAUTHORIZED, 403: DENIED, 429: TOO_MANY_REQUESTS}
_STATUSES = {UNAUTHORIZED: 401, DENIED: 403}
_LONGEST = 500


class RegistryError(AiodError):
    """A registry refused: `code` as in the spec, `answered` its HTTP status."""

    def __init__(self, code: str, message: str, answered: int) -> None:
        super().__init__(f"{code.lower().replace('_', ' ')}: {message}")
        self.code = code
        self.answered = answered
        self.status = _STATUSES.get(code, 404 if answered == 404 else 500)


class UnreachableError(AiodError):
    """No answer, or none that could be read to its end, however often it was tried."""


class BrokenError(UnreachableError):
    """An answer that broke off, stalled, or is not what it says it is."""


class UntrustedError(UnreachableError):
    """The host's certificate is signed by nobody who is trusted here, or is another's."""


class _Item(msgspec.Struct, frozen=True):
    code: str = UNKNOWN
    message: str = ""
    detail: Any = None


class _Body(msgspec.Struct, frozen=True):
    """`errors` of the spec; `details` is what token servers say."""

    errors: list[_Item] | None = None
    details: str = ""


def from_answer(status: int, body: bytes, unknown: str = UNKNOWN) -> RegistryError:
    """The error of an answer that is none of those hoped for.

    `unknown` is the code of a 404 that says nothing more, as of a HEAD.
    """
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = _Body()
    if found.errors:
        first = found.errors[0]
        return RegistryError(_code(first.code), _clean(first.message) or first.code, status)
    code = unknown if status == 404 else _BY_STATUS.get(status, UNKNOWN)
    said = _clean(found.details) or _clean(body.decode("utf-8", "replace"))
    return RegistryError(code, said or f"the registry answered {status}", status)


def _code(text: str) -> str:
    return _clean(text)[:40] or UNKNOWN


def _clean(text: str) -> str:
    """One line, of a length that a person reads."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST]).strip()
