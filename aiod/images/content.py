"""The content store: blobs named by the sha256 of their bytes.

Owns `content/blobs/sha256` and the files in `content/ingest`. A blob is either whole and
on disk under its name, or not there, whatever instant the power fails: it is written and
synced under another name, then renamed, and the rename synced. Must not know what a blob
means or who needs it. Everything here but `ingest_file` blocks: call it from a thread.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from aiod import failpoints
from aiod.config import Paths
from aiod.errors import InternalError, InvalidParameterError, NotFoundError
from aiod.images.collect import Holds, Lease
from aiod.images.files import discard, sync_directory, write_all
from aiod.images.reference import is_sha256

CHUNK = 1 << 20

WRITTEN = failpoints.declare("content.written")
RENAMED = failpoints.declare("content.renamed")
CONDEMNED = failpoints.declare("collect.blob-condemned")


class Reader(Protocol):
    """Anything with a blocking `read(n)` that ends with b""."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that is in the store; `size` is in bytes."""

    digest: str
    size: int


class BlobWriter:
    """A blob in the making."""

    def __init__(self, file: IO[bytes], commit: Callable[[str], None]) -> None:
        self._file = file
        self._commit = commit
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._hash.update(data)
        write_all(self._file, data)
        self._size += len(data)

    def commit(self, expected: str | None = None) -> Blob:
        """Have it under its name. Raises InvalidParameterError unless that is `expected`."""
        digest = "sha256:" + self._hash.hexdigest()
        if expected is not None and digest != expected:
            raise InvalidParameterError(
                f"content does not match its digest: want {expected}, got {digest}"
            )
        self._commit(digest)
        return Blob(digest, self._size)


class ContentStore:
    """Blobs under `paths.blobs`, written through `paths.ingest`.

    With a lease, every blob that is written, found or opened is held in it. Nothing can be
    written without one.
    """

    def __init__(self, paths: Paths, lease: Lease | None = None) -> None:
        self._paths = paths
        self._blobs = paths.blobs
        self._ingest = paths.ingest
        self._lease = lease

    def leased(self, lease: Lease) -> "ContentStore":
        """The same store, holding what it touches."""
        return ContentStore(self._paths, lease)

    def prepare(self) -> None:
        """Make the directories and drop every unfinished ingest of an earlier process."""
        for directory in (self._blobs, self._ingest):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        discard(self._ingest.iterdir())

    def path(self, digest: str) -> Path:
        """The file of a blob; raises InvalidParameterError unless `digest` is a sha256."""
        if not is_sha256(digest):
            raise InvalidParameterError(f"unsupported digest {digest!r}: need sha256")
        return self._blobs / digest.removeprefix("sha256:")

    def size(self, digest: str) -> int | None:
        """Bytes of a blob, or None if it is not here."""
        self._hold(digest)
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> IO[bytes]:
        """A blob for reading; raises NotFoundError."""
        self._hold(digest)
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"blob {digest} is not in the content store") from error

    def read(self, digest: str, limit: int) -> bytes:
        """All of a small blob, verified.

        Raises NotFoundError, InvalidParameterError over `limit` bytes, and InternalError
        when the file does not match its name.
        """
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidParameterError(f"blob {digest} is larger than {limit} bytes")
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise InternalError(f"blob {digest} is damaged: its content has another digest")
        return data

    @contextlib.asynccontextmanager
    async def ingest_file(self) -> AsyncIterator[IO[bytes]]:
        """A scratch file, readable and writable, without a name: gone at its end or a crash's."""
        file = await asyncio.to_thread(self._scratch)
        try:
            yield file
        finally:
            # Freeing gigabytes takes the file system a while.
            await asyncio.shield(asyncio.to_thread(file.close))

    def _scratch(self) -> IO[bytes]:
        path = self._ingest / f"spool-{secrets.token_hex(8)}"
        file = path.open("x+b", buffering=0)
        path.unlink()
        return file

    def write(self, data: bytes) -> Blob:
        """Store bytes that are already in memory."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.size(digest) == len(data):
            return Blob(digest, len(data))
        with self.writing() as blob:
            blob.write(data)
            return blob.commit()

    def ingest(self, source: Reader, expected: str | None = None) -> Blob:
        """Copy a stream into the store, hashing while writing.

        Raises InvalidParameterError when the digest is not `expected`; then, and when
        `source` fails, nothing is left behind.
        """
        with self.writing() as blob:
            while chunk := source.read(CHUNK):
                blob.write(chunk)
            return blob.commit(expected)

    @contextlib.contextmanager
    def writing(self) -> Iterator["BlobWriter"]:
        """A blob piece by piece; without `commit` nothing is left of it."""
        path = self._ingest / f"blob-{secrets.token_hex(8)}"
        try:
            with path.open("xb", buffering=0) as file:
                yield BlobWriter(file, partial(self._commit, file, path))
        finally:
            path.unlink(missing_ok=True)

    def incoming_path(self) -> Path:
        """A new name for a blob that arrives piece by piece; its writer deletes or `adopt`s it."""
        return self._ingest / f"blob-{secrets.token_hex(8)}"

    def adopt(self, file: IO[bytes], path: Path, digest: str) -> None:
        """Make the file at `path`, whose content was found to be `digest`, that blob."""
        self._commit(file, path, digest)

    def _hold(self, digest: str) -> None:
        if self._lease is not None:
            self._lease.hold(digest)

    def _commit(self, file: IO[bytes], path: Path, digest: str) -> None:
        if self._lease is None:
            raise InternalError("a blob was to be written without a lease")
        self._lease.hold(digest)
        os.fsync(file.fileno())
        failpoints.reach(WRITTEN)
        os.rename(path, self.path(digest))
        failpoints.reach(RENAMED)
        sync_directory(self._blobs)

    def names(self) -> list[str]:
        """The digests of all blobs; also what is no blob but is where they are."""
        return [f"sha256:{entry}" for entry in sorted(os.listdir(self._blobs))]

    def is_blob(self, digest: str) -> bool:
        """Whether the name is one that a blob can have."""
        return is_sha256(digest)

    def remove(self, digest: str, holds: Holds) -> bool:
        """Take a blob away although it is owned, unless it is held; whether it is gone."""
        target = self._ingest / f"condemned-{secrets.token_hex(8)}"
        if not holds.unless_held(digest, partial(os.rename, self.path(digest), target)):
            return False
        discard([target])
        return True

    def condemn(self, owned: frozenset[str], holds: Holds) -> list[Path]:
        """Take every blob neither `owned` nor held, and whatever is no blob, out of the store.

        Returns what `discard` shall delete: unlinking big files takes its time.
        """
        doomed: list[Path] = []
        for entry in os.listdir(self._blobs):
            if f"sha256:{entry}" in owned:
                continue
            target = self._ingest / f"condemned-{secrets.token_hex(8)}"
            taken = holds.unless_held(
                f"sha256:{entry}", partial(os.rename, self._blobs / entry, target)
            )
            if taken:
                failpoints.reach(CONDEMNED)
                doomed.append(target)
        return doomed
