"""Which versions of the Engine API are served, and how a path asks for one.

Sans-I/O; must not know the routes.
"""

import functools
import re
from typing import NamedTuple

from aiod.errors import InvalidParameterError

Version = tuple[int, int]

LATEST: Version = (1, 51)
OLDEST: Version = (1, 24)

_PREFIX = re.compile(r"/v([0-9.]+)(?=/|$)")
_LONGEST = 9  # digits


def text(version: Version) -> str:
    """As in headers and paths: `1.51`."""
    return f"{version[0]}.{version[1]}"


class Target(NamedTuple):
    """A path without its prefix, and the version it asks for, as it says it (empty: none)."""

    asked: str
    path: str


def split(path: str) -> Target:
    """Take the version off a path."""
    found = _PREFIX.match(path)
    return Target("", path) if found is None else Target(found[1], path[found.end() :])


@functools.lru_cache(64)
def chosen(asked: str) -> Version:
    """The version that is meant, the latest for none; InvalidParameterError out of range.

    As in dockerd, what is no number in it counts as 0.
    """
    if not asked:
        return LATEST
    parts = tuple(_number(part) for part in asked.split("."))
    if _trimmed(parts) > LATEST:
        raise InvalidParameterError(
            f"client version {asked} is too new. Maximum supported API version is {text(LATEST)}"
        )
    if _trimmed(parts) < OLDEST:
        raise InvalidParameterError(
            f"client version {asked} is too old. "
            f"Minimum supported API version is {text(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    return parts[0], parts[1]


def _number(part: str) -> int:
    return int(part or "0") if len(part) <= _LONGEST else 10**_LONGEST


def _trimmed(parts: tuple[int, ...]) -> tuple[int, ...]:
    """Without zeros at the end: `1.24.0` is `1.24`."""
    while parts and not parts[-1]:
        parts = parts[:-1]
    return parts
