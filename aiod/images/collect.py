"""When blobs and layers that nothing owns may be deleted.

Files are written before the record that owns them, so nothing is condemned while any
operation is under way. Must not know what the operations or the owners are.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Deletion = Callable[[], Awaitable[None]]


class Collector:
    """Runs `condemn` when asked to and no operation is in flight, then what it returned.

    Operations overlap one another and the deletion, which touches only what nobody can see
    any more. They never overlap `condemn`: it waits for the last of them, and new ones wait
    for it.
    """

    def __init__(self, condemn: Callable[[], Awaitable[Deletion]]) -> None:
        self._condemn = condemn
        self._running = 0
        self._wanted = False
        self._condemning = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        """A stretch in which nothing that is there disappears."""
        async with self._condemning:
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            await self._settle()

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """A lease in which files without a record may come; failure asks for a collection."""
        async with self.lease():
            try:
                yield
            except BaseException:
                self._wanted = True
                raise

    async def collect(self) -> None:
        """Delete now, or when the last operation in flight ends."""
        self._wanted = True
        await self._settle()

    async def _settle(self) -> None:
        if not self._wanted or self._running:
            return
        run = asyncio.ensure_future(self._run())
        try:
            await asyncio.shield(run)
        except asyncio.CancelledError:
            while not run.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((run,))
            raise

    async def _run(self) -> None:
        async with self._condemning:
            if not self._wanted or self._running:
                return
            self._wanted = False
            delete = await self._condemn()
        await delete()
