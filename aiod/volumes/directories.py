"""Volumes' directories: made beside, renamed into place, renamed away before they are deleted.

`<name>/_data` is a volume's; `.new-<name>` is one not yet on record, or on record and not yet
renamed; `.gone-*` is on its way out. Nothing else there is ever touched: it may be somebody's
data. Blocking.
"""

import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from aiod.config import Paths
from aiod.images.files import discard, sync_directory
from aiod.volumes import mounting

log = logging.getLogger(__name__)

_NEW, _GONE = ".new-", ".gone-"


class Directories:
    """The directory `volumes` of one root."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._top = paths.volumes

    def stage(self, name: str) -> Path:
        """An empty `_data` of a volume that nobody can see yet."""
        made = self._new(name)
        delete(made)
        data = made / "_data"
        made.mkdir(mode=0o701)
        data.mkdir(mode=0o755)
        data.chmod(0o755)
        return data

    def unstage(self, name: str) -> None:
        """It was not wanted after all."""
        delete(self._new(name))

    def settle(self, name: str) -> None:
        """Give a staged volume its place; one whose place is taken is what is there already.

        Not synced: after a power cut it is found under either name, and if under none, nothing
        was in it.
        """
        new, place = self._new(name), self._top / name
        if not place.is_dir() and new.is_dir():
            new.rename(place)
        delete(new)
        data = place / "_data"
        if not data.is_dir():
            data.mkdir(parents=True, exist_ok=True)
            data.chmod(0o755)

    def take_away(self, name: str) -> Path | None:
        """Where it is now, to be deleted; None if there is none."""
        gone = self._top / f"{_GONE}{secrets.token_hex(8)}"
        try:
            (self._top / name).rename(gone)
        except FileNotFoundError:
            return None
        sync_directory(self._top)
        return gone

    def bring_back(self, name: str, gone: Path) -> None:
        """It stays after all."""
        gone.rename(self._top / name)
        sync_directory(self._top)

    def sweep(self, known: Iterable[str]) -> None:
        """Finish what a dead daemon was at; `known` volumes are on record."""
        names = set(known)
        for name in names:
            self.settle(name)
        for entry in sorted(os.listdir(self._top)):
            if entry.startswith((_NEW, _GONE)):
                delete(self._top / entry)
            elif entry not in names:
                log.warning("%s belongs to no volume on record; it is left alone", entry)

    def usage(self, name: str) -> int:
        """Bytes of all that it holds, a file with several names counted once."""
        return _usage(self._paths.volume(name))

    def _new(self, name: str) -> Path:
        return self._top / f"{_NEW}{name}"


def _usage(top: Path) -> int:
    """What vanishes meanwhile counts nothing."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, _, files in os.walk(top):
        for name in files:
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def delete(*places: Path | None) -> None:
    """Delete what was taken away; what resists is left for the next daemon's sweep.

    What is mounted there is somebody else's: it is unmounted, or all is left as it is.
    """
    for place in places:
        if place is not None and os.path.lexists(place):
            _delete(place)


def _delete(place: Path) -> None:
    try:
        for mounted in reversed(mounting.mounts_below(place)):
            mounting.unmount(mounted)
    except OSError as error:
        log.warning("%s is left alone: %s", place, error)
    else:
        discard((place,))
