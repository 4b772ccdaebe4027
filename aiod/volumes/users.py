"""Who is at work on which volume: leases that forbid a removal, and locks of one at a time.

Must not know what is done. Of this loop's thread alone.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from weakref import WeakValueDictionary


class Users:
    """Leases and locks by name."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def is_held(self, name: str) -> bool:
        """Whether somebody counts on it who is on no record yet."""
        return self._held[name] > 0

    @contextlib.contextmanager
    def held(self, names: Iterable[str]) -> Iterator[None]:
        """Count on volumes, whether or not they are there."""
        counted = list(names)
        self._held.update(counted)
        try:
            yield
        finally:
            self._held.subtract(counted)
            for name in counted:
                if self._held[name] <= 0:
                    del self._held[name]

    @contextlib.asynccontextmanager
    async def alone(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Be the only one who changes these volumes."""
        async with contextlib.AsyncExitStack() as stack:
            for name in sorted(set(names)):  # in one order: two never wait for each other
                lock = self._locks.get(name)
                if lock is None:
                    lock = self._locks[name] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield
