"""Output that was taken over for a reader who has not read it yet.

Owns where it is kept: in memory, and beyond a megabyte in a file without a name, of which
nothing is left when the daemon ends, however it ends. Must not know who reads it, or why late.
"""

import tempfile
import threading
from pathlib import Path

from aiod.tasks.shim_calls import Chunk

_IN_MEMORY = 1 << 20
_LENGTH = 4


class HeldOutput:
    """Chunks in their order, written by one and read by another; its calls block.

    A thread may still be in one when it is closed: `_using` keeps them apart.
    """

    def __init__(self, directory: Path) -> None:
        self._using = threading.Lock()
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(directory))  # noqa: SIM115
        self._read = 0
        self._written = 0

    def append(self, chunk: Chunk) -> None:
        """Keep a chunk; dropped once closed. Raises OSError when the disk is full."""
        header = bytes((chunk.stream,)) + len(chunk.data).to_bytes(_LENGTH, "big")
        with self._using:
            if self._file.closed:
                return
            self._file.seek(self._written)
            self._file.write(header + chunk.data)
            self._written = self._file.tell()

    def pop(self) -> Chunk | None:
        """The next chunk, None after the last."""
        with self._using:
            if self._file.closed or self._read == self._written:
                return None
            self._file.seek(self._read)
            stream, *length = self._file.read(1 + _LENGTH)
            data = self._file.read(int.from_bytes(bytes(length), "big"))
            self._read = self._file.tell()
            return Chunk(stream, data)

    def close(self) -> None:
        """Give back what it takes; nothing is to be read any more."""
        with self._using:
            self._file.close()
