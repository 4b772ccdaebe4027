"""Blocking readers as asynchronous streams of chunks, reading one chunk ahead.

Must not know what is read. Whoever takes the chunks slowly makes the reading slow: there
are never more than two in memory.
"""

import asyncio
from collections.abc import AsyncGenerator

from aiod.images.content import CHUNK, Reader
from aiod.images.threads import run_to_end, stopped


async def chunks(reader: Reader, size: int = CHUNK) -> AsyncGenerator[bytes, None]:
    """What `reader` gives, up to `size` bytes at a time; nobody reads any more after its end.

    Raises what `reader` raises.
    """
    task = _read(reader, size)
    try:
        while data := await task:
            task = _read(reader, size)
            yield data
    finally:
        await stopped(task)


class Span:
    """The next `count` bytes of a reader, as a reader."""

    def __init__(self, source: Reader, count: int) -> None:
        self._source = source
        self._left = count

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        data = self._source.read(min(size, self._left))
        self._left -= len(data)
        return data


def _read(reader: Reader, size: int) -> "asyncio.Task[bytes]":
    return asyncio.ensure_future(run_to_end(lambda stop: reader.read(size)))
