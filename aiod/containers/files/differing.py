"""What a container's root has that its image has not, path by path, as `docker diff` says it.

Blocking; must not know how a snapshot is kept.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from aiod.images.snapshots.model import Difference, Kind

# Made by the engine to mount over, as are dockerd's in a layer below the container's own.
_MOUNTED_OVER = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/console"})


@dataclass(frozen=True, slots=True)
class ChangedPath:
    """One path from the root, and what became of it."""

    path: str
    kind: Kind


def told(differences: Iterable[Difference]) -> list[ChangedPath]:
    """In order of the path's bytes, with the directories above what has changed."""
    found = {"/" + os.fsdecode(one.path): one.kind for one in differences}
    engines = {path for path, kind in found.items() if _is_engines(path, kind)}
    # A directory that only those files were made in is no more a change than they are.
    made_in = {os.path.dirname(path) for path in engines}
    found = {path: kind for path, kind in found.items() if path not in engines | made_in}
    for path in list(found):
        for above in _above(path):
            found.setdefault(above, Kind.CHANGED)
    return [ChangedPath(path, found[path]) for path in sorted(found, key=os.fsencode)]


def _is_engines(path: str, kind: Kind) -> bool:
    return kind is Kind.ADDED and path in _MOUNTED_OVER


def _above(path: str) -> Iterable[str]:
    while (path := os.path.dirname(path)) != "/":
        yield path
