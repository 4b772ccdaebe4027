"""Volumes: what there is, and how they come and go.

Owns the consistency of records and directories: a new volume's directory is made beside its
place and renamed into it once it is on record; a removal is on record before its directory is
renamed away, and its record goes before its data are deleted. Must not know HTTP, SQL or
containers: who uses what is asked for.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from pathlib import Path

from aiod import failpoints
from aiod.config import Paths
from aiod.errors import AiodError, ConflictError, InternalError, NotFoundError
from aiod.images.threads import run_to_end, whole
from aiod.store.records import VolumeRecord
from aiod.store.volumes import VolumeRepository
from aiod.volumes import copyup, happenings, rules
from aiod.volumes.active import Active, is_mount
from aiod.volumes.directories import Directories, delete
from aiod.volumes.model import PruneReport, References, Request
from aiod.volumes.selection import Filters, prunable, select
from aiod.volumes.users import Users

log = logging.getLogger(__name__)

STAGED = failpoints.declare("volume.staged")
RECORDED = failpoints.declare("volume.recorded")
REMOVAL_INTENT = failpoints.declare("volume.removal-written")
RENAMED_AWAY = failpoints.declare("volume.renamed-away")
FORGOTTEN = failpoints.declare("volume.forgotten")


class VolumeService:
    """The volumes of one root."""

    def __init__(self, paths: Paths, repository: VolumeRepository) -> None:
        self._paths = paths
        self._repository = repository
        self._records: dict[str, VolumeRecord] = {}
        self._going: set[str] = set()
        self._users = Users()
        self._directories = Directories(paths)
        self.active = Active(paths, self._records, self._users)
        self.references: Callable[[], References] = dict
        self.unknown_references: Callable[[], bool] = lambda: False

    async def start(self) -> None:
        """Read the records, and finish what a dead daemon was at."""
        loaded = await self._repository.load_all()
        for name in loaded.broken:
            log.error("the record of volume %s cannot be read; its data are left alone", name)
        self._records.update({one.name: one for one in loaded.records})
        for name in set(loaded.removing) & set(self._records):
            gone = await asyncio.to_thread(self._directories.take_away, name)
            await self._forget(name)
            await asyncio.to_thread(delete, gone)
        await asyncio.to_thread(self._sweep, {*self._records, *loaded.broken})

    def _sweep(self, known: set[str]) -> None:
        self._directories.sweep(known)
        for name in self._records:
            if not is_mount(self._records[name]):
                copyup.finish(self._paths.volume(name))

    def list(self, filters: Filters) -> "Sequence[VolumeRecord]":
        """The volumes that match. Raises InvalidParameterError."""
        return select(self._shown(), filters, set(self.references()))

    def _shown(self) -> "Sequence[VolumeRecord]":
        return [record for name, record in sorted(self._records.items())]

    def get(self, name: str) -> VolumeRecord:
        """One volume. Raises NotFoundError."""
        if (record := self._records.get(name)) is None:
            raise NotFoundError(f"get {name}: no such volume")
        return record

    async def create(
        self,
        name: str,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        """Make a volume; one of that name which is there already is the answer, as it is.

        Without a name it is anonymous. Raises InvalidParameterError and NotFoundError.
        """
        made = Request(name or rules.new_name(), driver, options, labels)
        if not name:
            made = anonymous(made)
        return await whole(self._create(made))

    async def _create(self, request: Request) -> VolumeRecord:
        async with self.ready((request,)) as volumes:
            if volumes:
                await self._repository.insert(volumes, happenings.created(volumes))
                await self.settle(volumes)
            return self._records[request.name]

    @contextlib.asynccontextmanager
    async def ready(self, requests: Sequence[Request]) -> AsyncIterator["Sequence[VolumeRecord]"]:
        """Hold volumes, none of which is removed meanwhile; those to be recorded are yielded.

        Empty ones get their image's content. The caller records what was yielded and then calls
        `settle`; otherwise nothing of it is left. Raises InvalidParameterError and NotFoundError.
        """
        for request in requests:
            rules.check_driver(request.name, request.driver)
            rules.check_name(request.name)
        wanted = {request.name: request for request in requests}
        with self._users.held(wanted):
            busy = [name for name in wanted if await self._is_unsettled(wanted[name])]
            async with self._users.alone(busy):
                new = [one for name, one in wanted.items() if name not in self._records]
                there = [wanted[name] for name in busy if name in self._records]
                made = [_record(request) for request in new]
                try:
                    await self._stage(new)
                    await self._fill_empty(there)
                    if made:
                        failpoints.reach(STAGED)
                    yield made
                finally:
                    if left := [one.name for one in made if one.name not in self._records]:
                        await asyncio.to_thread(self._unstage, left)

    async def _is_unsettled(self, request: Request) -> bool:
        """Whether to be alone with it: it is to be made or filled, or on its way out."""
        record = self._records.get(request.name)
        if record is None or request.name in self._going:
            return True
        if request.fill is None:
            return False
        return is_mount(record) or await asyncio.to_thread(self._is_empty, request.name)

    def _is_empty(self, name: str) -> bool:
        try:
            return copyup.is_empty(self._paths.volume(name))
        except OSError as error:
            raise InternalError(f"volume {name}: {error}") from error

    async def _stage(self, new: Iterable[Request]) -> None:
        try:
            for request in new:
                data = await asyncio.to_thread(self._directories.stage, request.name)
                if request.fill is not None:
                    await self._fill_staged(request, data, request.fill)
        except OSError as error:
            raise _not_filled(error) from error

    async def _fill_empty(self, there: Iterable[Request]) -> None:
        try:
            for request in there:
                if request.fill is not None:
                    await self._fill(request.name, request.fill)
        except OSError as error:
            raise _not_filled(error) from error

    async def _fill_staged(self, request: Request, data: Path, fill: copyup.Fill) -> None:
        if not is_mount(_record(request)):
            await run_to_end(lambda stop: copyup.fill(data, fill))
            return
        async with self.active.trial(request.options or {}, data):
            await run_to_end(lambda stop: copyup.fill_if_empty(data, fill))

    async def _fill(self, name: str, fill: copyup.Fill) -> None:
        async with self.active.mounted(name):
            data = self._paths.volume(name)
            await run_to_end(lambda stop: copyup.fill_if_empty(data, fill))

    def _unstage(self, names: Iterable[str]) -> None:
        for name in names:
            self._directories.unstage(name)

    async def settle(self, volumes: "Sequence[VolumeRecord]") -> None:
        """They are on record: let everybody see them. The next daemon tries what fails."""
        for record in volumes:
            failpoints.reach(RECORDED)
            self._records[record.name] = record
            try:
                await asyncio.to_thread(self._directories.settle, record.name)
            except OSError as error:
                log.error("volume %s: its directory: %s", record.name, error)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume, wholly. Raises NotFoundError unless forced, ConflictError if used."""
        if name not in self._records:
            if force:
                return
            raise NotFoundError(f"get {name}: no such volume")
        await whole(self._remove(name))

    async def _remove(self, name: str) -> None:
        async with self._users.alone((name,)):
            if name not in self._records:
                raise NotFoundError(f"get {name}: no such volume")
            self._refuse_used(name)
            with self._leaving((name,)):
                await self._repository.begin_removal((name,))
                failpoints.reach(REMOVAL_INTENT)
                gone = await self._take_away(name)
                try:
                    failpoints.reach(RENAMED_AWAY)
                    await self._forget(name)
                except BaseException:
                    await self._keep(name, gone)
                    raise
                failpoints.reach(FORGOTTEN)
        await run_to_end(lambda stop: delete(gone))

    def _refuse_used(self, name: str) -> None:
        containers = self.references().get(name, ())
        if containers or self._users.is_held(name):
            raise ConflictError(f"remove {name}: volume is in use - [{', '.join(containers)}]")

    @contextlib.contextmanager
    def _leaving(self, names: Sequence[str]) -> Iterator[None]:
        self._going.update(names)
        try:
            yield
        finally:
            self._going.difference_update(names)

    async def _take_away(self, name: str) -> Path | None:
        try:
            return await asyncio.to_thread(self._directories.take_away, name)
        except OSError as error:
            await self._keep(name, None)
            raise InternalError(f"remove {name}: {error}") from error

    async def _keep(self, name: str, gone: Path | None) -> None:
        """It stays after all; what fails now, the next daemon takes for a removal begun."""
        await asyncio.to_thread(self._bring_back, {name: gone})
        with contextlib.suppress(AiodError):
            await self._repository.give_up_removal(name)

    async def _forget(self, name: str) -> None:
        await self._repository.delete((name,), happenings.destroyed((name,)))
        del self._records[name]

    @contextlib.asynccontextmanager
    async def leaving(self, names: Collection[str], owner: str) -> AsyncIterator[Sequence[str]]:
        """Of a container's own volumes those that nobody else has, on their way out with it.

        The caller forgets their records with the container's; if it fails, they stay.
        """
        places: dict[str, Path | None] = {}
        async with self._users.alone(names):
            with self._leaving(chosen := self._owned(names, owner)):
                try:
                    for name in chosen:
                        places[name] = await asyncio.to_thread(self._directories.take_away, name)
                    if chosen:
                        failpoints.reach(RENAMED_AWAY)
                    yield chosen
                except BaseException:
                    await asyncio.to_thread(self._bring_back, places)
                    raise
                for name in chosen:
                    del self._records[name]
        if chosen:
            await run_to_end(lambda stop: delete(*places.values()))

    def _owned(self, names: Collection[str], owner: str) -> Sequence[str]:
        if not names:
            return []
        references = self.references()
        return [
            name
            for name in sorted(set(names) & set(self._records))
            if not self._users.is_held(name) and set(references.get(name, ())) <= {owner}
        ]

    def _bring_back(self, places: Mapping[str, Path | None]) -> None:
        for name, place in places.items():
            if place is not None:
                self._directories.bring_back(name, place)

    async def prune(self, filters: Filters, *, named: bool = False) -> PruneReport:
        """Delete unused anonymous volumes, and those with a name of their own if `named`.

        While a container's record cannot be read nothing is: it may use any of them.
        """
        chosen = prunable(self._shown(), filters, set(self.references()), named=named)
        deleted: list[str] = []
        reclaimed = 0
        for record in () if self.unknown_references() else chosen:
            try:
                size = await self.usage(record.name)
                await self.remove(record.name)
            except (ConflictError, NotFoundError):
                continue  # somebody was faster
            deleted.append(record.name)
            reclaimed += size
        await self._repository.delete((), (happenings.pruned(reclaimed),))
        return PruneReport(tuple(deleted), reclaimed)

    async def usage(self, name: str) -> int:
        """Bytes that a volume holds."""
        return await run_to_end(lambda stop: self._directories.usage(name))


def anonymous(request: Request) -> Request:
    """The request of a volume that a prune may take."""
    return replace(request, labels={**(request.labels or {}), rules.ANONYMOUS: ""})


def _not_filled(error: OSError) -> InternalError:
    return InternalError(f"failed to populate volume: {error}")


def _record(request: Request) -> VolumeRecord:
    rules.check_options(request.name, request.options)
    return VolumeRecord(
        name=request.name,
        created_ns=time.time_ns(),
        labels=None if request.labels is None else dict(request.labels),
        options=None if request.options is None else dict(request.options),
    )
