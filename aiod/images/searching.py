"""Searching an index of images: Docker Hub's `v1/search`, and whatever speaks like it.

Owns the question and the filters of the answer; must not know HTTP routes.
"""

from collections.abc import Mapping

import msgspec
from yarl import URL

from aiod.errors import InternalError, InvalidParameterError, UnsupportedError
from aiod.images.registry import errors
from aiod.images.registry.transport import Request, Transport, read

FILTERS = frozenset({"is-automated", "is-official", "stars"})
DEFAULT_LIMIT = 25

_MOST = 100
_LARGEST_ANSWER = 4 << 20


class Hit(msgspec.Struct, frozen=True):
    """One repository that was found."""

    star_count: int = 0
    is_official: bool = False
    name: str = ""
    is_automated: bool = False
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    results: list[Hit] | None = None


async def search(
    transport: Transport, term: str, limit: int, filters: Mapping[str, list[str]]
) -> list[Hit]:
    """The repositories that an index finds for a term, at most `limit` before the filters.

    Raises UnsupportedError unless an index is configured, and InvalidParameterError.
    """
    index = transport.settings.search_index
    if not index:
        raise UnsupportedError("images/search: no index is configured (search_index)")
    if not 1 <= limit <= _MOST:
        raise InvalidParameterError(f"limit {limit} is outside the range of [1, {_MOST}]")
    stars = _stars(filters)
    official, automated = (_flag(filters, name) for name in ("is-official", "is-automated"))
    url = (URL(index) / "v1" / "search").with_query(q=term, n=str(limit))
    return [
        hit
        for hit in await _asked(transport, url)
        if hit.star_count >= stars
        and official in (None, hit.is_official)
        and automated in (None, hit.is_automated)
    ]


async def _asked(transport: Transport, url: URL) -> list[Hit]:
    async with await transport.send(Request("GET", url)) as answer:
        body = await read(answer, _LARGEST_ANSWER)
        if answer.status != 200:
            raise errors.from_answer(answer.status, body)
    try:
        return msgspec.json.decode(body, type=_Answer).results or []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InternalError(f"the index's answer cannot be read: {error}") from error


def _stars(filters: Mapping[str, list[str]]) -> int:
    values = filters.get("stars", [])
    if not all(value.isascii() and value.isdigit() for value in values):
        raise InvalidParameterError(f"invalid filter 'stars=[{' '.join(values)}]'")
    return max(map(int, values), default=0)


def _flag(filters: Mapping[str, list[str]], name: str) -> bool | None:
    values = filters.get(name, [])
    if not values:
        return None
    if all(value in ("1", "true") for value in values):
        return True
    if all(value in ("0", "false") for value in values):
        return False
    raise InvalidParameterError(f"invalid filter '{name}=[{' '.join(values)}]'")
