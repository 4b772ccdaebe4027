"""Bytes handed between a thread and the loop, a few pieces at a time, in both directions.

Whoever is slow makes the other wait: there are never more than `_AHEAD` pieces in memory. Must
not know what the bytes are.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import TypeVar

from aiod.errors import InvalidParameterError
from aiod.images.threads import Cancelled, run_to_end, stopped

T = TypeVar("T")
Write = Callable[[bytes], None]

_AHEAD = 2
SILENCE = 60.0  # seconds without a byte after which a sender is given up


async def produced(work: Callable[[Write, threading.Event], None]) -> AsyncGenerator[bytes, None]:
    """What `work` writes, in a thread of its own, which ends when nobody reads any more.

    Raises what `work` raises, after all that was written before.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    room, gone = threading.Semaphore(_AHEAD), threading.Event()

    def write(data: bytes) -> None:
        room.acquire()
        if gone.is_set():
            raise Cancelled
        loop.call_soon_threadsafe(pieces.put_nowait, data)

    def run(stop: threading.Event) -> None:
        try:
            work(write, gone)
        finally:
            loop.call_soon_threadsafe(pieces.put_nowait, None)

    task = asyncio.ensure_future(run_to_end(run))
    try:
        while (piece := await pieces.get()) is not None:
            room.release()
            if piece:
                yield piece
        await task
    finally:
        gone.set()
        room.release()
        await stopped(task)


class _Taken:
    """A body as a blocking reader, for one thread."""

    def __init__(self, body: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._body = aiter(body)
        self._loop = loop
        self._rest = b""
        self._waiting: asyncio.Task[bytes] | None = None
        self._closed = False

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if not self._rest:
            self._rest = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _next(self) -> bytes:
        if self._closed:
            raise Cancelled
        self._waiting = asyncio.ensure_future(self._piece())
        try:
            async with asyncio.timeout(SILENCE):
                return await self._waiting
        except TimeoutError:
            raise InvalidParameterError(
                f"the request's body did not go on within {SILENCE:g} s"
            ) from None
        except asyncio.CancelledError:
            raise Cancelled from None

    async def _piece(self) -> bytes:
        async for data in self._body:
            if data:
                return data
        return b""

    def close(self) -> None:
        """Give nothing any more."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()


async def consumed(body: AsyncIterable[bytes], work: Callable[[_Taken, threading.Event], T]) -> T:
    """Run `work` in a thread, over a reader of `body`; returns what it does, or raises it.

    Raises InvalidParameterError if the sender is silent for too long.
    """
    taken = _Taken(body, asyncio.get_running_loop())
    task = asyncio.ensure_future(run_to_end(lambda stop: work(taken, stop)))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        taken.close()
        await stopped(task)
        raise
