"""A file looked up in a stack of layer directories as the kernel would find it in their overlay.

Nothing is mounted. Owns what upper layers hide (`filesystems/overlayfs.rst` of the kernel) and
symbolic links, which end at the stack's root: an image, or a container that changes its own
layer meanwhile, cannot lead the look-up out. Must not know what files mean.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable
from errno import ELOOP
from pathlib import Path

_MOST_LINKS = 40  # as many as path_resolution(7) follows
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read(directories: Iterable[Path], path: str, largest: int) -> bytes | None:
    """The first `largest` bytes of the regular file at `path`; None if there is none. Blocking.

    `directories` are upper first. Raises OSError for what is there and cannot be read.
    """
    try:
        file = _Walk(directories).find(path)
        return None if file is None else _beginning(file, largest)
    except (FileNotFoundError, NotADirectoryError):
        return None


def directories(layers: Iterable[Path], path: str) -> list[Path]:
    """The directories that, stacked, show the one at `path`, upper first; none if it is not there.

    Blocking. Raises NotADirectoryError for what is something else.
    """
    try:
        return [Path(place) for place in _Walk(layers).find_directory(path)]
    except FileNotFoundError:
        return []


class _Walk:
    """One look-up; each place is a list of the directories that show there, upper first."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._places = [[os.path.realpath(directory) for directory in directories]]

    def find_directory(self, path: str) -> list[str]:
        """The places of a directory. Raises FileNotFoundError and NotADirectoryError."""
        if self._end(path) is not None:
            raise NotADirectoryError(path)
        return self._places[-1]

    def find(self, path: str) -> str | None:
        """Where the file is; None for what is no file. Raises FileNotFoundError."""
        end = self._end(path)
        if end is None:
            return None
        found, mode, last = end
        return found if last and stat.S_ISREG(mode) else None

    def _end(self, path: str) -> tuple[str, int, bool] | None:
        """What on the way is no directory, its mode, and whether nothing was to come after it."""
        parts = deque(_parts(path))
        links = 0
        while parts:
            name = parts.popleft()
            if name == "..":
                del self._places[max(1, len(self._places) - 1) :]
                continue
            found, mode = self._entry(name)
            if stat.S_ISLNK(mode) and links < _MOST_LINKS:
                links += 1
                self._follow(os.readlink(found), parts)
            elif stat.S_ISDIR(mode):
                self._enter(name)
            else:
                return found, mode, not parts
        return None

    def _follow(self, target: str, parts: "deque[str]") -> None:
        if target.startswith("/"):
            del self._places[1:]
        parts.extendleft(reversed(_parts(target)))

    def _entry(self, name: str) -> tuple[str, int]:
        """The one that is seen, and its mode. Raises FileNotFoundError."""
        for directory in self._places[-1]:
            path = f"{directory}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                break  # a whiteout
            return path, status.st_mode
        raise FileNotFoundError(name)

    def _enter(self, name: str) -> None:
        shown = []
        for directory in self._places[-1]:
            path = f"{directory}/{name}"
            try:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    break
            except FileNotFoundError:
                continue
            shown.append(path)
            if _is_opaque(path):
                break
        self._places.append(shown)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False


def _beginning(path: str, largest: int) -> bytes | None:
    try:
        descriptor = os.open(path, _FILE)
    except OSError as error:
        if error.errno == ELOOP:  # a link by now
            return None
        raise
    with open(descriptor, "rb") as file:
        # A container may have put a link in the place of a directory of the path meanwhile.
        inside = os.readlink(f"/proc/self/fd/{descriptor}") == path
        return file.read(largest) if inside else None
