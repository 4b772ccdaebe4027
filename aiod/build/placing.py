"""Puts files into a tree that may hold others already, as Docker's builder does.

Owns what gives way to what: directories merge, everything else is replaced. Names are
resolved below the root, through links there but never out of it. Blocking; must not know
where files come from.
"""

import errno
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable

from aiod.build.beneath import Owner, make_directories, resolve, status
from aiod.errors import InvalidParameterError
from aiod.images import layertar
from aiod.images.content import CHUNK
from aiod.images.layertar import TarEntry
from aiod.images.threads import Cancelled
from aiod.images.unpack import split_name

logger = logging.getLogger(__name__)

Read = Callable[[int], bytes]
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = Owner()


class Placer:
    """Places entries below one directory, which is `root`'s to close."""

    def __init__(self, root: int, cancelled: threading.Event) -> None:
        self._root = root
        self._cancelled = cancelled
        self._times: dict[bytes, int] = {}
        self._known: tuple[tuple[bytes, ...], bytes] = ((), b"")

    def place(self, entry: TarEntry, read: Read) -> None:
        """Put one entry under its name; a regular file's bytes come from `read`.

        Raises InvalidParameterError for what no tree can hold.
        """
        if self._cancelled.is_set():
            raise Cancelled
        names = split_name(entry.name)
        if not names:
            return
        path = self._within(names[:-1]) + names[-1]
        found = status(self._root, path)
        both = found and stat.S_ISDIR(found.st_mode) and entry.kind == layertar.DIRECTORY
        if found is not None and not both:
            self._remove(path, found)
        self._make(path, entry, read, exists=bool(both))

    def finish(self) -> None:
        """Give directories their times, which every file made in them touched."""
        for path, mtime_ns in self._times.items():
            found = status(self._root, path)
            if found is not None and stat.S_ISDIR(found.st_mode):
                os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=self._root)

    def _within(self, names: tuple[bytes, ...]) -> bytes:
        """The prefix, `` or with a slash at its end, of the directory `names` leads to."""
        if self._known[0] == names and names:
            return self._known[1]
        if not names:
            return b""
        path = resolve(self._root, b"/".join(names))
        make_directories(self._root, path, _ROOT)
        self._known = (names, b"" if path == b"." else path + b"/")
        return self._known[1]

    def _remove(self, path: bytes, found: os.stat_result) -> None:
        self._known = ((), b"")
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(os.fsdecode(path), dir_fd=self._root)
        else:
            os.unlink(path, dir_fd=self._root)

    def _make(self, path: bytes, entry: TarEntry, read: Read, *, exists: bool) -> None:
        try:
            if entry.kind == layertar.DIRECTORY:
                self._directory(path, entry, exists=exists)
            elif entry.kind == layertar.HARDLINK:
                self._hard_link(path, entry)
            elif entry.kind == layertar.REGULAR:
                self._regular(path, entry, read)
            else:
                self._special(path, entry)
        except (FileNotFoundError, PermissionError, ValueError, OverflowError) as error:
            shown = os.fsdecode(entry.name[:200])
            raise InvalidParameterError(f"{shown}: {error}") from error

    def _directory(self, path: bytes, entry: TarEntry, *, exists: bool) -> None:
        if not exists:
            os.mkdir(path, 0o755, dir_fd=self._root)
        self._finish_file(path, entry)
        self._times[path] = entry.mtime_ns

    def _hard_link(self, path: bytes, entry: TarEntry) -> None:
        target = split_name(entry.link, "hard link target")
        source = self._within(target[:-1]) + target[-1]
        os.link(source, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
        found = status(self._root, path)
        if found is not None and not stat.S_ISLNK(found.st_mode):
            self._finish_file(path, entry)  # as dockerd, to which the last name's is right

    def _regular(self, path: bytes, entry: TarEntry, read: Read) -> None:
        file = os.open(path, _CREATE, 0o600, dir_fd=self._root)
        try:
            os.ftruncate(file, entry.real_size)
            segments = ((0, entry.size),) if entry.segments is None else entry.segments
            for offset, length in segments:
                self._copy(read, file, offset, length)
        finally:
            os.close(file)
        self._finish_file(path, entry)

    def _copy(self, read: Read, file: int, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            data = read(min(CHUNK, end - offset))
            if not data:
                raise InvalidParameterError("a file has become shorter while it was copied")
            while data:
                written = os.pwrite(file, data, offset)
                offset += written
                data = data[written:]
            if self._cancelled.is_set():
                raise Cancelled

    def _special(self, path: bytes, entry: TarEntry) -> None:
        if entry.kind == layertar.SYMLINK:
            os.symlink(entry.link, path, dir_fd=self._root)
        elif entry.kind == layertar.FIFO:
            os.mkfifo(path, 0o600, dir_fd=self._root)
        elif entry.kind in (layertar.CHARACTER, layertar.BLOCKDEV):
            kind = stat.S_IFCHR if entry.kind == layertar.CHARACTER else stat.S_IFBLK
            device = os.makedev(entry.major, entry.minor)
            if kind == stat.S_IFCHR and not device:
                raise InvalidParameterError("device 0:0 is overlayfs's sign of a removed file")
            os.mknod(path, kind | 0o600, device, dir_fd=self._root)
        else:
            raise InvalidParameterError(f"unhandled tar header type {entry.kind!r}")
        self._finish_file(path, entry)

    def _finish_file(self, path: bytes, entry: TarEntry) -> None:
        """Owner first: changing it clears set-id bits and file capabilities."""
        link = entry.kind == layertar.SYMLINK
        os.chown(path, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
        for key, value in entry.xattrs.items():
            self._set_xattr(path, key, value)
        if not link:
            os.chmod(path, entry.mode, dir_fd=self._root)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(path, ns=times, dir_fd=self._root, follow_symlinks=False)

    def _set_xattr(self, path: bytes, key: str, value: bytes) -> None:
        if key.startswith("trusted."):
            raise InvalidParameterError(f"xattr {key!r} belongs to the file system")
        try:
            place = b"/proc/self/fd/%d/%s" % (self._root, path)
            os.setxattr(place, key, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            logger.warning("xattr %s not kept: %s", key, error.strerror)
