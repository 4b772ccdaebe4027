"""The verbs on containers' files: what copies from and to, exports and compares.

Owns which view of a container each of them works on, and what must not happen meanwhile. Must
not know HTTP, nor how a view is made.
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import TypeVar

from aiod.config import Paths
from aiod.containers import identity, mountplan
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.files import differing, reading, view, writing
from aiod.containers.files.differing import ChangedPath
from aiod.containers.files.reading import PathStat
from aiod.containers.files.view import Bound, View
from aiod.containers.happenings import event
from aiod.containers.roots import Roots
from aiod.errors import (
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
)
from aiod.images.compression import Limits
from aiod.images.content import Reader
from aiod.images.handing import Write, consumed, produced
from aiod.images.threads import run_to_end
from aiod.images.threads import whole as run_whole
from aiod.native import rooted
from aiod.store.events import EventLog
from aiod.store.records import ContainerRecord, Status
from aiod.volumes.active import Active

T = TypeVar("T")

_ETC = ("hosts", "hostname", "resolv.conf")
_GONE = (Status.DEAD, Status.REMOVING)


class Files:
    """The files of one daemon's containers."""

    def __init__(
        self,
        paths: Paths,
        directory: Directory,
        roots: Roots,
        events: EventLog,
        volumes: Active,
    ) -> None:
        self._paths = paths
        self._directory = directory
        self._roots = roots
        self._events = events
        self._limits = Limits()
        self._volumes = volumes
        self._reads = count(1)

    async def stat(self, reference: str, path: str) -> PathStat:
        """What `path` is. Raises NotFoundError."""
        entry = self._directory.find(reference)
        async with self._read(entry) as seen:
            with _asked(path, reference):
                return await self._looked(seen, path)

    async def _looked(self, seen: View, path: str) -> PathStat:
        return await run_to_end(lambda stop: reading.look(seen.root, reading.absolute(path)))

    @asynccontextmanager
    async def archive(
        self, reference: str, path: str
    ) -> AsyncIterator[tuple[PathStat, AsyncGenerator[bytes, None]]]:
        """What `path` is, and a tar of it. Raises NotFoundError."""
        entry = self._directory.find(reference)
        async with self._read(entry) as seen:
            with _asked(path, reference):
                found = await self._looked(seen, path)
            await self._events.append((event(entry.record, "archive-path"),))

            def work(out: Write, gone: Event) -> None:
                with _asked(path, reference):
                    reading.write(seen.root, reading.absolute(path), out, gone)

            yield found, produced(work)

    async def extract(
        self, reference: str, path: str, body: AsyncIterable[bytes], *,
        keep_kinds: bool = False, copy_owner: bool = False,
    ) -> None:  # fmt: skip
        """Put a tar's members below the directory `path`.

        Raises NotFoundError if it is not there, ForbiddenError where nothing may be written.
        """
        entry = self._directory.find(reference)
        async with self._written(entry) as seen:
            record = entry.record
            owner = await asyncio.to_thread(self._owner, record) if copy_owner else None
            manner = writing.Manner(owner, keep_kinds)
            target = reading.absolute(path)

            def work(source: Reader, stop: Event) -> None:
                with _asked(path, reference):
                    _refuse_read_only(seen, record, target)
                    writing.extract(source, seen.root, target, manner, self._limits, stop)

            await consumed(body, work)
            await self._events.append((event(record, "extract-to-dir"),))

    def _owner(self, record: ContainerRecord) -> tuple[int, int]:
        who = identity.resolve(
            record.config.User, record.host.GroupAdd or (), self._roots.views(record)
        )
        return who.uid, who.gid

    async def export(self, reference: str) -> AsyncGenerator[bytes, None]:
        """A tar of the container's own root, without what is mounted on it."""
        entry = self._directory.find(reference)
        _refuse_gone(entry, "export")
        async with self._read(entry, bare=True) as seen:
            async for piece in produced(lambda out, gone: reading.write_all(seen.root, out, gone)):
                yield piece
        await self._events.append((event(entry.record, "export"),))

    async def changes(self, reference: str) -> list[ChangedPath]:
        """What differs from the image, in order of its path."""
        record = self._directory.find(reference).record
        return await run_to_end(lambda stop: differing.told(self._roots.differences(record)))

    # views

    @asynccontextmanager
    async def _read(self, entry: Entry, *, bare: bool = False) -> AsyncIterator[View]:
        if (running := await self._running(entry, bare=bare)) is not None:
            async with _closed_after(running):
                yield running
            return
        async with self._with_volumes(entry.record):
            seen = await self._settled(entry, bare=bare)
            async with _closed_after(seen):
                yield seen

    @asynccontextmanager
    async def _with_volumes(self, record: ContainerRecord) -> AsyncIterator[None]:
        """Volumes that are mounts are mounted meanwhile, as they are for a start."""
        names = {point.name for point in mountplan.points(record) if point.kind == "volume"}
        user = f"files {next(self._reads)} of {record.id}"
        await self._volumes.use(sorted(names), user)
        try:
            yield
        finally:
            await run_whole(self._volumes.release(user))

    async def _settled(self, entry: Entry, *, bare: bool) -> View:
        """Of whichever it is once no verb is under way."""
        async with entry.verb:
            return await self._running(entry, bare=bare) or await self._resting(entry, bare=bare)

    @asynccontextmanager
    async def _written(self, entry: Entry) -> AsyncIterator[View]:
        """What rests is held until all is written: no start comes between."""
        if (seen := await self._running(entry)) is not None:
            async with _closed_after(seen):
                yield seen
            return
        async with entry.verb, self._with_volumes(entry.record):
            held = await self._running(entry) or await self._writable(entry)
            async with _closed_after(held):
                yield held

    async def _running(self, entry: Entry, *, bare: bool = False) -> View | None:
        state = entry.record.state
        if state.status not in RUNNING:
            return None
        try:
            return await _held(lambda: view.running(state.pid, state.pid_start, bare=bare))
        except ProcessLookupError:
            return None  # it has just ended

    async def _resting(self, entry: Entry, *, bare: bool) -> View:
        self._directory.find(entry.record.id)
        record, place = entry.record, self._place(entry.record)
        bounds = () if bare else self._bounds(record)

        def work() -> View:
            self._roots.prepare(record)
            return view.resting(self._roots.views(record), place, bounds)

        try:
            return await _held(work)
        except FileNotFoundError:
            # A place to mount on is missing, of a container that has never run.
            (await self._writable(entry)).close()
            return await _held(work)

    async def _writable(self, entry: Entry) -> View:
        self._directory.find(entry.record.id)
        record, place, bounds = entry.record, self._place(entry.record), self._bounds(entry.record)
        return await _held(
            lambda: view.resting_writable(self._roots.prepare(record), place, bounds)
        )

    def _place(self, record: ContainerRecord) -> Path:
        return self._paths.container(record.id) / "view"

    def _bounds(self, record: ContainerRecord) -> list[Bound]:
        """What a start would mount from the host, outer places first."""
        own = self._paths.container(record.id)
        found = [Bound(own / name, f"/etc/{name}", read_only=False) for name in _ETC]
        for point in mountplan.points(record):
            if point.kind != "tmpfs":
                named = point.kind == "volume"
                source = self._paths.volume(point.name) if named else Path(point.source)
                found.append(Bound(source, point.destination, not point.writable, point.subpath))
        return sorted(found, key=lambda bound: bound.target.count("/"))


@asynccontextmanager
async def _closed_after(seen: View) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await run_to_end(lambda stop: seen.close())


async def _held(make: Callable[[], View]) -> View:
    """Made in a thread; a caller who is cancelled meanwhile leaves none behind."""
    made: list[View] = []

    def work(stop: Event) -> View:
        made.append(make())
        return made[0]

    try:
        return await run_to_end(work)
    except asyncio.CancelledError:
        for seen in made:
            seen.close()
        raise


def _refuse_gone(entry: Entry, verb: str) -> None:
    status = entry.record.state.status
    if status in _GONE:
        what = "Dead" if status is Status.DEAD else "being removed"
        raise ConflictError(f"You cannot {verb} container {entry.record.id} which is {what}")


def _refuse_read_only(seen: View, record: ContainerRecord, target: str) -> None:
    """Before anything is made. Raises ForbiddenError in dockerd's words."""
    place = os.fsdecode(rooted.real_path(seen.root, os.fsencode(target)))
    mounted = [point for point in mountplan.points(record) if _is_below(place, point.destination)]
    if writing.is_read_only(seen.root, target):
        raise ForbiddenError(writing.READ_ONLY_MOUNT if mounted else writing.READ_ONLY_ROOT)
    resting = record.state.status not in RUNNING  # whose root is mounted to be written to
    if resting and record.host.ReadonlyRootfs and not mounted:
        raise ForbiddenError(writing.READ_ONLY_ROOT)


def _is_below(target: str, place: str) -> bool:
    return (target.rstrip("/") + "/").startswith(place.rstrip("/") + "/")


@contextmanager
def _asked(path: str, container: str) -> Iterator[None]:
    """A failure to find what was asked for, in dockerd's words."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"Could not find the file {path} in container {container}") from None
    except NotADirectoryError:
        raise InvalidParameterError(f"lstat {path}: not a directory") from None
    except OSError as error:
        told = f"{path}: {(error.strerror or str(error)).lower()}"
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidParameterError(told) from None
        raise InternalError(told) from error
