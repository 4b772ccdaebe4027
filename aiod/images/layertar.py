"""The tar format: headers of every dialect that layers come in.

Reads v7, ustar, PAX (POSIX.1-2001) and GNU tar, with the sparse formats of GNU tar
(old GNU, 0.0, 0.1 and 1.0) and xattrs in `SCHILY.xattr.` records. Works on a blocking
reader but touches no file system; must not judge whether a name is safe.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from aiod.errors import InvalidParameterError
from aiod.images.content import CHUNK, Reader

BLOCK = 512
_ZERO = bytes(BLOCK)
# The bound Go's archive/tar puts on extended headers and long names.
_SPECIAL_MAX = 1 << 20
_SPARSE_MAX = 1 << 20

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6",
)  # fmt: skip
_HEADER_ONLY = frozenset((HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO))
_OCTAL = re.compile(rb"[0-7]*")
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_XATTR = b"SCHILY.xattr."

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")


class TarError(InvalidParameterError):
    """The bytes are not a tar, or a damaged one."""


@dataclass(slots=True)
class TarEntry:
    """One member. `size` is the bytes that follow in the stream, `real_size` the file's.

    `segments` of a sparse file are (offset, length) of the data in it; None when the file
    is stored whole. `mtime_ns` is nanoseconds since the epoch.
    """

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    real_size: int
    mtime_ns: int
    major: int
    minor: int
    xattrs: dict[str, bytes] = field(default_factory=dict)
    segments: tuple[tuple[int, int], ...] | None = None


@dataclass(slots=True)
class _Extended:
    """What extended headers said about the member that follows."""

    pax: dict[bytes, bytes] = field(default_factory=dict)
    sparse_pairs: list[int] = field(default_factory=list)
    name: bytes | None = None
    link: bytes | None = None


class TarReader:
    """Iterates over the members of a tar; `read` gives the current member's bytes."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self._buffer = b""
        self._start = 0
        self.position = 0

    def __iter__(self) -> Iterator[TarEntry]:
        """Every member in order; raises TarError."""
        while (entry := self._next()) is not None:
            yield entry

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes of the current member, b"" at its end; raises TarError."""
        size = min(size, self._left)
        if size == 0:
            return b""
        data = self._some(size)
        self._left -= len(data)
        return data

    def read_all(self) -> bytes:
        """All that is left of the current member, which is small; raises TarError."""
        size, self._left = self._left, 0
        return self._exactly(size)

    def _some(self, size: int) -> bytes:
        """Between 1 and `size` bytes of the stream; raises TarError at its end."""
        available = len(self._buffer) - self._start
        if available:
            data = self._buffer[self._start : self._start + size]
            self._start += len(data)
        elif size >= CHUNK:
            data = self._source.read(size)
        else:
            self._buffer = self._source.read(CHUNK)
            data = self._buffer[:size]
            self._start = len(data)
        if not data:
            raise TarError("tar: unexpected end of archive")
        self.position += len(data)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._some(size) if size else b""
        while len(data) < size:
            data += self._some(size - len(data))
        return data

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(min(size, CHUNK)))

    def _block(self) -> bytes | None:
        """The next header block, or None at the end of the archive."""
        try:
            block = self._some(BLOCK)
        except TarError:
            return None
        if len(block) < BLOCK:
            block += self._exactly(BLOCK - len(block))
        return None if block == _ZERO else block

    def _next(self) -> TarEntry | None:
        extended = _Extended()
        while True:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
            block = self._block()
            if block is None:
                return None
            entry = _parse_header(block)
            if entry.kind in (b"x", b"g", b"L", b"K"):
                self._extend(extended, entry)
                continue
            self._complete(entry, block, extended)
            return entry

    def _extend(self, extended: _Extended, entry: TarEntry) -> None:
        if entry.size > _SPECIAL_MAX:
            raise TarError(f"tar: an extended header of {entry.size} bytes is too long")
        data = self._exactly(entry.size)
        self._skip(-entry.size % BLOCK)
        if entry.kind == b"x":
            _parse_pax(data, extended)
        elif entry.kind == b"L":
            extended.name = data.split(b"\0", 1)[0]
        elif entry.kind == b"K":
            extended.link = data.split(b"\0", 1)[0]
        # A global header ("g") says nothing about a layer; Docker ignores it as well.

    def _complete(self, entry: TarEntry, block: bytes, extended: _Extended) -> None:
        if extended.name is not None:
            entry.name = extended.name
        if extended.link is not None:
            entry.link = extended.link
        _apply_pax(entry, extended.pax)
        if entry.kind in (b"\0", b"7"):
            entry.kind = DIRECTORY if entry.name.endswith(b"/") else REGULAR
        if entry.kind in _HEADER_ONLY:
            entry.size = entry.real_size = 0
        self._left, self._padding = entry.size, -entry.size % BLOCK
        if entry.kind == b"S":
            entry.kind = REGULAR
            self._old_gnu_sparse(entry, block)
        elif entry.kind == REGULAR:
            self._pax_sparse(entry, extended)

    def _old_gnu_sparse(self, entry: TarEntry, block: bytes) -> None:
        """GNU tar manual, "Old GNU Format": maps may continue in further blocks."""
        numbers: list[int] = []
        _sparse_fields(block[386:482], numbers)
        real_size = _number(block[483:495])
        more = block[482]
        while more:
            extension = self._exactly(BLOCK)
            _sparse_fields(extension[:504], numbers)
            more = extension[504]
            if len(numbers) > 2 * _SPARSE_MAX:
                raise TarError("tar: too many holes in a sparse file")
        _set_sparse(entry, numbers, real_size, entry.size)

    def _pax_sparse(self, entry: TarEntry, extended: _Extended) -> None:
        """GNU tar manual, "PAX Format": versions 0.0, 0.1 and 1.0."""
        pax = extended.pax
        version = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
        if version == (b"1", b"0"):
            self._sparse_1_0(entry, pax)
            return
        if b"GNU.sparse.map" in pax:
            numbers = [_decimal(n) for n in pax[b"GNU.sparse.map"].split(b",") if n]
        elif b"GNU.sparse.numblocks" in pax:
            numbers = extended.sparse_pairs
        else:
            return
        entry.name = pax.get(b"GNU.sparse.name", entry.name)
        _set_sparse(entry, numbers, _decimal(pax.get(b"GNU.sparse.size", b"")), entry.size)

    def _sparse_1_0(self, entry: TarEntry, pax: dict[bytes, bytes]) -> None:
        entry.name = pax.get(b"GNU.sparse.name", entry.name)
        text, lines, wanted = b"", 0, 1
        while lines < wanted:
            if self._left < BLOCK:
                raise TarError("tar: the map of a sparse file is cut short")
            block = self._exactly(BLOCK)
            self._left -= BLOCK
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                count = _decimal(text.split(b"\n", 1)[0])
                if count > _SPARSE_MAX:
                    raise TarError("tar: too many holes in a sparse file")
                wanted += 2 * count
            elif not lines and len(text) > BLOCK:
                raise TarError("tar: the map of a sparse file is malformed")
        numbers = [_decimal(n) for n in text.split(b"\n")[1:wanted]]
        _set_sparse(entry, numbers, _decimal(pax.get(b"GNU.sparse.realsize", b"")), self._left)


def _parse_header(block: bytes) -> TarEntry:
    stored = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    if stored != unsigned and stored != _signed_sum(block):
        raise TarError("tar: invalid header: wrong checksum")
    (name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, major, minor, prefix) = (
        _HEADER.unpack(block)
    )
    name = name.split(b"\0", 1)[0]
    if magic.startswith(b"ustar\0"):
        prefix = prefix.split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    else:
        # In GNU headers these bytes are times and sparse maps, in v7 nothing.
        major, minor = (major, minor) if magic == b"ustar  \0" else (b"", b"")
    length = _natural(size)
    return TarEntry(
        name=name,
        kind=kind,
        link=link.split(b"\0", 1)[0],
        mode=_number(mode) & 0o7777,
        uid=_natural(uid),
        gid=_natural(gid),
        size=length,
        real_size=length,
        mtime_ns=_nanoseconds(_number(mtime) * 1_000_000_000),
        major=_natural(major),
        minor=_natural(minor),
    )


def _signed_sum(block: bytes) -> int:
    """Some historic tars summed signed bytes; POSIX tells readers to accept both."""
    signed: tuple[int, ...] = struct.unpack("512b", block)
    return sum(signed[:148]) + 8 * 32 + sum(signed[156:])


@lru_cache(4096)  # owners, modes and often times are the same in member after member
def _number(data: bytes) -> int:
    """Octal digits, or GNU's base-256 when the first bit is set."""
    if data and data[0] & 0x80:
        if data[0] == 0xFF:
            return int.from_bytes(data, "big", signed=True)
        return int.from_bytes(bytes((data[0] & 0x7F,)) + data[1:], "big")
    digits = data.strip(b" \0").split(b"\0", 1)[0]
    if not _OCTAL.fullmatch(digits):
        raise TarError(f"tar: invalid header: {data!r} is not a number")
    return int(digits, 8) if digits else 0


def _nanoseconds(value: int) -> int:
    """A time whose seconds the kernel's `struct timespec` can hold (timespec(3type))."""
    if not -1 << 63 <= value // 1_000_000_000 < 1 << 63:
        raise TarError("tar: a time is out of range")
    return value


def _natural(data: bytes) -> int:
    value = _number(data)
    if not 0 <= value < 1 << 63:
        raise TarError(f"tar: invalid header: {value} is out of range")
    return value


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or (value := int(text)) >= 1 << 63:
        raise TarError(f"tar: invalid extended header: {text[:32]!r} is not a size")
    return value


def _timestamp(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise TarError(f"tar: invalid extended header: {text[:32]!r} is not a time")
    nanoseconds = int((match[3] or b"")[:9].ljust(9, b"0"))
    value = int(match[2]) * 1_000_000_000 + nanoseconds
    return -value if match[1] else value


def _parse_pax(data: bytes, extended: _Extended) -> None:
    """Records of the form `length key=value newline`; repeated sparse records accumulate."""
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        end = position + length
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if length <= space + 1 - position or end > len(data) or data[end - 1] != 10 or not equals:
            raise TarError("tar: invalid extended header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            extended.sparse_pairs.append(_decimal(value))
        elif value or key.startswith(_XATTR):
            extended.pax[key] = value
        else:
            extended.pax.pop(key, None)
        position = end


def _apply_pax(entry: TarEntry, pax: dict[bytes, bytes]) -> None:
    for key, value in pax.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = entry.real_size = _decimal(value)
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = _nanoseconds(_timestamp(value))
        elif key.startswith(_XATTR):
            entry.xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value


def _sparse_fields(data: bytes, numbers: list[int]) -> None:
    for offset in range(0, len(data) - 23, 24):
        if not data[offset]:
            return
        numbers.append(_natural(data[offset : offset + 12]))
        numbers.append(_natural(data[offset + 12 : offset + 24]))


def _set_sparse(entry: TarEntry, numbers: list[int], real_size: int, stored: int) -> None:
    """Check a sparse map against the file's and the stored size, and attach it."""
    if len(numbers) % 2:
        raise TarError("tar: the map of a sparse file is malformed")
    segments: list[tuple[int, int]] = []
    end = total = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < end or offset + length > real_size:
            raise TarError("tar: the map of a sparse file is out of order or out of range")
        end = offset + length
        total += length
        if length:
            segments.append((offset, length))
    if total != stored:
        raise TarError("tar: the map of a sparse file does not match its data")
    entry.real_size = real_size
    entry.segments = tuple(segments)
