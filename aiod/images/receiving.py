"""A blob that arrives piece by piece: written, hashed, and read from while it grows.

Must not know where it comes from. Everything here blocks; a follower reads in a thread of
its own while another one writes.
"""

import hashlib
import os
import threading
from typing import IO

from aiod.errors import InvalidParameterError
from aiod.images.content import ContentStore
from aiod.images.files import write_all
from aiod.images.threads import Cancelled

_PATIENCE = 0.2  # seconds after which a waiting follower looks whether it is still wanted


class Incoming:
    """One blob of known digest and size on its way into the store.

    `begin` makes its file; one of `finish` and `abandon` must be called at the end.
    """

    def __init__(self, content: ContentStore, digest: str, size: int) -> None:
        self._content = content
        self._digest = digest
        self._size = size
        self._path = content.incoming_path()
        self._file: IO[bytes] | None = None
        self._hasher = hashlib.sha256()
        self._moved = threading.Condition()
        self._whole = self._stored = self._failed = False
        self.written = 0

    def begin(self) -> None:
        """Make the file."""
        self._file = self._path.open("x+b", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        """Append. Raises InvalidParameterError when there is more than there should be."""
        if self.written + len(data) > self._size:
            raise InvalidParameterError(
                f"blob {self._digest} is larger than the {self._size} bytes it should have"
            )
        assert self._file is not None
        self._hasher.update(data)
        write_all(self._file, data)
        with self._moved:
            self.written += len(data)
            self._moved.notify_all()

    def finish(self) -> None:
        """Verify and put into the store. Raises InvalidParameterError for what is another blob."""
        got = "sha256:" + self._hasher.hexdigest()
        if self.written != self._size or got != self._digest:
            raise InvalidParameterError(
                f"filesystem layer verification failed for digest {self._digest}: "
                f"{self.written} of {self._size} bytes have digest {got}"
            )
        with self._moved:
            self._whole = True
            self._moved.notify_all()
        assert self._file is not None
        self._content.adopt(self._file, self._path, self._digest)
        with self._moved:
            self._stored = True
            self._file.close()

    def abandon(self) -> None:
        """Leave nothing; whoever follows is ended."""
        with self._moved:
            self._failed = True
            self._moved.notify_all()
            if self._file is not None:
                self._file.close()
        self._path.unlink(missing_ok=True)

    def follow(self, stop: threading.Event) -> "Follower | None":
        """A reader from the beginning on; None when the blob is in the store already.

        Raises Cancelled when it has failed.
        """
        with self._moved:
            if self._failed:
                raise Cancelled
            if self._stored:
                return None
            assert self._file is not None
            return Follower(self, os.dup(self._file.fileno()), stop)

    def wait_beyond(self, offset: int, stop: threading.Event) -> int:
        """How many bytes there are, once that is more than `offset` or all. Raises Cancelled."""
        with self._moved:
            while not (self._failed or stop.is_set()):
                if self.written > offset or self._whole:
                    return self.written
                self._moved.wait(_PATIENCE)
        raise Cancelled


class Follower:
    """Reads what is there, waits for more, ends with the verified end. For one thread."""

    def __init__(self, incoming: Incoming, descriptor: int, stop: threading.Event) -> None:
        self._incoming = incoming
        self._descriptor = descriptor
        self._stop = stop
        self._offset = 0

    def read(self, size: int = -1, /) -> bytes:
        """As a file's `read1`. Raises Cancelled when the blob fails or `stop` is set."""
        there = self._incoming.wait_beyond(self._offset, self._stop) - self._offset
        data = os.pread(self._descriptor, there if size < 0 else min(size, there), self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
