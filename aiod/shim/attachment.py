"""Input of clients joined to a process: to its pipe or terminal, at the pace at which it reads.

Owns the pace; must not know where the input comes from.
"""

import asyncio
import os
from collections.abc import Callable

from aiod.shim.stdio import Stdio

_LOOK_SECONDS = 1.0  # how often a client whose input is not read is looked for


def _never() -> bool:
    return False


async def write(streams: Stdio, data: bytes, given_up: Callable[[], bool] = _never) -> None:
    """Write all, waiting while the process does not read; dropped when its input is closed.

    A wait ends soon after `given_up` is true.
    """
    view = memoryview(data)
    while view and streams.stdin >= 0:
        try:
            view = view[os.write(streams.stdin, view) :]
        except BlockingIOError:
            if not await _room(streams.stdin) and given_up():
                return
        except OSError:
            return


async def _room(descriptor: int) -> bool:
    """Wait until it can be written to; meanwhile it may be closed, and its number be another's."""
    loop = asyncio.get_running_loop()
    room = asyncio.Event()
    watched = os.dup(descriptor)
    try:
        loop.add_writer(watched, room.set)
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await room.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_writer(watched)
    finally:
        os.close(watched)
    return True
