"""Reads a container's log while its shim writes it: what was asked for, and what comes.

Owns the selection and the waiting; must not know whether the container runs: the caller's
event says when no more will come.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from aiod.containers.logfiles import LogFiles
from aiod.containers.logformats import FORMATS, LogEntry
from aiod.containers.options import LogOptions

__all__ = ["LogEntry", "Page", "read"]

Page = list[LogEntry]
"""Entries that follow each other, of one block of a file: what a reader has in memory."""

_LOOK_SECONDS = 0.1  # inotify may be exhausted on a host; a look costs one read and one stat


class _Wanted:
    """Which entries are asked for. As in Docker, `tail` is counted before the rest is applied."""

    def __init__(self, options: LogOptions) -> None:
        self._streams = {n for n, on in ((1, options.stdout), (2, options.stderr)) if on}
        self._since = options.since_ns or 0
        self._until = options.until_ns or 2**63 - 1

    def __call__(self, entry: LogEntry) -> bool:
        return entry.stream in self._streams and self._since <= entry.time_ns <= self._until

    def over(self) -> bool:
        """Whether no entry of the future can be one of them."""
        return time.time_ns() > self._until


async def read(
    path: Path, options: LogOptions, ended: asyncio.Event, driver: str = "json-file"
) -> AsyncGenerator[Page, None]:
    """The entries asked for; with `follow` until `ended` is set and all has been read.

    Nothing is read ahead of who takes them. `driver` is one of `logformats.FORMATS`.
    """
    wanted = _Wanted(options)
    files = await asyncio.to_thread(
        LogFiles, path, FORMATS[driver], tail=options.tail, follow=options.follow
    )
    with contextlib.closing(files):
        while True:
            # Before the look: what came before the end is seen by a look after it.
            last = ended.is_set() or not options.follow or wanted.over()
            entries = await asyncio.to_thread(files.take)
            if page := list(filter(wanted, entries or ())):
                yield page
            if entries is not None:
                continue
            if last:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await ended.wait()
