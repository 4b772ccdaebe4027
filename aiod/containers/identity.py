"""Whom a container's process runs as: `User` looked up in the image, without mounting it.

Owns reading `etc/passwd` and `etc/group` over a stack of layer directories; must not know
records, nor how a stack of layers is read (`layered`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiod.containers import layered
from aiod.errors import InvalidParameterError

_LARGEST = 4 << 20
_ODD = "surrogateescape"
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_LARGEST_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers of the user, the main group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _read(directories: Iterable[Path], name: str) -> list[list[str]]:
    """The fields of each line of `/etc/name` with a numeric id."""
    text = (layered.read(directories, f"etc/{name}", _LARGEST) or b"").decode(errors=_ODD)
    rows = (line.split(":") for line in text.splitlines() if line.count(":") >= 3)
    return [row for row in rows if _number(row[2]) is not None]


def _number(text: str) -> int | None:
    """What is written; None for a name. A sign is Docker's too."""
    found = _NUMBER.fullmatch(text)
    return int(text) if found is not None else None


def resolve(user: str, groups: Iterable[str], directories: list[Path]) -> Identity:
    """The identity of `User` (`name`, `uid`, `name:group`, ...); blocking.

    `directories` are upper first. Raises InvalidParameterError in dockerd's words.
    """
    name, separator, group = user.partition(":")
    users, named = _read(directories, "passwd"), _read(directories, "group")
    number = _number(name) if name else 0
    found = next((row for row in users if _is_meant(row, name, number)), None)
    if found is not None and len(found) >= 6:
        uid, gid, home, login = int(found[2]), _number(found[3]) or 0, found[5] or "/", found[0]
    elif number is not None:
        uid, gid, home, login = number, 0, "/" if name else "/root", ""
    else:
        raise InvalidParameterError(
            f"unable to find user {name}: no matching entries in passwd file"
        )
    extra = [int(row[2]) for row in named if login and login in row[3].split(",")]
    if separator and group:
        gid, extra = _group(group, named), []
    extra += [_group(wanted, named) for wanted in groups]
    if any(not 0 <= number <= _LARGEST_ID for number in (uid, gid, *extra)):
        raise InvalidParameterError(f"uids and gids must be in range 0-{_LARGEST_ID}")
    return Identity(uid, gid, tuple(dict.fromkeys(extra)), home)


def _is_meant(row: list[str], name: str, number: int | None) -> bool:
    """A number is always an id, also where somebody is called so."""
    return row[0] == name if number is None else int(row[2]) == number


def _group(wanted: str, named: list[list[str]]) -> int:
    number = _number(wanted)
    for row in named:
        if _is_meant(row, wanted, number):
            return int(row[2])
    if number is not None:
        return number
    raise InvalidParameterError(f"unable to find group {wanted}: no matching entries in group file")
