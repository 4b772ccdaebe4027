"""Query parameters and JSON bodies, read as dockerd reads them.

Must not know any route; every failure is an error type of `aiod.errors`.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from aiohttp import web

from aiod.api import gojson
from aiod.errors import InvalidParameterError, TooLargeError
from aiod.images.config import Platform

T = TypeVar("T")
Filters = dict[str, list[str]]

MAX_JSON = 1 << 20  # bytes
BODY_SECONDS = 60.0
_LARGEST_SIZE = 0xFFFF  # ioctl_tty(2), struct winsize

_NO = frozenset({"", "0", "no", "false", "none"})


def boolean(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Anything but `0`, `no`, `false`, `none` and nothing is true."""
    if name not in query:
        return default
    return query[name].strip().lower() not in _NO


def integer(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A decimal number; `default` when absent or empty."""
    value = query.get(name, "")
    if not value:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise InvalidParameterError(f"invalid value for {name}: {value!r} is no integer")
    return int(value)


def optional_integer(query: Mapping[str, str], name: str) -> int | None:
    """A decimal number, None when absent or empty."""
    return integer(query, name) if query.get(name) else None


def size(query: Mapping[str, str], name: str) -> int:
    """One side of a terminal, in characters; it must be given."""
    value = query.get(name, "")
    if not re.fullmatch("[0-9]{1,5}", value) or int(value) > _LARGEST_SIZE:
        raise InvalidParameterError(f"invalid value for {name}: {value!r} is no terminal's size")
    return int(value)


def timestamp(query: Mapping[str, str], name: str, *, zero: bool = False) -> int | None:
    """A time as nanoseconds since the epoch; None when absent, empty or, without `zero`, 0.

    Accepts seconds with up to nine decimals, and RFC 3339.
    """
    value = query.get(name, "")
    if not value or (value == "0" and not zero):
        return None
    if found := re.fullmatch(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?", value):
        seconds, fraction = int(found[1]), int((found[2] or "0").ljust(9, "0"))
        return seconds * 10**9 + (-fraction if value.startswith("-") else fraction)
    return _rfc3339(value, name)


def _rfc3339(value: str, name: str) -> int:
    found = re.fullmatch(r"([0-9T:-]{10,19})(?:\.([0-9]{1,9}))?(Z|[+-][0-9:]{5})?", value)
    try:
        if found is None:
            raise ValueError(value)
        moment = datetime.fromisoformat(found[1] + (found[3] or "").replace("Z", "+00:00"))
    except ValueError:
        raise InvalidParameterError(f"invalid value for {name}: {value!r} is no time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int((found[2] or "0").ljust(9, "0"))


def filters(query: Mapping[str, str], allowed: frozenset[str]) -> Filters:
    """The `filters` parameter: `{name: [value, ...]}` or, as of old, `{name: {value: true}}`."""
    text = query.get("filters", "")
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool] | None] | None)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidParameterError(f"invalid filter: {error}") from None
    for name in found or ():
        if name not in allowed:
            raise InvalidParameterError(f"invalid filter '{name}'")
    # As in dockerd, a value counts by being there, even as `false`.
    return {name: list(values or ()) for name, values in (found or {}).items()}


def boolean_filter(found: Filters, name: str) -> bool | None:
    """A filter that is true or false; None when absent."""
    values = found.get(name)
    if not values:
        return None
    if values[0] in ("1", "true", "True"):
        return True
    if values[0] in ("0", "false", "False"):
        return False
    raise InvalidParameterError(f"invalid filter '{name}=[{' '.join(values)}]'")


def _check_type(request: web.BaseRequest) -> None:
    given = request.headers.get("Content-Type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise InvalidParameterError(
            f"unsupported Content-Type header ({given}): must be 'application/json'"
        )


async def body(request: web.BaseRequest, limit: int = MAX_JSON) -> bytes:
    """The whole body; TooLargeError beyond `limit` bytes, which are not kept.

    Raises InvalidParameterError if it does not come.
    """
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"the request's body exceeds {limit} bytes")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _whole(request, limit)
    except TimeoutError:
        message = f"the request's body did not come within {BODY_SECONDS:g} s"
        raise InvalidParameterError(message) from None


async def _whole(request: web.BaseRequest, limit: int) -> bytes:
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise TooLargeError(f"the request's body exceeds {limit} bytes")
    return bytes(data)


async def json_bytes(request: web.BaseRequest, required: bool = True) -> bytes:
    """A JSON body's bytes, after its content type was checked; `{}` for an optional none."""
    data = await body(request)
    if not data and not required:
        return b"{}"
    if data or "Content-Type" in request.headers:
        _check_type(request)
    return data


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a JSON body; InvalidParameterError names the place and what was expected."""
    try:
        return gojson.decode(data, kind)
    except (msgspec.ValidationError, gojson.RangeError) as error:
        raise InvalidParameterError(f"invalid JSON: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameterError(_malformed(data, str(error))) from None
    except RecursionError:
        raise InvalidParameterError("invalid JSON: nested too deeply") from None


def _malformed(data: bytes, problem: str) -> str:
    if not data.strip():
        return "invalid JSON: EOF"
    if "trailing characters" in problem:
        return "invalid JSON: unexpected content after JSON"
    if "truncated" in problem:
        return "invalid JSON: unexpected EOF"
    if found := re.search(r"\(byte (\d+)\)", problem):
        place = int(found[1])
        character = data[place : place + 1].decode("latin-1")
        return f"invalid JSON: invalid character {character!r} at byte {place}: {problem}"
    return f"invalid JSON: {problem}"


def platform(query: Mapping[str, str]) -> Platform | None:
    """The `platform` parameter, an OCI platform in JSON; None when absent or empty."""
    text = query.get("platform", "")
    if not text:
        return None
    try:
        found = msgspec.json.decode(text, type=Platform)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise InvalidParameterError(f"failed to parse platform: {error}") from None
    if not found.os or not found.architecture:
        raise InvalidParameterError("failed to parse platform: both os and architecture are needed")
    return found
