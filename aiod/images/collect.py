"""Deleting blobs and layers that nothing owns.

Owns the decision when it is safe: files are written before the record that owns them, so
nothing is collected while any operation is under way. Must not know what the operations
or the owners are.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


class Collector:
    """Runs `sweep` when asked to and no operation is in flight.

    Operations overlap one another but never a sweep: it waits for the last of them, and
    new ones wait for it.
    """

    def __init__(self, sweep: Callable[[], Awaitable[None]]) -> None:
        self._sweep = sweep
        self._running = 0
        self._wanted = False
        self._sweeping = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """A stretch in which files without a record may exist; failure asks for a sweep."""
        async with self._sweeping:
            self._running += 1
        try:
            yield
        except BaseException:
            self._wanted = True
            raise
        finally:
            self._running -= 1
            await self._settle()

    async def collect(self) -> None:
        """Sweep now, or when the last operation in flight ends."""
        self._wanted = True
        await self._settle()

    async def _settle(self) -> None:
        if not self._wanted or self._running:
            return
        sweep = asyncio.ensure_future(self._run())
        try:
            await asyncio.shield(sweep)
        except asyncio.CancelledError:
            while not sweep.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((sweep,))
            raise

    async def _run(self) -> None:
        async with self._sweeping:
            if self._wanted and not self._running:
                self._wanted = False
                await self._sweep()
