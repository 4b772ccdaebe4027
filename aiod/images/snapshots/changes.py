"""What differs between a copied tree and the layers it was copied from, as a layer.

A file is the same if its metadata are and nothing has touched it since the copy; one that was
touched, too, if its bytes are. Blocks.
"""

import os
import stat
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiod.images.diff import Parts, UpperWriter
from aiod.images.snapshots import stacked
from aiod.images.tarwriter import TarWriter
from aiod.images.trees import file_sum


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths relative to the root: those that are new or other, those that are gone, the new."""

    there: frozenset[bytes]
    gone: frozenset[bytes]
    new: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.there or self.gone)


def find(root: Path, layers: Sequence[Path], since_ns: int) -> Changes:
    """Compare `root` with its layers, the topmost first; `since_ns` is when it was copied."""
    before = {one.path: one for one in stacked.walk([os.fsencode(layer) for layer in layers])}
    there: set[bytes] = set()
    new: set[bytes] = set()
    for now in stacked.walk([os.fsencode(root)]):
        old = before.pop(now.path, None)
        if old is None or not _same(old, now, since_ns):
            there.add(now.path)
        if old is None:
            new.add(now.path)
    gone = {path for path in before if os.path.dirname(path) not in before}
    return Changes(frozenset(there), frozenset(gone), frozenset(new))


def _same(old: stacked.Seen, now: stacked.Seen, since_ns: int) -> bool:
    if _facts(old) != _facts(now):
        return False
    if now.status.st_ctime_ns <= since_ns:
        return True
    if stat.S_ISLNK(now.status.st_mode):
        return os.readlink(old.place) == os.readlink(now.place)
    if _xattrs(old.place) != _xattrs(now.place):
        return False
    if not stat.S_ISREG(now.status.st_mode):
        return True
    return file_sum(old.place, _nothing) == file_sum(now.place, _nothing)


def _nothing() -> None:
    pass


def _facts(one: stacked.Seen) -> tuple[int, ...]:
    status = one.status
    facts = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
    if stat.S_ISDIR(status.st_mode):
        return facts  # its time changes with what is in it
    return (*facts, status.st_size, status.st_mtime_ns)


def _xattrs(path: bytes) -> dict[str, bytes]:
    return {
        key: os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
        if not key.startswith("trusted.overlay.")
    }


def write(root: Path, changes: Changes, tar: TarWriter, cancelled: threading.Event) -> None:
    """The layer: what changed with the directories above it, and whiteouts."""
    _Writer(changes, tar, cancelled).root(root)


class _Writer(UpperWriter):
    """Passes by what did not change."""

    def __init__(self, changes: Changes, tar: TarWriter, cancelled: threading.Event) -> None:
        super().__init__(tar, cancelled)
        self._changes = changes
        self._above = set(_above(changes.there)) | set(_above(changes.gone))
        self._gone: dict[bytes, list[bytes]] = {}
        for path in changes.gone:
            self._gone.setdefault(os.path.dirname(path), []).append(os.path.basename(path))

    def wanted(self, parts: Parts) -> bool:
        path = b"/".join(parts)
        return path in self._changes.there or path in self._above

    def removed(self, parts: Parts) -> Iterable[bytes]:
        return self._gone.get(b"/".join(parts), ())

    def is_removal(self, status: os.stat_result) -> bool:
        return False


def _above(paths: Iterable[bytes]) -> Iterable[bytes]:
    for path in paths:
        while path := os.path.dirname(path):
            yield path
