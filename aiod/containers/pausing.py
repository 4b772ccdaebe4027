"""Freezes containers and lets them go on.

Must not know how the freezer works.
"""

import asyncio

from aiod import failpoints
from aiod.containers.entries import Directory, Entry
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.states import Move
from aiod.errors import ConflictError, InternalError
from aiod.native.errors import NativeError
from aiod.store.records import Status

FROZEN = failpoints.declare("pause.frozen")
THAWED = failpoints.declare("unpause.thawed")


class Pauser:
    """Pause and unpause."""

    def __init__(self, directory: Directory, lifecycle: Lifecycle) -> None:
        self._directory = directory
        self._lifecycle = lifecycle

    async def pause(self, reference: str, *, held: bool = False) -> None:
        """Freeze every process; `held`: the next daemon is to let them go on."""
        entry = self._directory.find(reference)
        async with entry.verb:
            status = entry.record.state.status
            if status is Status.PAUSED:
                raise ConflictError(f"container {entry.record.id} is already paused")
            if status is not Status.RUNNING:
                raise ConflictError(f"container {entry.record.id} is not running")
            ledger = self._lifecycle.ledger
            if held:
                await ledger.change(entry, Move.NOTE, held=True)
            await self._froze(entry, freeze=True)
            failpoints.reach(FROZEN)
            await ledger.change(entry, Move.PAUSE, ("pause",), held=held)

    async def unpause(self, reference: str) -> None:
        """Let its processes go on."""
        entry = self._directory.find(reference)
        async with entry.verb:
            if entry.record.state.status is not Status.PAUSED:
                raise InternalError(f"container {entry.record.id} is not paused")
            await self._froze(entry, freeze=False)
            failpoints.reach(THAWED)
            await self._lifecycle.ledger.change(entry, Move.UNPAUSE, ("unpause",), held=False)

    async def _froze(self, entry: Entry, *, freeze: bool) -> None:
        """Freeze or thaw without a word to the record. Raises InternalError."""
        group = self._lifecycle.remnants.cgroup(entry.record.id)
        try:
            await asyncio.to_thread(group.freeze if freeze else group.thaw)
        except NativeError as error:
            raise InternalError(f"cannot {'pause' if freeze else 'unpause'}: {error}") from error
