"""Starts containers again when their time has come, and gives it up when it is not wanted.

Owns the waiting; whether and when is `tasks.restart`'s. Must not know how one is started.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiod.containers.entries import Entry
from aiod.containers.ledger import Ledger
from aiod.containers.owned import OwnedTasks
from aiod.containers.states import Move
from aiod.errors import AiodError
from aiod.store.records import ContainerRecord, Status

log = logging.getLogger(__name__)

Start = Callable[[Entry, int, int], Awaitable[None]]
Needed = Callable[[ContainerRecord], Entry | None]
"""Which other container has to run for one to be started."""

_PATIENCE_SECONDS = 5.0  # dockerd's, with those that another needs


class Restarter:
    """All pending restarts; none begins before `allow`, which recovery calls when it is done."""

    def __init__(self, ledger: Ledger, tasks: OwnedTasks, start: Start, needed: Needed) -> None:
        self._ledger = ledger
        self._needed = needed
        self._tasks = tasks
        self._start = start
        self._allowed = asyncio.Event()

    def allow(self) -> None:
        """Begin with those that are due."""
        self._allowed.set()

    def schedule(self, entry: Entry) -> None:
        """Start it again when its time has come."""
        name = f"restart of {entry.record.id[:12]}"
        entry.retry = self._tasks.own(self._retry(entry), name)

    async def at_once(self, entry: Entry) -> None:
        """Start one that has ended, now."""
        count = entry.record.state.restart_count + 1
        await self._ledger.change(
            entry, Move.RETRY, next_restart_ns=time.time_ns(), restart_count=count
        )
        self.schedule(entry)

    async def _retry(self, entry: Entry) -> None:
        await self._allowed.wait()
        wait = (entry.record.state.next_restart_ns - time.time_ns()) / 1e9
        await asyncio.sleep(max(0.0, wait))
        needed = self._needed(entry.record)
        if needed is not None and needed.retry is not None and needed is not entry:
            await asyncio.wait((needed.retry,), timeout=_PATIENCE_SECONDS)
        async with entry.verb:
            state = entry.record.state
            if state.status is not Status.RESTARTING or entry.retry is not asyncio.current_task():
                return
            try:
                await self._start(entry, state.restart_count, state.restart_delay_ns)
            except AiodError as error:
                log.warning("container %s: restart: %s", entry.record.id[:12], error.message)

    async def give_up(self, entry: Entry, *events: str) -> None:
        """It stays as it ended; the caller holds `entry.verb`."""
        cancel(entry)
        await self._ledger.change(
            entry, Move.GIVE_UP, events, manually_stopped=True, next_restart_ns=0
        )
        entry.announce("not-running")


def cancel(entry: Entry) -> None:
    """Wait no more for the next start; a start under way goes on."""
    if entry.retry is not None and entry.retry is not asyncio.current_task():
        entry.retry.cancel()
