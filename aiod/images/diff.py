"""What a container wrote, as a layer: the tar of an overlay's upper directory.

Owns the way back from overlayfs' form to the tar's: whiteouts become `.wh.NAME`, opaque
directories get `.wh..wh..opq` (OCI image-spec, `layer.md`). The same tree gives the same bytes;
times are whole seconds, as Docker writes them. Links are never followed, so that a container
that still runs can show nothing of the host's. Must not know what the layer is for. Blocks,
but for `store_diff`.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiod.errors import InternalError, InvalidParameterError
from aiod.images import layertar
from aiod.images.content import CHUNK, Blob
from aiod.images.layertar import TarEntry
from aiod.images.loading import Stores, unpack_layer
from aiod.images.model import LayerRecord, chain_id
from aiod.images.tarwriter import TarWriter
from aiod.images.threads import Cancelled, run_to_end
from aiod.images.unpack import DEPTH_MAX, OPAQUE_XATTR, is_whiteout

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_OVERLAY = "trusted.overlay."
_REDIRECTS = frozenset({"trusted.overlay.redirect", "trusted.overlay.metacopy"})
# Of this host and none of the image's.
_HOSTS = frozenset({"security.selinux", "security.ima", "security.evm"})
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# It is another thing than a moment ago: open(2) of a link that was a file, of no directory, or of
# a socket; readlink(2) of what is none.
_CHANGED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EINVAL})
_LOOKS = 3
_KINDS = {
    stat.S_IFLNK: layertar.SYMLINK, stat.S_IFCHR: layertar.CHARACTER,
    stat.S_IFBLK: layertar.BLOCKDEV, stat.S_IFIFO: layertar.FIFO,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredDiff:
    """A new layer, stored and unpacked; `size` is the bytes of its files."""

    layer: LayerRecord
    size: int


async def store_diff(
    stores: Stores, parent: str | None, write: Callable[[TarWriter, threading.Event], None]
) -> StoredDiff:
    """Store the layer that `write` writes on top of the chain `parent`, and unpack it.

    `stores` are leased ones: the layer stays until the lease's end. Raises what `write` does.
    """

    def ingest(stop: threading.Event) -> Blob:
        with stores.content.writing() as blob:
            tar = TarWriter(blob.write)
            write(tar, stop)
            tar.close()
            return blob.commit()

    blob = await run_to_end(ingest)
    chain = chain_id(parent, blob.digest)
    size = await unpack_layer(stores, blob.digest, chain, blob.digest)
    layer = LayerRecord(blob.digest, chain, blob.digest, LAYER_TYPE, blob.size)
    return StoredDiff(layer, size)


def write_upper(upper: Path, tar: TarWriter, cancelled: threading.Event) -> None:
    """Every entry of an overlay's upper directory, but for its root.

    What a container that goes on takes away meanwhile is left out, and a file that it cuts short
    ends in zeros. Raises InvalidParameterError for what no layer can hold, InternalError for what
    cannot be read, and Cancelled.
    """
    UpperWriter(tar, cancelled).root(upper)


Parts = tuple[bytes, ...]


class UpperWriter:
    """One walk; directories in the order of their names' bytes.

    `wanted`, `removed` and `is_removal` are for trees that say otherwise what changed.
    """

    def __init__(self, tar: TarWriter, cancelled: threading.Event) -> None:
        self.tar = tar
        self.cancelled = cancelled
        self.links: dict[tuple[int, int], bytes] = {}

    def wanted(self, parts: Parts) -> bool:
        """Whether it belongs to the layer."""
        return True

    def removed(self, parts: Parts) -> Iterable[bytes]:
        """Names that are gone from a directory, beyond those that whiteouts in it tell."""
        return ()

    def is_removal(self, status: os.stat_result) -> bool:
        """Whether a file stands for one that is gone."""
        return is_whiteout(status)

    def open_file(self, fd: int, name: bytes) -> int:
        """To read a regular file of a directory."""
        return os.open(name, _OPEN_FILE, dir_fd=fd)

    def read(self, fd: int, size: int) -> bytes:
        """The next bytes of a regular file; none at its end."""
        return os.read(fd, size)

    def root(self, path: Path) -> None:
        """All below it."""
        fd = os.open(path, _OPEN_DIR)
        self._whiteouts(os.fstat(fd), ())
        self.directory(fd, ())

    def _whiteouts(self, status: os.stat_result, parts: Parts) -> None:
        for name in sorted(self.removed(parts)):
            self._mark(status, (*parts, b".wh." + name))

    def directory(self, fd: int, parts: Parts) -> None:
        """Everything below `fd`, which is closed at the end."""
        if len(parts) > DEPTH_MAX:
            raise InvalidParameterError(f"{_shown(parts)}: nested too deeply for a layer")
        try:
            for name in sorted(map(os.fsencode, os.listdir(fd))):
                if self.cancelled.is_set():
                    raise Cancelled
                if self.wanted((*parts, name)):
                    self._guarded(fd, (*parts, name))
        finally:
            os.close(fd)

    def _guarded(self, fd: int, parts: Parts) -> None:
        """An entry, unless it vanishes, or is another thing whenever it is looked at."""
        for _ in range(_LOOKS):
            try:
                self._entry(fd, parts)
            except FileNotFoundError:
                self._forget(parts)
            except OSError as error:
                if error.errno not in _CHANGED:
                    raise InternalError(f"{_shown(parts)}: {error.strerror}") from error
                self._forget(parts)
                continue
            return

    def _forget(self, parts: Parts) -> None:
        """No later name can be a link to one that the layer has not."""
        if self.links and next(reversed(self.links.values())) == b"/".join(parts):
            self.links.popitem()

    def _entry(self, fd: int, parts: Parts) -> None:
        name = parts[-1]
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if self.is_removal(status):
            self._mark(status, (*parts[:-1], b".wh." + name))
        elif stat.S_ISDIR(status.st_mode):
            self._subdirectory(os.open(name, _OPEN_DIR, dir_fd=fd), parts)
        elif (known := self._linked(status, parts)) is not None:
            entry = _described(status, parts, layertar.HARDLINK)
            entry.link = known
            self.tar.add(entry)
        elif stat.S_ISREG(status.st_mode):
            self._regular(self.open_file(fd, name), parts)
        elif not stat.S_ISSOCK(status.st_mode):  # which has no life without its process
            self._special(fd, status, parts)

    def _linked(self, status: os.stat_result, parts: Parts) -> bytes | None:
        """The first name of the same file, if there was one before."""
        if status.st_nlink < 2:
            return None
        key = (status.st_dev, status.st_ino)
        known = self.links.get(key)
        if known is None:
            self.links[key] = b"/".join(parts)
        return known

    def _subdirectory(self, fd: int, parts: Parts) -> None:
        try:
            status = os.fstat(fd)
            xattrs = dict(_xattrs(fd))
            if _REDIRECTS & xattrs.keys():
                raise InternalError(f"{_shown(parts)}: the overlay was mounted with redirects")
            entry = _described(status, parts, layertar.DIRECTORY)
            entry.xattrs = _images(xattrs)
            self.tar.add(entry)
            if xattrs.get(OPAQUE_XATTR) == b"y":
                self._mark(status, (*parts, b".wh..wh..opq"))
            self._whiteouts(status, parts)
        except BaseException:
            os.close(fd)
            raise
        self.directory(fd, parts)

    def _mark(self, status: os.stat_result, parts: Parts) -> None:
        entry = _described(status, parts, layertar.REGULAR)
        entry.mode = 0
        self.tar.add(entry)

    def _regular(self, fd: int, parts: Parts) -> None:
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            xattrs = dict(_xattrs(fd))
            if _REDIRECTS & xattrs.keys():
                raise InternalError(f"{_shown(parts)}: the overlay was mounted with metacopy")
            entry = _described(status, parts, layertar.REGULAR)
            entry.size = entry.real_size = status.st_size
            entry.xattrs = _images(xattrs)
            self.tar.add(entry)
            self._copy(fd, status.st_size)
        finally:
            os.close(fd)

    def _copy(self, fd: int, left: int) -> None:
        while left:
            data = self.read(fd, min(CHUNK, left)) or bytes(min(CHUNK, left))
            if self.cancelled.is_set():
                raise Cancelled
            self.tar.data(data)
            left -= len(data)
        self.tar.end_entry()

    def _special(self, fd: int, status: os.stat_result, parts: Parts) -> None:
        entry = _described(status, parts, _KINDS[stat.S_IFMT(status.st_mode)])
        entry.xattrs = _images(dict(_xattrs(b"/proc/self/fd/%d/%s" % (fd, parts[-1]))))
        if entry.kind == layertar.SYMLINK:
            entry.link = os.readlink(parts[-1], dir_fd=fd)
        elif entry.kind in (layertar.CHARACTER, layertar.BLOCKDEV):
            entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        self.tar.add(entry)


def _described(status: os.stat_result, parts: Parts, kind: bytes) -> TarEntry:
    seconds = status.st_mtime_ns // 10**9
    return TarEntry(
        b"/".join(parts), kind, b"", stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
        0, 0, seconds * 10**9, 0, 0,
    )  # fmt: skip


def _xattrs(target: int | bytes) -> Iterator[tuple[str, bytes]]:
    follow = isinstance(target, int)  # a descriptor is no link
    for key in os.listxattr(target, follow_symlinks=follow):
        try:
            value = os.getxattr(target, key, follow_symlinks=follow)
        except OSError as error:
            if error.errno != errno.ENODATA:  # it has just been taken away
                raise
        else:
            yield key, value


def _images(xattrs: dict[str, bytes]) -> dict[str, bytes]:
    """Those that belong to the image."""
    return {
        key: value
        for key, value in xattrs.items()
        if not key.startswith(_OVERLAY) and key not in _HOSTS
    }


def _shown(parts: Parts) -> str:
    return repr(b"/".join(parts).decode("utf-8", "backslashreplace"))
