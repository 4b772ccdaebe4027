"""Takes containers away: wholly, whatever happens meanwhile.

Must not know HTTP, nor how a process is ended beyond its signal.
"""

import asyncio
import contextlib
import shutil

from aiod import failpoints
from aiod.config import Paths
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.happenings import event
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.pausing import Pauser
from aiod.errors import ConflictError, InternalError, UnsupportedError
from aiod.native import proc
from aiod.store.containers import ContainerRepository
from aiod.store.records import Intent, Status

REMOVE_INTENT = failpoints.declare("remove.intent-written")
FILES_REMOVED = failpoints.declare("remove.files-removed")
REMOVED = failpoints.declare("remove.recorded")


class Remover:
    """Removes one daemon's containers; `broken` holds records that cannot be read."""

    def __init__(
        self,
        paths: Paths,
        repository: ContainerRepository,
        directory: Directory,
        lifecycle: Lifecycle,
        pauser: Pauser,
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._directory = directory
        self._lifecycle = lifecycle
        self._pauser = pauser
        self.broken: set[str] = set()

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Take a container away; wholly, whatever happens meanwhile."""
        if link:
            raise UnsupportedError("link=1: removal of links is not supported by aiod yet")
        if reference in self.broken:
            await self._remove_broken(reference)
            return
        entry = self._directory.find(reference)
        state = entry.record.state
        busy = state.status in RUNNING or state.status is Status.RESTARTING
        if busy and not force:
            held = state.status.value
            advice = "unpause and then stop" if held == "paused" else "stop"
            raise ConflictError(
                f'cannot remove container "/{entry.record.name}": container is {held}: '
                f"{advice} the container before removing or force remove"
            )
        async with entry.verb:
            await self._remove(entry)

    async def _remove_broken(self, container_id: str) -> None:
        await self._repository.delete(container_id)
        await asyncio.to_thread(shutil.rmtree, self._paths.container(container_id), True)
        self.broken.discard(container_id)

    async def remove_ended(self, entry: Entry) -> None:
        """Remove what was to live only as long as it ran."""
        async with entry.verb:
            if entry.record.id in self._directory.by_id:
                await self._remove(entry)

    async def _remove(self, entry: Entry) -> None:
        if entry.retry is not None and entry.retry is not asyncio.current_task():
            entry.retry.cancel()
        state = entry.record.state
        await self._lifecycle.change(entry, (), intent=Intent.REMOVE, manually_stopped=True)
        failpoints.reach(REMOVE_INTENT)
        if state.status in RUNNING:
            if state.status is Status.PAUSED:
                with contextlib.suppress(InternalError):
                    await self._pauser.froze(entry, freeze=False)
            proc.send_signal(state.pid, state.pid_start, 9)
        if entry.run is not None and entry.run is not asyncio.current_task():
            await asyncio.wait((entry.run,))
        await self._lifecycle.change(entry, (), status=Status.REMOVING)
        own = self._paths.container(entry.record.id)
        await asyncio.to_thread(shutil.rmtree, own, True)
        failpoints.reach(FILES_REMOVED)
        await self._repository.delete(entry.record.id, (event(entry.record, "destroy"),))
        failpoints.reach(REMOVED)
        self._directory.drop(entry.record)
        for attachment in entry.pending:
            attachment.give_up()
        entry.announce("not-running", "next-exit", "removed")
