"""What an unpacked layer was when it was made, as one digest.

Owns the digest of a tree: names, kinds, modes, owners, times, sizes, devices, link targets,
hard links, xattrs, and a checksum of every file's content. It finds rot, not malice: only root
can write there, and a CRC takes a third of sha256's time while the data passes by anyway. Must
not know where trees are or what they are for. Blocks.
"""

import errno
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

CHUNK = 1 << 20
_ZERO = bytes(CHUNK)
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = struct.Struct("<QI")

Sums = Mapping[int, int]  # checksums of regular files by inode


class ContentSum:
    """A checksum of a file that holes and zeros make no difference to.

    It is over the numbers and bytes, up to the last that is not zero, of those chunks of a
    mebibyte that are not all zeros, so that a file of terabytes of nothing takes no time, and
    a small one no more than its bytes.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._chunk = 0
        self._end = 0
        self._crc = 0

    def update(self, offset: int, data: bytes) -> None:
        """The next bytes, at an offset not below the end of those before."""
        position = 0
        while position < len(data):
            chunk = (offset + position) // CHUNK
            if chunk != self._chunk:
                self._next(chunk)
            start = (offset + position) % CHUNK
            size = min(CHUNK - start, len(data) - position)
            piece = data if size == len(data) else data[position : position + size]
            self._piece(start, piece)
            position += size

    def _piece(self, start: int, piece: bytes) -> None:
        if not piece[-1]:  # zeros count once something follows
            if piece == _ZERO[: len(piece)]:
                return
            piece = piece.rstrip(b"\0")
        if start > self._end:
            self._crc = zlib.crc32(_ZERO[: start - self._end], self._crc)
        self._crc = zlib.crc32(piece, self._crc)
        self._end = start + len(piece)

    def _next(self, chunk: int) -> None:
        if self._end:
            self._sum = zlib.crc32(_CHUNK.pack(self._chunk, self._crc), self._sum)
        self._chunk, self._end, self._crc = chunk, 0, 0

    def value(self) -> int:
        """Of all bytes so far; nothing can be added any more."""
        self._next(self._chunk + 1)
        return self._sum


def file_sum(path: bytes, check: Callable[[], None]) -> int:
    """The checksum of a file that is there; `check` is called now and then, and may raise."""
    total = ContentSum()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for start, end in _data(descriptor):
            offset = start
            while offset < end and (data := os.pread(descriptor, CHUNK, offset)):
                total.update(offset, data)
                offset += len(data)
                check()
    finally:
        os.close(descriptor)
    return total.value()


def _data(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file has data (lseek(2), SEEK_DATA)."""
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def digest(root: str, sums: Sums | None = None, check: Callable[[], None] = lambda: None) -> str:
    """The digest of the tree at `root`; content is read where `sums` does not know the inode."""
    total = hashlib.sha256()
    for path, facts in entries(root, sums, check):
        total.update(b"%d:%s%s\n" % (len(path), path, facts))
    return "sha256:" + total.hexdigest()


def entries(
    root: str, sums: Sums | None = None, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[bytes, bytes]]:
    """Every path below `root`, in a fixed order, and all that is known of what is there."""
    yield from _Walk(sums or {}, check).entries(os.fsencode(root), b"")


class _Walk:
    """One walk; `links` are the first names of files that have several."""

    def __init__(self, sums: Sums, check: Callable[[], None]) -> None:
        self._sums = sums
        self._check = check
        self._links: dict[int, bytes] = {}

    def entries(self, path: bytes, shown: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        status = os.lstat(path)
        yield shown, self._facts(path, shown, status)
        if not stat.S_ISDIR(status.st_mode):
            return
        # Names below it by the open directory, as whole paths may be longer than PATH_MAX.
        descriptor = os.open(path, _OPEN_DIR)
        try:
            for name in sorted(map(os.fsencode, os.listdir(descriptor))):
                below = b"/proc/self/fd/%d/%s" % (descriptor, name)
                yield from self.entries(below, shown + b"/" + name)
        finally:
            os.close(descriptor)

    def _facts(self, path: bytes, shown: bytes, status: os.stat_result) -> bytes:
        mode = status.st_mode
        if not stat.S_ISDIR(mode) and status.st_nlink > 1:
            first = self._links.setdefault(status.st_ino, shown)
            if first != shown:
                return b" =" + first
        size = 0 if stat.S_ISDIR(mode) else status.st_size
        facts = b" %o %d %d %d %d %d" % (
            mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, status.st_rdev,
        )  # fmt: skip
        if stat.S_ISREG(mode):
            known = self._sums.get(status.st_ino)
            facts += b" %08x" % (file_sum(path, self._check) if known is None else known)
        elif stat.S_ISLNK(mode):
            facts += b" " + os.readlink(path)
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            value = os.getxattr(path, key, follow_symlinks=False)
            facts += b" %s=%s" % (os.fsencode(key), value.hex().encode())
        return facts
