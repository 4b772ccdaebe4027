"""Paths below a root directory, whose symbolic links never lead out of it.

Owns resolution as in a chroot: `/` and `..` end at the root. A resolved path has no link in
it, so that it may be used relative to the root's descriptor as long as nobody else writes
there. Blocking.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from aiod.errors import InvalidParameterError

_MOST_LINKS = 255
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Owner:
    """User and group of what is made."""

    uid: int = 0
    gid: int = 0


def parts(path: bytes) -> list[bytes]:
    """The components of a path; `.` and empty ones are none."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def resolve(root: int, path: bytes) -> bytes:
    """`path` relative to the root without links; what does not exist is taken by its name.

    Raises InvalidParameterError for a loop.
    """
    waiting = parts(path)[::-1]
    done: list[bytes] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == b"..":
            del done[-1:]
            continue
        target = _link(root, b"/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise InvalidParameterError(f"{os.fsdecode(path)}: too many levels of symbolic links")
        if target.startswith(b"/"):
            done = []
        waiting += parts(target)[::-1]
    return b"/".join(done) or b"."


def _link(root: int, path: bytes) -> bytes | None:
    try:
        return os.readlink(path, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def status(root: int, path: bytes) -> os.stat_result | None:
    """Of a resolved path; None if there is nothing."""
    try:
        return os.stat(path, dir_fd=root, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_directory(root: int, path: bytes) -> bool:
    """Whether a resolved path is a directory."""
    found = status(root, path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def open_directory(root: int, path: bytes) -> int:
    """A descriptor of a resolved directory."""
    return os.open(path, _OPEN_DIR, dir_fd=root)


def make_directories(root: int, path: bytes, owner: Owner, mode: int = 0o755) -> None:
    """Make a resolved path's missing directories, with this owner.

    Raises InvalidParameterError if something on the way is no directory.
    """
    so_far: list[bytes] = []
    for part in parts(path):
        so_far.append(part)
        place = b"/".join(so_far)
        try:
            os.mkdir(place, mode, dir_fd=root)
        except FileExistsError:
            if not is_directory(root, place):
                raise InvalidParameterError(
                    f"mkdir /{os.fsdecode(place)}: not a directory"
                ) from None
            continue
        os.chown(place, owner.uid, owner.gid, dir_fd=root, follow_symlinks=False)
        os.chmod(place, mode, dir_fd=root)


def walk(root: int, path: bytes) -> Iterator[bytes]:
    """Every path below a resolved directory in lexical order, directories before their files."""
    waiting = _entries(root, path)
    while waiting:
        below, is_dir = waiting.pop()
        yield below
        if is_dir:
            waiting += _entries(root, below)


def _entries(root: int, path: bytes) -> list[tuple[bytes, bool]]:
    """What is in one directory, the last name first, and whether it is a directory."""
    prefix = b"" if path == b"." else path + b"/"
    descriptor = open_directory(root, path)
    try:
        with os.scandir(descriptor) as entries:
            found = [
                (prefix + os.fsencode(entry.name), entry.is_dir(follow_symlinks=False))
                for entry in entries
            ]
    finally:
        os.close(descriptor)
    return sorted(found, reverse=True)
