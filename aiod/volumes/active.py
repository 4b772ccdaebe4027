"""Volumes that are mounts: mounted at their first container's start, unmounted at the last's end.

Owns who runs with what; must not know what is mounted (see `mounting`). A daemon that dies
leaves mounts behind, which the next one takes up or takes away.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

from aiod import failpoints
from aiod.config import Paths
from aiod.errors import AiodError, InternalError
from aiod.store.records import VolumeRecord
from aiod.volumes import copyup, mounting
from aiod.volumes.model import References
from aiod.volumes.users import Users

log = logging.getLogger(__name__)

MOUNTED = failpoints.declare("volume.mounted")
UNMOUNTED = failpoints.declare("volume.unmounted")


class Active:
    """The mounts of one root's volumes; `records` is the service's table."""

    def __init__(self, paths: Paths, records: Mapping[str, VolumeRecord], users: Users) -> None:
        self._paths = paths
        self._records = records
        self._users = users
        self._running: defaultdict[str, set[str]] = defaultdict(set)

    async def use(self, names: Iterable[str], user: str) -> None:
        """Have volumes mounted for `user`. Raises InternalError in dockerd's words."""
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.release, user)
            for name in names:
                async with self._users.alone((name,)):
                    await self._mount(name)
                    self._running[name].add(user)
            undo.pop_all()

    async def release(self, user: str) -> None:
        """It uses none any more; what resists an unmount is logged."""
        for name in [name for name, users in self._running.items() if user in users]:
            async with self._users.alone((name,)):
                users = self._running[name]
                users.discard(user)
                if not users:
                    del self._running[name]
                    await self._unmount(name)

    @contextlib.asynccontextmanager
    async def mounted(self, name: str) -> AsyncIterator[None]:
        """Have one mounted meanwhile; the caller is the only one at work on it."""
        used = name in self._running
        await self._mount(name)
        try:
            yield
        finally:
            if not used:
                await self._unmount(name)

    @contextlib.asynccontextmanager
    async def trial(self, options: Mapping[str, str], target: Path) -> AsyncIterator[None]:
        """Have what is not on record yet mounted meanwhile."""
        await _mount(options, target)
        try:
            yield
        finally:
            await asyncio.to_thread(mounting.unmount, target)

    async def recover(self, running: Callable[[], References]) -> None:
        """Take up those of running containers, and take the others away.

        A mount that is missing is made again: whoever starts next shall find it.
        """
        for name in [name for name, record in self._records.items() if is_mount(record)]:
            async with self._users.alone((name,)):
                # Asked here: a container may have ended, or have been started, meanwhile.
                users = self._running[name]
                users.update(running().get(name, ()))
                if not users:
                    del self._running[name]
                    await self._unmount(name)
                    continue
                with contextlib.suppress(AiodError):
                    await self._mount(name)

    async def _mount(self, name: str) -> None:
        record = self._records.get(name)
        if record is None or not is_mount(record):
            return
        target = self._paths.volume(name)
        if await asyncio.to_thread(mounting.is_mounted, target):
            return
        await _mount(record.options or {}, target)
        failpoints.reach(MOUNTED)
        await asyncio.to_thread(copyup.finish, target)

    async def _unmount(self, name: str) -> None:
        record, target = self._records.get(name), self._paths.volume(name)
        if record is None or not is_mount(record):
            return
        try:
            await asyncio.to_thread(mounting.unmount, target)
        except OSError as error:
            log.warning("volume %s: unmount %s: %s", name, target, error.strerror)
        failpoints.reach(UNMOUNTED)


def is_mount(record: VolumeRecord) -> bool:
    """Whether something is mounted to be it; otherwise it is a directory."""
    return bool((record.options or {}).get("device"))


async def _mount(options: Mapping[str, str], target: Path) -> None:
    try:
        await asyncio.to_thread(mounting.mount, options, target)
    except InternalError as error:
        raise InternalError(f"error while mounting volume '{target}': {error}") from None
