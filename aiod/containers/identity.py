"""Whom a container's process runs as: `User` looked up in the image, without mounting it.

Owns reading `etc/passwd` and `etc/group` over a stack of layer directories; must not know
records. Symbolic links are not followed: an image cannot lead the look-up out of itself.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiod.errors import InvalidParameterError

_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers of the user, the main group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _read(directories: Iterable[Path], name: str) -> list[list[str]]:
    """The fields of each line, from the uppermost layer that has the file."""
    for directory in directories:
        try:
            if (directory / "etc").is_symlink():
                return []
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(directory / "etc" / name, flags)
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(_LARGEST).decode("utf-8", "surrogateescape")
        return [line.split(":") for line in text.splitlines() if line.count(":") >= 3]
    return []


def resolve(user: str, groups: Iterable[str], directories: list[Path]) -> Identity:
    """The identity of `User` (`name`, `uid`, `name:group`, ...); blocking.

    `directories` are upper first. Raises InvalidParameterError in dockerd's words.
    """
    name, separator, group = user.partition(":")
    users, named = _read(directories, "passwd"), _read(directories, "group")
    found = next((row for row in users if row[0] == name or row[2] == name), None)
    if not name:
        found = next((row for row in users if row[2] == "0"), None)
    if found is not None and len(found) >= 6:
        uid, gid, home, login = int(found[2]), int(found[3]), found[5] or "/", found[0]
    elif name.isdigit() or not name:
        uid, gid, home, login = int(name or 0), 0, "/" if name else "/root", ""
    else:
        raise InvalidParameterError(
            f"unable to find user {name}: no matching entries in passwd file"
        )
    extra = [int(row[2]) for row in named if login and login in row[3].split(",")]
    if separator and group:
        gid, extra = _group(group, named), []
    extra += [_group(wanted, named) for wanted in groups]
    return Identity(uid, gid, tuple(dict.fromkeys(extra)), home)


def _group(wanted: str, named: list[list[str]]) -> int:
    for row in named:
        if wanted in (row[0], row[2]):
            return int(row[2])
    if wanted.isdigit():
        return int(wanted)
    raise InvalidParameterError(f"unable to find group {wanted}: no matching entries in group file")
