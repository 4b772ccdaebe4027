"""Blocking work in a thread that ends before its caller goes on, even when cancelled.

Must not know what the work is. Plain `asyncio.to_thread` abandons the thread on
cancellation; a thread that still writes to a directory somebody is about to delete is
what this module prevents.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_to_end(work: Callable[[threading.Event], T]) -> T:
    """Run `work(cancelled)` in a thread and wait for its end in every case.

    On cancellation the event is set, the thread's end awaited and its outcome dropped.
    """
    cancelled = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, cancelled))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancelled.set()
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise
