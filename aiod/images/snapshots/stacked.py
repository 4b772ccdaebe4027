"""A stack of layer directories seen as one tree, without a mount.

Owns the rules of what hides what (kernel Documentation/filesystems/overlayfs.rst). The layers
must not change meanwhile. Blocks.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiod.images.unpack import OPAQUE_XATTR, is_whiteout


@dataclass(frozen=True, slots=True)
class Seen:
    """Something in the tree: its path relative to the root, where it really is, and its status."""

    path: bytes
    place: bytes
    status: os.stat_result


def walk(layers: Sequence[bytes]) -> Iterator[Seen]:
    """Everything below the root, directories before what is in them; `layers` topmost first."""
    yield from _walk(tuple(layers), b"")


def _walk(places: tuple[bytes, ...], above: bytes) -> Iterator[Seen]:
    for name, found in sorted(merged(places).items()):
        path = above + name
        yield Seen(path, found[0].place, found[0].status)
        if stat.S_ISDIR(found[0].status.st_mode):
            yield from _walk(tuple(one.place for one in found), path + b"/")


def merged(places: tuple[bytes, ...]) -> dict[bytes, list[Seen]]:
    """In one directory, for every name what shows: one file, or the directories that are merged."""
    found: dict[bytes, list[Seen]] = {}
    closed: set[bytes] = set()
    for place in places:
        for name in map(os.fsencode, os.listdir(place)):
            if name in closed:
                continue
            one = Seen(name, place + b"/" + name, os.lstat(place + b"/" + name))
            if not stat.S_ISDIR(one.status.st_mode):
                closed.add(name)
                if name not in found and not is_whiteout(one.status):
                    found[name] = [one]
                continue
            found.setdefault(name, []).append(one)
            if is_opaque(one.place):
                closed.add(name)
    return found


def is_opaque(directory: bytes) -> bool:
    """Whether nothing of the layers below shows in it."""
    try:
        return os.getxattr(directory, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False
