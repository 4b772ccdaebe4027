"""Docker's multiplexed stream: eight bytes of header before each piece of output.

Sans-I/O: bytes in, frames out. Source: engine API 1.51, `ContainerAttach`, "Stream format".
Must not know where the bytes come from or go to.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

STDIN, STDOUT, STDERR, SYSTEM = 0, 1, 2, 3
HEADER_SIZE = 8
MAX_PAYLOAD = 0xFFFFFFFF

_HEADER = struct.Struct(">BxxxL")


class FrameError(Exception):
    """The bytes are no multiplexed stream."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One piece of one stream (0 stdin, 1 stdout, 2 stderr, 3 an error of the engine)."""

    stream: int
    data: bytes


def encode(stream: int, data: bytes) -> bytes:
    """Header and payload; ValueError for a payload beyond 4 GiB - 1."""
    if len(data) > MAX_PAYLOAD:
        raise ValueError("a frame holds less than 4 GiB")
    return _HEADER.pack(stream, len(data)) + data


class Decoder:
    """Cuts a byte stream into frames, however it is split on arrival."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames completed by `data`; FrameError for an unknown stream number."""
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            stream, size = _HEADER.unpack_from(self._buffer)
            if stream > SYSTEM:
                raise FrameError(f"stream number {stream} in a frame's header")
            if len(self._buffer) < HEADER_SIZE + size:
                return
            payload = bytes(self._buffer[HEADER_SIZE : HEADER_SIZE + size])
            del self._buffer[: HEADER_SIZE + size]
            yield Frame(stream, payload)

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame; not 0 at the end means a cut stream."""
        return len(self._buffer)
