"""Reading compressed layers and archives as plain bytes.

Owns the recognition of gzip, zstd, bzip2 and xz by their first bytes, and the limits that
stop a bomb while it unfolds. Must not know what the bytes are. Blocks: call from a thread.
"""

import bz2
import hashlib
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib

from aiod.errors import InvalidParameterError
from aiod.images.content import CHUNK, Reader

# Its stub takes the class for an instance.
_GZIP_ERROR = cast("type[Exception]", igzip_lib.IsalError)
_XZ_MEMORY = 128 << 20
_ZSTD_WINDOW = 128 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer or archive may unfold to.

    `size` is bytes of plain data, `entries` members of a tar. `ratio` bounds plain over
    compressed bytes, but only once `ratio_floor` plain bytes have been seen, because a few
    megabytes of zeros are honest and compress a thousandfold. `reserve` is the bytes, but at
    most a twentieth of the file system, that unpacking leaves free for records and containers.
    """

    size: int = 64 << 30
    entries: int = 4_000_000
    ratio: int = 200
    ratio_floor: int = 1 << 30
    reserve: int = 256 << 20


class _Decompressor(Protocol):
    """The interface that bz2, lzma and igzip objects share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _CountingReader:
    """Counts the bytes read through it, after giving back those already peeked at."""

    def __init__(self, source: Reader, head: bytes) -> None:
        self._source = source
        self._head = head
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(size)
        self.count += len(data)
        return data


class _Inflater:
    """Concatenated members of one compression format as one stream of plain bytes."""

    def __init__(self, source: Reader, factory: Callable[[], _Decompressor]) -> None:
        self._source = source
        self._factory = factory
        self._decoder = factory()

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof:
                if not (rest := self._next_member()):
                    return b""
                self._decoder = self._factory()
            elif self._decoder.needs_input:
                if not (rest := self._source.read(CHUNK)):
                    raise EOFError("compressed data ends too early")
            else:
                rest = b""
            if data := self._decoder.decompress(rest, size):
                return data

    def _next_member(self) -> bytes:
        """The first bytes after a member; zero padding at the end is no member."""
        rest = self._decoder.unused_data or self._source.read(CHUNK)
        while rest and not rest.strip(b"\0"):
            rest = self._source.read(CHUNK)
        return rest


class PlainReader:
    """The plain bytes of a possibly compressed stream, hashed and bounded.

    `read` raises InvalidParameterError for damaged data and for data beyond the limits;
    `what` is the noun used in those messages.
    """

    def __init__(self, source: Reader, limits: Limits, *, what: str, digest: bool = True) -> None:
        head = _peek(source)
        self._raw = _CountingReader(source, head)
        self._plain, self.compressed = _decoder(self._raw, head)
        self._limits = limits
        self._what = what
        self._hash = hashlib.sha256() if digest else None
        self.count = 0

    @property
    def consumed(self) -> int:
        """Bytes taken from the compressed source so far."""
        return self._raw.count

    @property
    def digest(self) -> str:
        """sha256 of the plain bytes read so far."""
        assert self._hash is not None
        return "sha256:" + self._hash.hexdigest()

    def read(self, size: int, /) -> bytes:
        """Up to `size` plain bytes, b"" at the end."""
        try:
            data = self._plain.read(size)
        except (_GZIP_ERROR, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
            raise InvalidParameterError(f"{self._what}: damaged: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise InvalidParameterError(f"{self._what}: damaged: {error}") from error
        self.count += len(data)
        if self._hash is not None:
            self._hash.update(data)
        self._check()
        return data

    def drain(self) -> None:
        """Read to the end, so that the digest covers every byte."""
        while self.read(CHUNK):
            pass

    def _check(self) -> None:
        limits = self._limits
        if self.count > limits.size:
            raise InvalidParameterError(
                f"{self._what}: unpacks to more than the limit of {limits.size} bytes"
            )
        if (
            self.compressed
            and self.count > limits.ratio_floor
            and self.count > limits.ratio * self._raw.count
        ):
            raise InvalidParameterError(
                f"{self._what}: unpacks to more than {limits.ratio} times its compressed size"
            )


def is_compressed(file: IO[bytes]) -> bool:
    """Whether a seekable file is in a format that is unpacked here; leaves it at its start."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    return any(head.startswith(magic) for magic in _MAGICS)


def _peek(source: Reader) -> bytes:
    head = b""
    while len(head) < _HEAD and (more := source.read(_HEAD - len(head))):
        head += more
    return head


def _gzip() -> _Decompressor:
    """Verifies the checksum and the length at a member's end."""
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _zstd(raw: _CountingReader) -> Reader:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return decompressor.stream_reader(cast("IO[bytes]", raw), read_across_frames=True)


_HEAD = 6
_MAGICS: dict[bytes, Callable[[_CountingReader], Reader]] = {
    b"\x1f\x8b\x08": lambda raw: _Inflater(raw, _gzip),
    b"\x28\xb5\x2f\xfd": _zstd,
    b"BZh": lambda raw: _Inflater(raw, bz2.BZ2Decompressor),
    b"\xfd7zXZ\x00": lambda raw: _Inflater(raw, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
}


def _decoder(raw: _CountingReader, head: bytes) -> tuple[Reader, bool]:
    for magic, factory in _MAGICS.items():
        if head.startswith(magic):
            return factory(raw), True
    return raw, False
