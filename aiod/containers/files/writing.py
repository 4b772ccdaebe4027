"""Puts a tar into a container's tree as `docker cp` does, also while the container runs.

Owns what gives way to what. Every name is opened below the root by the kernel's own rule
(`native.rooted`), and everything made is changed by its descriptor: nothing that the container
renames or links meanwhile leads out of it. Blocking; must not know whose tree it is.
"""

import errno
import os
import posixpath
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

from aiod.errors import AiodError, ForbiddenError, InternalError, InvalidParameterError
from aiod.images import layertar
from aiod.images.compression import Limits, PlainReader
from aiod.images.content import CHUNK, Reader
from aiod.images.layertar import TarEntry, TarReader
from aiod.images.threads import Cancelled
from aiod.native import rooted

Read = Callable[[int], bytes]

READ_ONLY_ROOT = "container rootfs is marked read-only"
READ_ONLY_MOUNT = "mounted volume is marked read-only"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN = rooted.PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_DIR = os.O_RDONLY | os.O_DIRECTORY
_NOT_KEPT = frozenset((errno.ENOTSUP, errno.EPERM))


@dataclass(frozen=True, slots=True)
class Manner:
    """`owner` (uid, gid) of all that is made, None for that of each member.

    `keep_kinds`: a directory gives way to nothing else, nor anything else to a directory.
    `renamed` (old, new) is another first name for what has the old one.
    """

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    renamed: tuple[bytes, bytes] | None = None


def extract(
    source: Reader, root: int, path: str, manner: Manner, limits: Limits, gone: threading.Event
) -> None:
    """Put the members of a tar, plain or compressed, below the directory `path`.

    Raises AiodError, FileNotFoundError if there is no such directory, and Cancelled.
    """
    with rooted.opened(root, os.fsencode(path), rooted.PATH) as found:
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            raise InvalidParameterError("extraction point is not a directory")
    tar = TarReader(PlainReader(source, limits, what="archive", digest=False))
    placer = _Placer(root, path, manner, gone)
    try:
        for count, entry in enumerate(tar, 1):
            if count > limits.entries:
                raise InvalidParameterError(f"archive: more than {limits.entries} entries")
            placer.place(entry, tar.read)
        placer.finish()
        while source.read(CHUNK):  # what follows the archive's end
            pass
    finally:
        placer.close()


class _Placer:
    """Places members below `path`; one directory is kept open, as members come by directories."""

    def __init__(self, root: int, path: str, manner: Manner, gone: threading.Event) -> None:
        self._root = root
        self._path = path
        self._manner = manner
        self._gone = gone
        self._parent: tuple[str, int] | None = None
        self._times: dict[str, int] = {}

    def close(self) -> None:
        """Keep nothing open."""
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def place(self, entry: TarEntry, read: Read) -> None:
        """Put one member in its place. Raises AiodError and Cancelled."""
        if self._gone.is_set():
            raise Cancelled
        name = _clean(self._named(entry.name), self._path)
        try:
            self._place(entry, name, read)
        except OSError as error:
            raise _refused(error, posixpath.join(self._path, name)) from error
        except ValueError as error:
            raise InvalidParameterError(f"{name!r}: {error}") from error

    def _place(self, entry: TarEntry, name: str, read: Read) -> None:
        if name == ".":
            return  # as dockerd: the directory itself stays as it is
        above, base = posixpath.split(name)
        parent = self._directory(above)
        exists = self._clear(parent, os.fsencode(base), entry, name)
        if self._manner.owner is not None:
            entry = replace(entry, uid=self._manner.owner[0], gid=self._manner.owner[1])
        self._make(parent, os.fsencode(base), entry, read, exists=exists)
        if entry.kind == layertar.DIRECTORY:
            self._times[name] = entry.mtime_ns

    def _named(self, name: bytes) -> bytes:
        if self._manner.renamed is None:
            return name
        old, new = self._manner.renamed
        first, slash, rest = name.lstrip(b"/").partition(b"/")
        return new + slash + rest if first == old else name

    def finish(self) -> None:
        """Give directories their times, which every file made in them touched."""
        for name, mtime_ns in self._times.items():
            with suppress(OSError), self._opened(name, _READ_DIR) as found:
                os.utime(found, ns=(mtime_ns, mtime_ns))

    def _opened(self, name: str, flags: int) -> AbstractContextManager[int]:
        return rooted.opened(self._root, os.fsencode(posixpath.join(self._path, name)), flags)

    def _directory(self, name: str) -> int:
        """The directory that members below `name` go to, made if it is not there."""
        if self._parent is not None and self._parent[0] == name:
            return self._parent[1]
        place = os.fsencode(posixpath.join(self._path, name))
        try:
            found = rooted.open_in(self._root, place, _READ_DIR)
        except FileNotFoundError:
            found = self._made(name)
        self.close()
        self._parent = (name, found)
        return found

    def _made(self, name: str) -> int:
        above, base = posixpath.split(name)
        if not base:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
        parent = os.dup(self._directory(above))
        try:
            with suppress(FileExistsError):
                os.mkdir(base, 0o755, dir_fd=parent)
        finally:
            os.close(parent)
        place = os.fsencode(posixpath.join(self._path, name))
        return rooted.open_in(self._root, place, _READ_DIR)

    def _clear(self, parent: int, base: bytes, entry: TarEntry, name: str) -> bool:
        """Make way; whether there is a directory that another one is merged with."""
        try:
            mode = os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        there, comes = stat.S_ISDIR(mode), entry.kind == layertar.DIRECTORY
        if there and comes:
            return True
        if self._manner.keep_kinds and there != comes:
            kinds = ("directory", "non-directory") if there else ("non-directory", "directory")
            place = posixpath.join(self._path, name)
            raise InvalidParameterError(
                f'cannot overwrite {kinds[0]} "{place}" with {kinds[1]} "{self._path}"'
            )
        if there:
            shutil.rmtree(os.fsdecode(base), dir_fd=parent)
        else:
            os.unlink(base, dir_fd=parent)
        return False

    def _make(self, parent: int, base: bytes, entry: TarEntry, read: Read, *, exists: bool) -> None:
        if entry.kind == layertar.REGULAR:
            self._regular(parent, base, entry, read)
            return
        if entry.kind == layertar.DIRECTORY:
            if not exists:
                os.mkdir(base, 0o700, dir_fd=parent)
        elif entry.kind == layertar.HARDLINK:
            self._hard_link(parent, base, entry)
            return
        else:
            _special(parent, base, entry)
        found = os.open(base, _OWN, dir_fd=parent)
        try:
            _dress(found, entry)
        finally:
            os.close(found)
        if entry.kind == layertar.SYMLINK:
            times = (entry.mtime_ns, entry.mtime_ns)
            os.utime(base, ns=times, dir_fd=parent, follow_symlinks=False)

    def _regular(self, parent: int, base: bytes, entry: TarEntry, read: Read) -> None:
        file = os.open(base, _CREATE, 0o600, dir_fd=parent)
        try:
            os.ftruncate(file, entry.real_size)
            segments = ((0, entry.size),) if entry.segments is None else entry.segments
            for offset, length in segments:
                self._copy(read, file, offset, length)
            _dress(file, entry)
        finally:
            os.close(file)

    def _copy(self, read: Read, file: int, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            if self._gone.is_set():
                raise Cancelled
            data = read(min(CHUNK, end - offset))
            while data:
                written = os.pwrite(file, data, offset)
                offset += written
                data = data[written:]

    def _hard_link(self, parent: int, base: bytes, entry: TarEntry) -> None:
        target = _clean(self._named(entry.link), self._path, what="hardlink")
        above, name = posixpath.split(target)
        with self._opened(above, _READ_DIR) as source:
            os.link(
                os.fsencode(name), base, src_dir_fd=source, dst_dir_fd=parent,
                follow_symlinks=False,
            )  # fmt: skip


def _special(parent: int, base: bytes, entry: TarEntry) -> None:
    if entry.kind == layertar.SYMLINK:
        os.symlink(entry.link, base, dir_fd=parent)
    elif entry.kind == layertar.FIFO:
        os.mkfifo(base, 0o600, dir_fd=parent)
    elif entry.kind in (layertar.CHARACTER, layertar.BLOCKDEV):
        kind = stat.S_IFCHR if entry.kind == layertar.CHARACTER else stat.S_IFBLK
        device = os.makedev(entry.major, entry.minor)
        if kind == stat.S_IFCHR and not device:
            raise InvalidParameterError("device 0:0 is overlayfs's sign of a removed file")
        os.mknod(base, kind | 0o600, device, dir_fd=parent)
    else:
        raise InvalidParameterError(f"unhandled tar header type {entry.kind!r}")


def _dress(descriptor: int, entry: TarEntry) -> None:
    """Owner first: changing it clears set-id bits and file capabilities."""
    place = rooted.place_of(descriptor)
    os.chown(place, entry.uid, entry.gid)
    if entry.kind == layertar.SYMLINK:
        return
    for key, value in entry.xattrs.items():
        if key.startswith("trusted."):
            raise InvalidParameterError(f"xattr {key!r} belongs to the file system")
        try:
            os.setxattr(place, key, value)
        except OSError as error:
            if error.errno not in _NOT_KEPT:
                raise
    os.chmod(place, entry.mode)
    os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))


def _clean(name: bytes, path: str, what: str = "") -> str:
    """Relative to `path`, which it must not leave. Raises InvalidParameterError."""
    if b"\0" in name:
        raise InvalidParameterError(f"{name[:200]!r}: a name has a zero byte")
    cleaned = posixpath.normpath(os.fsdecode(name).lstrip("/") or ".")
    if cleaned == ".." or cleaned.startswith("../"):
        shown = posixpath.normpath(posixpath.join(path, cleaned))
        if what:
            raise InvalidParameterError(f'invalid {what} "{shown}" -> "{os.fsdecode(name)}"')
        raise InvalidParameterError(f'"{os.fsdecode(name)}" is outside of "{path}"')
    return cleaned


def _refused(error: OSError, place: str) -> AiodError:
    if error.errno == errno.EROFS:
        return ForbiddenError(READ_ONLY_MOUNT)
    reason = (error.strerror or str(error)).lower()
    ours = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE)
    kind = InternalError if error.errno in ours else InvalidParameterError
    return kind(f"{place}: {reason}")


def is_read_only(root: int, path: str) -> bool:
    """Whether the mount that holds `path` is. Raises OSError."""
    with rooted.opened(root, os.fsencode(path), rooted.PATH) as found:
        return bool(os.fstatvfs(found).f_flag & os.ST_RDONLY)
