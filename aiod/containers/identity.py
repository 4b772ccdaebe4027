"""Whom a container's process runs as: `User` looked up in the image, without mounting it.

Owns reading `etc/passwd` and `etc/group` over a stack of layer directories; must not know
records. Symbolic links are not followed: an image cannot lead the look-up out of itself.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiod.errors import InvalidParameterError

_LARGEST = 4 << 20
_MOST_DIGITS = 20
_LARGEST_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers of the user, the main group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _read(directories: Iterable[Path], name: str) -> list[list[str]]:
    """The fields of each line with a numeric id, from the uppermost layer that has the file."""
    for directory in directories:
        etc = directory / "etc"
        if etc.is_symlink() or _is_whiteout(etc) or _is_whiteout(etc / name):
            return []
        text = _text(etc / name)
        if text is not None:
            rows = (line.split(":") for line in text.splitlines() if line.count(":") >= 3)
            return [row for row in rows if _is_number(row[2])]
        if _is_opaque(etc):
            return []
    return []


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS


def _text(file: Path) -> str | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(file, flags), "rb") as opened:
            return opened.read(_LARGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def _is_whiteout(path: Path) -> bool:
    """What a layer has taken away (the kernel's `filesystems/overlayfs.rst`)."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(directory: Path) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False


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
        main = int(found[3]) if _is_number(found[3]) else 0
        uid, gid, home, login = int(found[2]), main, found[5] or "/", found[0]
    elif _is_number(name) or not name:
        uid, gid, home, login = int(name or 0), 0, "/" if name else "/root", ""
    else:
        raise InvalidParameterError(
            f"unable to find user {name}: no matching entries in passwd file"
        )
    extra = [int(row[2]) for row in named if login and login in row[3].split(",")]
    if separator and group:
        gid, extra = _group(group, named), []
    extra += [_group(wanted, named) for wanted in groups]
    if any(number > _LARGEST_ID for number in (uid, gid, *extra)):
        raise InvalidParameterError(f"uids and gids must be in range 0-{_LARGEST_ID}")
    return Identity(uid, gid, tuple(dict.fromkeys(extra)), home)


def _group(wanted: str, named: list[list[str]]) -> int:
    for row in named:
        if wanted in (row[0], row[2]):
            return int(row[2])
    if _is_number(wanted):
        return int(wanted)
    raise InvalidParameterError(f"unable to find group {wanted}: no matching entries in group file")
