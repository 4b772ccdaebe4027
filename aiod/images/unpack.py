"""Applying a layer's tar to an empty directory, in the form overlayfs wants.

Owns the rules of what a layer may do: every name is resolved below the directory, one
component at a time and never through a symbolic link, so that no tar, however hostile,
reaches anything else. Whiteouts become device 0:0 and opaque directories an xattr
(kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
Must not know where the tar came from. Blocks: call from a thread.
"""

import errno
import logging
import os
import shutil
import stat
import threading
from dataclasses import dataclass, field

from aiod.errors import AiodError, InternalError, InvalidParameterError
from aiod.images import layertar
from aiod.images.compression import Limits
from aiod.images.content import CHUNK, Reader
from aiod.images.layertar import TarEntry, TarReader
from aiod.images.threads import Cancelled
from aiod.images.trees import ContentSum, Sums
from aiod.native.file import make_file

logger = logging.getLogger(__name__)

OPAQUE_XATTR = "trusted.overlay.opaque"
_WHITEOUT = b".wh."
_AUFS = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_NAME_MAX = 4096
_BLOCK = 4096
_LOOK_EVERY = 1 << 20  # bytes between two looks at the free space
DEPTH_MAX = 255
_SMALL = CHUNK  # bytes of a file that is made in one go
_REMEMBERED = 32  # directories open at a time
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# The machine's fault, or the daemon's; every other errno is provoked by the tar.
_OURS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EPERM, errno.EACCES,
     errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)  # fmt: skip


def split_name(name: bytes, what: str = "entry") -> tuple[bytes, ...]:
    """The components of a member's name relative to the layer; () is the layer itself.

    A leading `/` or `./` is harmless and dropped. Raises InvalidParameterError for names
    that point upwards or that no file system takes.
    """
    shown = name[:200].decode("utf-8", "backslashreplace")
    if b"\0" in name:
        raise InvalidParameterError(f"{what} {shown!r} refused: its name has a zero byte")
    if len(name) > _NAME_MAX:
        raise InvalidParameterError(f"{what} {shown!r}… refused: its name is too long")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise InvalidParameterError(f'{what} {shown!r} refused: its name contains ".."')
    if len(parts) > DEPTH_MAX:
        raise InvalidParameterError(f"{what} {shown!r} refused: it is nested too deeply")
    return parts


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The bytes of the files of a layer, and the checksum of each by its inode."""

    size: int
    sums: Sums


def unpack(source: Reader, directory: str, limits: Limits, cancelled: threading.Event) -> Unpacked:
    """Apply the tar to `directory`, which must be empty.

    Raises InvalidParameterError with the reason when the tar is damaged, hostile or beyond
    the limits, InternalError when the machine cannot store it, and Cancelled. What was
    written by then stays for the caller to delete.
    """
    tree = _Tree(os.open(directory, _OPEN_DIR))
    try:
        return _Unpacker(tree, limits, cancelled).run(TarReader(source))
    finally:
        tree.close()


class _Tree:
    """Directories below a root, opened without following any link.

    Remembers the last directory and some of those above it, because tars list neighbours
    together. Nobody else writes to the tree, and nothing removes a remembered directory: what
    is removed is below the one opened last.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._parts: tuple[bytes, ...] = ()
        self._open = {0: root}  # by depth; the deepest is that of `_parts`

    def close(self) -> None:
        """Close every directory."""
        for fd in self._open.values():
            os.close(fd)

    def open(self, parts: tuple[bytes, ...], *, create: bool) -> int:
        """A descriptor, valid until the next call, of the directory named by `parts`."""
        depth = self._return_to(parts)
        while depth < len(parts):
            below = self._step(self._open[depth], parts, depth, create=create)
            depth += 1
            self._open[depth], self._parts = below, parts[:depth]
            if depth > _REMEMBERED:
                self._forget(depth - _REMEMBERED)
        return self._open[depth]

    def _return_to(self, parts: tuple[bytes, ...]) -> int:
        """Go up to what `parts` has in common with where we are; returns how deep that is."""
        known, depth = self._parts, 0
        for ours, wanted in zip(known, parts, strict=False):
            if ours != wanted:
                break
            depth += 1
        if depth not in self._open:
            depth = 0
        for deeper in range(depth + 1, len(known) + 1):
            self._forget(deeper)
        self._parts = parts[:depth]
        return depth

    def _forget(self, depth: int) -> None:
        if (fd := self._open.pop(depth, None)) is not None:
            os.close(fd)

    def _step(self, fd: int, parts: tuple[bytes, ...], depth: int, *, create: bool) -> int:
        name = parts[depth]
        try:
            return os.open(name, _OPEN_DIR, dir_fd=fd)
        except OSError as error:
            if error.errno == errno.ENOENT and create:
                return _make_parent(fd, name)
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if create and is_whiteout(status):
            os.unlink(name, dir_fd=fd)
            below = _make_parent(fd, name)
            os.setxattr(below, OPAQUE_XATTR, b"y")
            return below
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a directory"
        raise InvalidParameterError(f"refused: its parent {_show(parts[: depth + 1])} is {what}")


def _make_parent(fd: int, name: bytes) -> int:
    os.mkdir(name, 0o755, dir_fd=fd)
    below = os.open(name, _OPEN_DIR, dir_fd=fd)
    os.fchmod(below, 0o755)
    return below


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this file for "nothing here"."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _show(parts: tuple[bytes, ...]) -> str:
    return repr(b"/".join(parts).decode("utf-8", "backslashreplace"))


@dataclass(slots=True)
class _Unpacker:
    """One run over one tar."""

    tree: _Tree
    limits: Limits
    cancelled: threading.Event
    stored: int = 0
    logical: int = 0
    times: dict[tuple[bytes, ...], int] = field(default_factory=dict)
    sums: dict[int, int] = field(default_factory=dict)
    unlooked: int = 0

    def run(self, tar: TarReader) -> Unpacked:
        for count, entry in enumerate(tar, 1):
            if count > self.limits.entries:
                raise InvalidParameterError(
                    f"layer refused: more than the limit of {self.limits.entries} entries"
                )
            if self.cancelled.is_set():
                raise Cancelled
            self._look_at_space(entry.size)
            self._guarded(entry, tar)
        self._set_directory_times()
        return Unpacked(self.logical, self.sums)

    def _look_at_space(self, coming: int) -> None:
        """Now and then: an entry takes about a block however small it is."""
        self.unlooked += coming + _BLOCK
        if self.unlooked < _LOOK_EVERY:
            return
        self.unlooked = 0
        disk = os.fstatvfs(self.tree.root)
        kept = min(self.limits.reserve, disk.f_blocks * disk.f_frsize // 20)
        if disk.f_bavail * disk.f_frsize - coming < kept:
            raise InternalError(
                f"layer refused: no space left on device but {kept >> 20} MiB that are kept free"
            )

    def _guarded(self, entry: TarEntry, tar: TarReader) -> None:
        """Apply one entry; every failure names it."""
        shown = repr(entry.name[:200].decode("utf-8", "backslashreplace"))
        try:
            self._apply(entry, tar)
        except OSError as error:
            kind = InternalError if error.errno in _OURS else InvalidParameterError
            raise kind(f"layer entry {shown}: {error.strerror}") from error
        except AiodError as error:
            if shown in error.message:
                raise
            raise type(error)(f"layer entry {shown}: {error.message}") from error

    def _apply(self, entry: TarEntry, tar: TarReader) -> None:
        parts = split_name(entry.name)
        if not parts:
            self._root(entry)
            return
        if parts[0].startswith(_AUFS) and parts[0] != _OPAQUE:
            return  # AUFS bookkeeping, which Docker skips as well
        parent, name = parts[:-1], parts[-1]
        if name == _OPAQUE:
            os.setxattr(self.tree.open(parent, create=True), OPAQUE_XATTR, b"y")
        elif name.startswith(_WHITEOUT):
            self._whiteout(self.tree.open(parent, create=True), name, entry)
        elif entry.kind == layertar.DIRECTORY:
            self._directory(parts, entry)
        elif entry.kind == layertar.HARDLINK:
            self._hard_link(parts, entry)
        else:
            self._file(self.tree.open(parent, create=True), name, entry, tar)

    def _root(self, entry: TarEntry) -> None:
        """As Docker, leave the layer's own directory as it is: root's, and open to all.

        Its mode in a tar is that of whatever scratch directory the tar was made from.
        """
        if entry.kind != layertar.DIRECTORY:
            raise InvalidParameterError("refused: it would replace the root directory")

    def _whiteout(self, fd: int, name: bytes, entry: TarEntry) -> None:
        """Hide what a lower layer has; what this very layer has under the name stays."""
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise InvalidParameterError("refused: a whiteout must name a file")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=fd)
        except FileExistsError:
            status = os.stat(hidden, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.setxattr(_by_name(fd, hidden), OPAQUE_XATTR, b"y", follow_symlinks=False)
            return
        os.chown(hidden, _owner(entry.uid), _owner(entry.gid), dir_fd=fd, follow_symlinks=False)

    def _directory(self, parts: tuple[bytes, ...], entry: TarEntry) -> None:
        fd, name = self.tree.open(parts[:-1], create=True), parts[-1]
        opaque = False
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                opaque = is_whiteout(status)
                os.unlink(name, dir_fd=fd)
                os.mkdir(name, 0o755, dir_fd=fd)
        below = self.tree.open(parts, create=False)
        if opaque:
            os.setxattr(below, OPAQUE_XATTR, b"y")
        _set_owner_and_mode(below, entry)
        self.times[parts] = entry.mtime_ns

    def _hard_link(self, parts: tuple[bytes, ...], entry: TarEntry) -> None:
        target = split_name(entry.link, "hard link target")
        if not target:
            raise InvalidParameterError("refused: a hard link to the root directory")
        try:
            source = os.dup(self.tree.open(target[:-1], create=False))
        except FileNotFoundError as error:
            raise _no_target(target) from error
        try:
            fd = self.tree.open(parts[:-1], create=True)
            if target != parts:
                self._remove(fd, parts[-1])
            os.link(target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError as error:
            raise _no_target(target) from error
        except PermissionError as error:
            raise InvalidParameterError("refused: a hard link to a directory") from error
        finally:
            os.close(source)

    def _file(self, fd: int, name: bytes, entry: TarEntry, tar: TarReader) -> None:
        if entry.kind == layertar.REGULAR:
            self._regular(fd, name, entry, tar)
            return
        try:
            _make_special(fd, name, entry)
        except FileExistsError:
            self._remove(fd, name)
            _make_special(fd, name, entry)
        os.chown(name, _owner(entry.uid), _owner(entry.gid), dir_fd=fd, follow_symlinks=False)
        for key, value in entry.xattrs.items():
            _set_xattr(_by_name(fd, name), key, value)
        if entry.kind != layertar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=fd)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)

    def _regular(self, fd: int, name: bytes, entry: TarEntry, tar: TarReader) -> None:
        self.logical += entry.real_size
        self.stored += entry.size
        if self.stored > self.limits.size:
            raise InvalidParameterError(
                f"layer refused: its files hold more than the limit of {self.limits.size} bytes"
            )
        if entry.segments is None and entry.size <= _SMALL and not entry.xattrs:
            self._small(fd, name, entry, tar.read_all())
            return
        try:
            file = os.open(name, _CREATE, 0o600, dir_fd=fd)
        except FileExistsError:
            self._remove(fd, name)
            file = os.open(name, _CREATE, 0o600, dir_fd=fd)
        total = ContentSum()
        try:
            if entry.segments is None:
                self._copy(tar, file, 0, entry.size, total)
            else:
                os.ftruncate(file, entry.real_size)
                for offset, length in entry.segments:
                    self._copy(tar, file, offset, length, total)
            _set_owner_and_mode(file, entry)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
            self.sums[os.fstat(file).st_ino] = total.value()
        finally:
            os.close(file)

    def _small(self, fd: int, name: bytes, entry: TarEntry, data: bytes) -> None:
        total = ContentSum()
        total.update(0, data)
        owner = _owner(entry.uid), _owner(entry.gid)
        try:
            inode = make_file(fd, name, data, owner, entry.mode, entry.mtime_ns)
        except FileExistsError:
            self._remove(fd, name)
            inode = make_file(fd, name, data, owner, entry.mode, entry.mtime_ns)
        self.sums[inode] = total.value()

    def _copy(self, tar: TarReader, file: int, offset: int, length: int, total: ContentSum) -> None:
        end = offset + length
        while offset < end:
            data = tar.read(min(CHUNK, end - offset))
            total.update(offset, data)
            while data:
                written = os.pwrite(file, data, offset)
                offset += written
                data = data[written:]
            if self.cancelled.is_set():
                raise Cancelled

    def _remove(self, fd: int, name: bytes) -> None:
        """Make room for a later entry of the same name in the directory opened last."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(os.fsdecode(name), dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)

    def _set_directory_times(self) -> None:
        """Last, because every file made in a directory touches it."""
        for parts, mtime_ns in self.times.items():
            try:
                fd = self.tree.open(parts, create=False)
            except (FileNotFoundError, InvalidParameterError):
                continue  # a later entry replaced the directory
            os.utime(fd, ns=(mtime_ns, mtime_ns))


def _no_target(target: tuple[bytes, ...]) -> InvalidParameterError:
    return InvalidParameterError(f"refused: hard link target {_show(target)} is not in the layer")


def _make_special(fd: int, name: bytes, entry: TarEntry) -> None:
    if entry.kind == layertar.SYMLINK:
        if not entry.link or b"\0" in entry.link:
            raise InvalidParameterError("refused: a symbolic link without a target")
        os.symlink(entry.link, name, dir_fd=fd)
    elif entry.kind == layertar.FIFO:
        os.mkfifo(name, 0o600, dir_fd=fd)
    elif entry.kind in (layertar.CHARACTER, layertar.BLOCKDEV):
        kind = stat.S_IFCHR if entry.kind == layertar.CHARACTER else stat.S_IFBLK
        if entry.major >= 1 << 12 or entry.minor >= 1 << 20:
            raise InvalidParameterError("refused: a device number is out of range")
        os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=fd)
    else:
        raise InvalidParameterError(f"refused: unknown type {entry.kind!r}")


def _set_owner_and_mode(fd: int, entry: TarEntry) -> None:
    """Owner first: changing it clears set-id bits and file capabilities."""
    os.fchown(fd, _owner(entry.uid), _owner(entry.gid))
    os.fchmod(fd, entry.mode)
    for key, value in entry.xattrs.items():
        _set_xattr(fd, key, value)


def _owner(number: int) -> int:
    if number >= (1 << 32) - 1:
        raise InvalidParameterError(f"refused: owner {number} is out of range")
    return number


def _by_name(fd: int, name: bytes) -> bytes:
    """A path for calls that take no directory descriptor; `name` is one component."""
    return b"/proc/self/fd/%d/%s" % (fd, name)


def _set_xattr(target: int | bytes, key: str, value: bytes) -> None:
    if key.startswith("trusted.overlay."):
        # It would let a layer rearrange what other layers show.
        raise InvalidParameterError(f"refused: xattr {key!r} belongs to the file system")
    try:
        if isinstance(target, int):
            os.setxattr(target, key, value)
        else:
            os.setxattr(target, key, value, follow_symlinks=False)
    except OSError as error:
        # As Docker: an xattr this file system cannot hold does not spoil the image.
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        logger.warning("xattr %s not kept: %s", key, error.strerror)
    except ValueError as error:
        raise InvalidParameterError(f"refused: xattr name {key!r} has a zero byte") from error
