"""Takes containers away: wholly, whatever happens meanwhile.

Must not know HTTP, nor how a process is ended beyond its signal.
"""

import asyncio
import shutil
from collections.abc import Callable

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import restarting
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.execs import Execs
from aiod.containers.happenings import event
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.states import Move
from aiod.errors import ConflictError, InvalidParameterError, NotFoundError, UnsupportedError
from aiod.store.containers import ContainerRepository
from aiod.store.records import Status
from aiod.volumes.happenings import destroyed
from aiod.volumes.service import VolumeService

REMOVE_INTENT = failpoints.declare("remove.intent-written")
MARKED = failpoints.declare("remove.marked")
FILES_REMOVED = failpoints.declare("remove.files-removed")
REMOVED = failpoints.declare("remove.recorded")


class Remover:
    """Removes one daemon's containers; `broken` has the names of records that cannot be read."""

    def __init__(
        self,
        paths: Paths,
        repository: ContainerRepository,
        volumes: VolumeService,
        directory: Directory,
        lifecycle: Lifecycle,
        execs: Execs,
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._volumes = volumes
        self._directory = directory
        self._lifecycle = lifecycle
        self._execs = execs
        self.broken: dict[str, str] = {}
        self.forget_networks: Callable[[str], None] = lambda _: None

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Take a container away; wholly, whatever happens meanwhile."""
        if link:
            raise UnsupportedError("link=1: removal of links is not supported by aiod yet")
        try:
            entry = self._directory.find(reference)
        except NotFoundError:
            await self._remove_broken(self._find_broken(reference))
            return
        _refuse_busy(entry, force)
        await self._lifecycle.tasks.whole(self._remove_unless_busy(entry, force, volumes))

    async def _remove_unless_busy(self, entry: Entry, force: bool, volumes: bool) -> None:
        entry.doomed += force
        try:
            if force and entry.verb.locked():
                # Whoever holds it may be waiting for the end, for ever if a stop was told so.
                await self._lifecycle.stopper.kill_for_removal(entry)
            async with entry.verb:
                if entry.record.id not in self._directory.by_id:
                    raise NotFoundError(f"No such container: {entry.record.id}")
                _refuse_busy(entry, force)  # it may have been started meanwhile
                await self._remove(entry, volumes)
        finally:
            entry.doomed -= force

    def _find_broken(self, reference: str) -> str:
        """As those that can be read are found. Raises NotFoundError."""
        wanted = reference.removeprefix("/")
        named = [id_ for id_, name in self.broken.items() if wanted in (id_, name)]
        found = named or [id_ for id_ in self.broken if wanted and id_.startswith(wanted)]
        if len(found) > 1:
            raise InvalidParameterError(f"multiple IDs found with provided prefix: {reference}")
        if not found:
            raise NotFoundError(f"No such container: {reference}")
        return found[0]

    async def _remove_broken(self, container_id: str) -> None:
        await self._repository.delete(container_id)
        await asyncio.to_thread(shutil.rmtree, self._paths.container(container_id), True)
        self.broken.pop(container_id, None)
        self.forget_networks(container_id)

    async def remove_ended(self, entry: Entry) -> None:
        """Remove what was to live only as long as it ran."""
        async with entry.verb:
            if entry.record.id in self._directory.by_id:
                await self._remove(entry, False)

    async def _remove(self, entry: Entry, volumes: bool) -> None:
        """With its unnamed volumes if that is asked for, or was; passing ones are always so."""
        restarting.cancel(entry)
        ledger = self._lifecycle.ledger
        volumes = volumes or entry.record.state.remove_volumes or entry.record.host.AutoRemove
        await ledger.change(entry, Move.BEGIN_REMOVE, manually_stopped=True, remove_volumes=volumes)
        failpoints.reach(REMOVE_INTENT)
        await self._lifecycle.stopper.kill_for_removal(entry)
        if entry.run is not None:
            await asyncio.wait((entry.run,))
        await ledger.change(entry, Move.REMOVE)
        failpoints.reach(MARKED)
        own = self._paths.container(entry.record.id)
        await asyncio.to_thread(shutil.rmtree, own, True)
        failpoints.reach(FILES_REMOVED)
        await self._forget(entry)
        self._execs.forget(entry.record.id)
        self.forget_networks(entry.record.id)
        for attachment in entry.pending:
            attachment.give_up()
        entry.announce("not-running", "next-exit", "removed")

    async def _forget(self, entry: Entry) -> None:
        """The record goes, and in one transaction with it those of its volumes that go, too."""
        record = entry.record
        own = [point.name for point in record.mounts if point.anonymous]
        names = own if record.state.remove_volumes else []
        async with self._volumes.leaving(names, record.id) as leaving:
            events = [*destroyed(leaving), event(record, "destroy")]
            await self._repository.delete(record.id, events, leaving)
            failpoints.reach(REMOVED)
            self._directory.drop(record)


def _refuse_busy(entry: Entry, force: bool) -> None:
    held = entry.record.state.status
    if force or not (held in RUNNING or held is Status.RESTARTING):
        return
    advice = "unpause and then stop" if held is Status.PAUSED else "stop"
    raise ConflictError(
        f'cannot remove container "/{entry.record.name}": container is {held.value}: '
        f"{advice} the container before removing or force remove"
    )
