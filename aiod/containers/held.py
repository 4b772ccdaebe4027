"""Output that was taken over for a reader who has not read it yet.

Owns where it is kept: in memory, and beyond a megabyte in a file without a name, of which
nothing is left when the daemon ends, however it ends. Must not know who reads it, or why late.
"""

import tempfile
import threading
from pathlib import Path

_IN_MEMORY = 1 << 20
_PIECE = 65536


class HeldOutput:
    """Bytes in their order, written by one and read by another; its calls block.

    A thread may still be in one when it is closed: `_using` keeps them apart.
    """

    def __init__(self, directory: Path) -> None:
        self._using = threading.Lock()
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(directory))  # noqa: SIM115
        self._read = 0
        self._written = 0

    def append(self, data: bytes) -> None:
        """Keep a piece; dropped once closed. Raises OSError when the disk is full."""
        with self._using:
            if self._file.closed:
                return
            self._file.seek(self._written)
            self._file.write(data)
            self._written = self._file.tell()

    def pop(self) -> bytes | None:
        """The next piece, None after the last."""
        with self._using:
            if self._file.closed or self._read == self._written:
                return None
            self._file.seek(self._read)
            data = self._file.read(min(_PIECE, self._written - self._read))
            self._read = self._file.tell()
            return data

    def close(self) -> None:
        """Give back what it takes; nothing is to be read any more."""
        with self._using:
            self._file.close()
