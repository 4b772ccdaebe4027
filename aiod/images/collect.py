"""When blobs and layers that nothing owns may be deleted.

Owns who needs what: an operation takes a lease and holds in it, by name, every blob and layer
it counts on, before it looks whether that is there. A collection decides about one name at a
time, and holding and deciding exclude one another; so neither ever waits for the other's end,
and what is held when it is decided about stays. Files are written before the record that owns
them, and holds last from before the file until after the record. Must not know what the
operations or the owners are.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Deletion = Callable[[], Awaitable[None]]


class Holds:
    """The names held by all leases together; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._spared: set[str] = set()
        self._sweeping = False
        self._ended: list[frozenset[str]] = []

    def add(self, name: str) -> None:
        """Hold once more."""
        with self._lock:
            self._counts[name] += 1

    def end(self, names: frozenset[str]) -> bool:
        """Hold each once less; whether a collection has spared one of them meanwhile.

        A collection under way has read the records before those that the names' owner may
        have written: for it they stay held.
        """
        with self._lock:
            if self._sweeping:
                self._ended.append(names)
            else:
                self._subtract(names)
            due = not self._spared.isdisjoint(names)
            self._spared -= names
            return due

    def _subtract(self, names: frozenset[str]) -> None:
        for name in names:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def held(self, name: str) -> bool:
        """Whether anybody holds it now."""
        with self._lock:
            return name in self._counts

    def unless_held(self, name: str, condemn: Callable[[], None]) -> bool:
        """Call `condemn`, which must be short, if nobody holds `name` before it has returned."""
        with self._lock:
            if name in self._counts:
                self._spared.add(name)
                return False
            condemn()
            return True

    @contextlib.contextmanager
    def sweep(self) -> Iterator[None]:
        """A stretch that begins before the records are read and ends after the last decision."""
        with self._lock:
            self._sweeping = True
        try:
            yield
        finally:
            with self._lock:
                self._sweeping = False
                for names in self._ended:
                    self._subtract(names)
                self._ended.clear()


class Lease:
    """What one operation needs; used from any thread, until it is ended."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def hold(self, *names: str) -> None:
        """Keep blobs (by digest) and layers (by chain id) until the lease ends.

        They need not be there yet. What is there afterwards, stays.
        """
        with self._lock:
            for name in names:
                if name not in self._names:
                    self._names.add(name)
                    self._holds.add(name)

    def end(self) -> bool:
        """Let go; whether a collection is due."""
        with self._lock:
            names, self._names = frozenset(self._names), set()
        return self._holds.end(names)


class Collector:
    """Hands out leases, and runs `condemn` and then what it returned, one run at a time.

    `condemn` asks `holds` about every name; the deletion touches only what nobody can see
    any more.
    """

    def __init__(self, condemn: Callable[[], Awaitable[Deletion]]) -> None:
        self.holds = Holds()
        self._condemn = condemn
        self._wanted = False
        self._one = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """A lease for reading, or for what is owned before it ends."""
        lease = Lease(self.holds)
        try:
            yield lease
        finally:
            if lease.end():
                await self.collect()

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[Lease]:
        """A lease in which files without a record may come; failure asks for a collection."""
        failed = True
        lease = Lease(self.holds)
        try:
            yield lease
            failed = False
        finally:
            if lease.end() or failed:
                await self.collect()

    async def collect(self) -> None:
        """Delete what neither a record nor a lease needs, and return when it is done.

        Cancelled, it still goes to its end.
        """
        self._wanted = True
        run = asyncio.ensure_future(self._run())
        try:
            await asyncio.shield(run)
        except asyncio.CancelledError:
            while not run.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((run,))
            raise

    async def _run(self) -> None:
        async with self._one:
            if not self._wanted:
                return  # the run before began after the wish
            self._wanted = False
            with self.holds.sweep():
                delete = await self._condemn()
            await delete()
