"""One client joined to a process: its output from a spool, its input to a pipe or a terminal.

Owns the pace of both directions; must not know gRPC's messages.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator

from aiod.shim.core import Spool, SpoolState
from aiod.shim.stdio import Stdio


class TooSlowError(Exception):
    """The reader lagged by more than a spool holds."""


async def write(streams: Stdio, data: bytes) -> None:
    """Write all, waiting while the process does not read; dropped when its input is closed."""
    view = memoryview(data)
    while view and streams.stdin >= 0:
        try:
            view = view[os.write(streams.stdin, view) :]
        except BlockingIOError:
            await _room(streams.stdin)
        except OSError:
            return


async def _room(descriptor: int) -> None:
    """Wait until it can be written to; meanwhile it may be closed, and its number be another's."""
    loop = asyncio.get_running_loop()
    room = asyncio.Event()
    watched = os.dup(descriptor)
    try:
        loop.add_writer(watched, room.set)
        try:
            await room.wait()
        finally:
            loop.remove_writer(watched)
    finally:
        os.close(watched)


async def chunks(spool: Spool) -> AsyncGenerator[tuple[int, bytes], None]:
    """The (stream, bytes) of a spool, to its end. Raises TooSlowError."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(spool.event_fd, news.set)
    try:
        while True:
            spool.clear_event()
            news.clear()
            state = spool.state()
            while found := await asyncio.to_thread(spool.read_some):
                # A process that writes little at a time would cost a message for each piece.
                for stream, pieces in itertools.groupby(found, key=lambda chunk: chunk[0]):
                    yield stream, b"".join(piece for _, piece in pieces)
            if state is SpoolState.CUT:
                raise TooSlowError
            if state is SpoolState.END:
                return
            await news.wait()
    finally:
        loop.remove_reader(spool.event_fd)
