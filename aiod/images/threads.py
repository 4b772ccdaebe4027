"""Blocking work in a thread that ends before its caller goes on, even when cancelled.

Must not know what the work is. Plain `asyncio.to_thread` abandons the thread on
cancellation; a thread that still writes to a directory somebody is about to delete is
what this module prevents. Every piece has a thread of its own, so that long ones never
keep the loop's few shared threads from the short work of other requests.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import IO, Any, TypeVar

T = TypeVar("T")


class Cancelled(Exception):  # noqa: N818  # no error: the caller asked for it
    """The thread was asked to stop."""


class Stoppable:
    """A reader that raises Cancelled once `stop` is set."""

    def __init__(self, source: IO[bytes], stop: threading.Event) -> None:
        self._source = source
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """As the source's."""
        if self._stop.is_set():
            raise Cancelled
        return self._source.read(size)


async def run_to_end(work: Callable[[threading.Event], T]) -> T:
    """Run `work(stop)` in a thread and wait for its end in every case.

    On cancellation `stop` is set, the thread's end awaited and its outcome dropped.
    """
    stop = threading.Event()
    future = _start(work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await _over(future)
        raise


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, and only then go on being cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _over(task)
        raise


async def stopped(task: "asyncio.Task[T]") -> None:
    """Have the task at its end, by cancelling it if it is not; its outcome is dropped."""
    task.cancel()
    await _over(task)


async def _over(future: "asyncio.Future[T]") -> None:
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((future,))
    if not future.cancelled():
        future.exception()


def _start(work: Callable[[threading.Event], T], stop: threading.Event) -> "asyncio.Future[T]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = work(stop)
        except BaseException as error:  # handed to whoever awaits
            loop.call_soon_threadsafe(future.set_exception, error)
        else:
            loop.call_soon_threadsafe(future.set_result, value)

    threading.Thread(target=run, name="aiod images", daemon=True).start()
    return future
