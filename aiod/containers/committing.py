"""Makes images of containers, as `docker commit` does.

Owns which configuration the image gets, and that the container holds still meanwhile if that is
asked for. Must not know how layers are written.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.files import mountpoints
from aiod.containers.happenings import event
from aiod.containers.merge import merged
from aiod.containers.pausing import Pauser
from aiod.containers.roots import Roots
from aiod.errors import ConflictError
from aiod.images.config import RunConfig
from aiod.images.deriving import Step
from aiod.images.dockerfile import runconfig
from aiod.images.model import ImageRecord
from aiod.images.reference import parse
from aiod.images.service import ImageService
from aiod.store.events import EventLog
from aiod.store.models import ContainerConfig
from aiod.store.records import ContainerRecord, Status

HELD = failpoints.declare("commit.held")


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """What is asked of the image; `config` None for the container's own."""

    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: Sequence[str] = ()
    config: ContainerConfig | None = None


class Committer:
    """Makes images of one daemon's containers."""

    def __init__(
        self,
        paths: Paths,
        directory: Directory,
        roots: Roots,
        images: ImageService,
        events: EventLog,
        pauser: Pauser,
    ) -> None:
        self._paths = paths
        self._directory = directory
        self._roots = roots
        self._images = images
        self._events = events
        self._pauser = pauser

    async def commit(self, reference: str, options: CommitOptions) -> ImageRecord:
        """An image of what the container has written, named if a name is asked for.

        Raises InvalidParameterError for a name or changes that cannot be; ConflictError for a
        container that is going.
        """
        entry = self._directory.find(reference)
        _refuse_gone(entry)
        if options.repository:
            parse(f"{options.repository}:{options.tag}" if options.tag else options.repository)
        run = run_config(entry.record, options)
        async with self._still(entry, pause=options.pause) as record:
            image = await self._derive(record, run, options)
        name = ""
        if options.repository:
            await self._images.tag(image.id, options.repository, options.tag)
            named = parse(options.repository)
            name = f"{named.familiar_name}:{options.tag or named.tag or 'latest'}"
        told = event(entry.record, "commit", comment=options.comment, imageID=image.id,
                     imageRef=name)  # fmt: skip
        await self._events.append((told,))
        return image

    async def _derive(
        self, record: ContainerRecord, run: RunConfig, options: CommitOptions
    ) -> ImageRecord:
        base = self._images.find(record.image_id)
        write = await asyncio.to_thread(self._roots.commit, record)
        step = Step(run, as_run(record.config), options.author, options.comment, record.id)
        return await self._images.derive(base, step, write)

    @asynccontextmanager
    async def _still(self, entry: Entry, *, pause: bool) -> AsyncIterator[ContainerRecord]:
        """What rests is not started meanwhile; what runs is frozen, if asked for."""
        if entry.record.state.status not in RUNNING:
            async with entry.verb:
                if entry.record.state.status not in RUNNING:
                    await asyncio.to_thread(self._settle, entry.record)
                    yield entry.record
                    return
        if not pause or entry.record.state.status is Status.PAUSED:
            yield entry.record
            return
        with suppress(ConflictError):  # it has just ended, or was paused
            await self._pauser.pause(entry.record.id, held=True)
        failpoints.reach(HELD)
        try:
            yield entry.record
        finally:
            await asyncio.shield(self._thaw(entry))

    async def _thaw(self, entry: Entry) -> None:
        if entry.record.state.status is Status.PAUSED:
            await self._pauser.unpause(entry.record.id)

    def _settle(self, record: ContainerRecord) -> None:
        self._roots.prepare(record)  # of one that was never started
        own = self._paths.container(record.id)
        written = own / ("upper" if record.snapshotter == "overlay" else "root")
        if written.is_dir():
            mountpoints.leave_out(written, self._roots.layers(record))


def run_config(record: ContainerRecord, options: CommitOptions) -> RunConfig:
    """What the image is to say: as asked, changed, and filled in from the container."""
    asked = as_run(options.config or record.config)
    changed = runconfig.changed(asked, options.changes)
    back = msgspec.convert(msgspec.to_builtins(changed), ContainerConfig)
    return as_run(merged(back, as_run(record.config)))


def as_run(config: ContainerConfig) -> RunConfig:
    """A container's configuration as an image's."""
    plain = msgspec.structs.replace(config, Cmd=config.command, Entrypoint=config.entrypoint)
    return msgspec.convert(msgspec.to_builtins(plain), RunConfig)


def _refuse_gone(entry: Entry) -> None:
    status = entry.record.state.status
    if status in (Status.DEAD, Status.REMOVING):
        what = "Dead" if status is Status.DEAD else "being removed"
        raise ConflictError(f"You cannot commit container {entry.record.id} which is {what}")
