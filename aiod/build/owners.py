"""Owners by name or number, as `--chown` gives them, looked up in an image's own files.

Blocking; must not know what is to be owned.
"""

import os
from collections.abc import Callable

from aiod.build import beneath
from aiod.build.beneath import Owner
from aiod.build.sources import open_file
from aiod.errors import InvalidParameterError

_LARGEST = 1 << 22  # bytes of /etc/passwd
_HIGHEST = (1 << 32) - 2
_CANNOT = "unable to convert uid/gid chown string to host mapping"


def owner_of(text: str, root: int) -> Owner:
    """`user`, `user:group`, by name or number. Raises InvalidParameterError."""
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or ":" in group:
        raise InvalidParameterError(f"invalid chown string format: {text}")
    uid = _number(user, lambda: _named(root, b"etc/passwd", user), "uid", "user")
    group = group or user
    gid = _number(group, lambda: _named(root, b"etc/group", group), "gid", "group")
    return Owner(uid, gid)


def _number(text: str, look: Callable[[], int | None], what: str, kind: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:11]) <= _HIGHEST:
        return int(text)
    found = look()
    if found is None:
        raise InvalidParameterError(
            f"{_CANNOT}: can't find {what} for {kind} {text}: no such {kind}: {text}"
        )
    return found


def _named(root: int, file: bytes, name: str) -> int | None:
    path = beneath.resolve(root, file)
    try:
        with open(open_file(root, path), "rb") as opened:
            text = os.fsdecode(opened.read(_LARGEST))
    except (FileNotFoundError, IsADirectoryError):
        return None
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    return None
