"""What of a container's tree goes into a tar, and what is told of one path of it.

Owns Docker's names in such a tar, and that a tree which changes meanwhile, as that of a running
container does, is read as far as it is there. Blocking; must not know whose tree it is.
"""

import errno
import os
import posixpath
import stat
import threading
from dataclasses import dataclass

from aiod.errors import InternalError
from aiod.images.diff import Parts, UpperWriter
from aiod.images.handing import Write
from aiod.images.layertar import HARDLINK, TarEntry
from aiod.images.tarwriter import TarWriter
from aiod.native import rooted

_READ_DIR = os.O_RDONLY | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class PathStat:
    """A path's own status; `link_target` is where a link leads in the end, from the root."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str


def absolute(path: str) -> str:
    """From the root, without `..`; a slash or a dot at its end stays, for what it asks."""
    found = posixpath.normpath("/" + path)
    found = "/" + found.lstrip("/")
    if path.endswith("/.") or path == ".":
        return found.rstrip("/") + "/."
    return found + "/" if path.endswith("/") and found != "/" else found


def look(root: int, path: str) -> PathStat:
    """The status of `path`, which is absolute. Raises OSError."""
    with rooted.opened(root, os.fsencode(path), _own_flags(path)) as found:
        status = os.fstat(found)
    target = ""
    if stat.S_ISLNK(status.st_mode):
        target = os.fsdecode(_link_target(root, os.fsencode(path)))
    name = _base(path)
    return PathStat(name, status.st_size, status.st_mode, status.st_mtime_ns, target)


def _own_flags(path: str) -> int:
    """A link at the end is not followed, unless the path says that it is a directory."""
    return rooted.PATH if path.endswith(("/", "/.")) else rooted.PATH | rooted.NOFOLLOW


def _base(path: str) -> str:
    return posixpath.basename(path.rstrip("/")) or "/"


def _link_target(root: int, path: bytes) -> bytes:
    """As far as there is something; a link that leads nowhere, by its own words."""
    try:
        return rooted.real_path(root, path)
    except OSError:
        above, _, name = path.rpartition(b"/")
        with rooted.opened(root, above, rooted.DIRECTORY) as parent:
            words = os.readlink(name, dir_fd=parent)
        joined = posixpath.join(above or b"/", words)
        return b"/" + posixpath.normpath(joined).lstrip(b"/")


def write(root: int, path: str, out: Write, gone: threading.Event) -> None:
    """A tar of `path`, absolute, whose entries begin with its last name. Raises OSError."""
    place = os.fsencode(path)
    name = os.fsencode(_base(path))
    with rooted.opened(root, place, _own_flags(path)) as found:
        mode = os.fstat(found).st_mode
    tar = TarWriter(out)
    walk = LiveWriter(tar, gone)
    if stat.S_ISDIR(mode):
        walk.tree(rooted.open_in(root, place, _READ_DIR), name)
    else:
        above = place.rstrip(b"/").rpartition(b"/")[0]
        with rooted.opened(root, above, _READ_DIR) as parent:
            walk.one(parent, name)
    tar.close()


def write_all(root: int, out: Write, gone: threading.Event) -> None:
    """A tar of everything below the root."""
    tar = TarWriter(out)
    LiveWriter(tar, gone).directory(rooted.open_in(root, b".", _READ_DIR), ())
    tar.close()


_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ESRCH})


class LiveWriter(UpperWriter):
    """Of what is mounted: some of it is no file that can be read, such as in /proc."""

    def is_removal(self, status: os.stat_result) -> bool:
        """Nothing is: mounts show no whiteouts."""
        return False

    def tree(self, fd: int, name: bytes) -> None:
        """A directory under `name` with all below it; `fd` is closed."""
        self._subdirectory(fd, (b"." if name == b"/" else name,))

    def one(self, parent: int, name: bytes) -> None:
        """What has this name there."""
        self._entry(parent, (name,))

    def open_file(self, fd: int, name: bytes) -> int:
        """Never a device that has taken the file's place: opening one may do something."""
        flags = rooted.PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        seen = os.open(name, flags, dir_fd=fd)
        try:
            if not stat.S_ISREG(os.fstat(seen).st_mode):
                raise FileNotFoundError(name)
            return os.open(rooted.place_of(seen), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(seen)

    def _guarded(self, fd: int, parts: Parts) -> None:
        try:
            super()._guarded(fd, parts)
        except InternalError as error:
            if not _is_change(error.__cause__):
                raise

    def read(self, fd: int, size: int) -> bytes:
        """What cannot be read, as in /proc, is empty."""
        try:
            return super().read(fd, size)
        except OSError:
            return b""


def _is_change(cause: BaseException | None) -> bool:
    """What a running container can never let be read."""
    return isinstance(cause, OSError) and cause.errno in _UNREADABLE


class _Given(TarWriter):
    """Entries under another first name, and perhaps of another owner."""

    def __init__(self, out: Write, old: bytes, new: bytes, owner: tuple[int, int] | None) -> None:
        super().__init__(out)
        self._old, self._new = old, new
        self._owner = owner

    def add(self, entry: TarEntry) -> None:
        """As `TarWriter`."""
        entry.name = self._named(entry.name)
        if entry.kind == HARDLINK:
            entry.link = self._named(entry.link)
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        super().add(entry)

    def _named(self, name: bytes) -> bytes:
        first, slash, rest = name.partition(b"/")
        return self._new + slash + rest if first == self._old else name


def write_one(
    place: str, name: bytes, owner: tuple[int, int] | None, out: Write, gone: threading.Event
) -> None:
    """A tar of a file or a tree of this host, as `name`; `owner` None keeps owners."""
    above, base = os.path.split(os.path.abspath(place))
    own = os.fsencode(base or ".")
    tar = _Given(out, own, name, owner)
    parent = os.open(above, _READ_DIR | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.stat(own, dir_fd=parent, follow_symlinks=False).st_mode):
            flags = _READ_DIR | os.O_NOFOLLOW | os.O_CLOEXEC
            LiveWriter(tar, gone).tree(os.open(own, flags, dir_fd=parent), own)
        else:
            LiveWriter(tar, gone).one(parent, own)
    finally:
        os.close(parent)
    tar.close()
