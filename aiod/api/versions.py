"""Which versions of the Engine API are served, and how a path asks for one.

Sans-I/O; must not know the routes.
"""

import re
from dataclasses import dataclass

from aiod.errors import InvalidParameterError

Version = tuple[int, int]

LATEST: Version = (1, 51)
OLDEST: Version = (1, 24)

_PREFIX = re.compile(r"/v([0-9.]+)(?=/|$)")
_NUMBER = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:\.[0-9]+)*")


def text(version: Version) -> str:
    """As in headers and paths: `1.51`."""
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True, slots=True)
class Target:
    """A path without its prefix, and the version it asked for (the latest if none)."""

    version: Version
    path: str


def split(path: str) -> Target:
    """Take the version off a path; InvalidParameterError when it is out of range."""
    found = _PREFIX.match(path)
    if found is None:
        return Target(LATEST, path)
    number = _NUMBER.fullmatch(found[1])
    if number is None:
        raise InvalidParameterError(f"invalid client version {found[1]}")
    version = (int(number[1]), int(number[2] or 0))
    if version > LATEST:
        raise InvalidParameterError(
            f"client version {text(version)} is too new. "
            f"Maximum supported API version is {text(LATEST)}"
        )
    if version < OLDEST:
        raise InvalidParameterError(
            f"client version {text(version)} is too old. "
            f"Minimum supported API version is {text(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    return Target(version, path[found.end() :])
