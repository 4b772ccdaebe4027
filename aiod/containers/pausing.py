"""Freezes containers and lets them go on.

Must not know how the freezer works.
"""

import asyncio

from aiod.containers.entries import Directory, Entry
from aiod.containers.lifecycle import Lifecycle
from aiod.errors import ConflictError, InternalError
from aiod.native.errors import NativeError
from aiod.store.records import Status


class Pauser:
    """Pause and unpause."""

    def __init__(self, directory: Directory, lifecycle: Lifecycle) -> None:
        self._directory = directory
        self._lifecycle = lifecycle

    async def pause(self, reference: str) -> None:
        """Freeze every process."""
        entry = self._directory.find(reference)
        async with entry.verb:
            status = entry.record.state.status
            if status is Status.PAUSED:
                raise ConflictError(f"container {entry.record.id} is already paused")
            if status is not Status.RUNNING:
                raise ConflictError(f"container {entry.record.id} is not running")
            await self.froze(entry, freeze=True)
            await self._lifecycle.change(entry, ("pause",), status=Status.PAUSED)

    async def unpause(self, reference: str) -> None:
        """Let its processes go on."""
        entry = self._directory.find(reference)
        async with entry.verb:
            if entry.record.state.status is not Status.PAUSED:
                raise InternalError(f"container {entry.record.id} is not paused")
            await self.froze(entry, freeze=False)
            await self._lifecycle.change(entry, ("unpause",), status=Status.RUNNING)

    async def froze(self, entry: Entry, *, freeze: bool) -> None:
        """Freeze or thaw without a word to the record. Raises InternalError."""
        group = self._lifecycle.cgroup(entry)
        try:
            await asyncio.to_thread(group.freeze if freeze else group.thaw)
        except NativeError as error:
            raise InternalError(f"cannot {'pause' if freeze else 'unpause'}: {error}") from error
