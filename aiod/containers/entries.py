"""What the daemon holds in memory of each container, and those who wait for it.

Owns look-up by id, name and prefix; must not know how a container is run.
"""

import asyncio
import bisect
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiod.containers.streams import Attachment
from aiod.errors import ConflictError, InvalidParameterError, NotFoundError
from aiod.store.records import ContainerRecord, Status

RUNNING = frozenset({Status.RUNNING, Status.PAUSED})
_BUSY = RUNNING | {Status.RESTARTING}


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How the wait ended."""

    exit_code: int
    error: str = ""


class Waiter:
    """A registered wait; `result` may be awaited later, once."""

    def __init__(
        self,
        done: "asyncio.Future[WaitResult]",
        waiting: "list[asyncio.Future[WaitResult]]",
    ) -> None:
        self._done = done
        self._waiting = waiting

    async def result(self) -> WaitResult:
        """Wait for the end; whoever is cancelled here waits no more."""
        try:
            return await self._done
        finally:
            self.close()

    def close(self) -> None:
        """Wait no more."""
        if self._done in self._waiting:
            self._waiting.remove(self._done)
        self._done.cancel()


@dataclass(slots=True)
class Entry:
    """One container: verbs hold `verb`; `run` watches the present run to its settled end.

    `doomed` counts removals by force under way.
    """

    record: ContainerRecord
    verb: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    run: "asyncio.Task[None] | None" = None
    retry: "asyncio.Task[None] | None" = None
    noticed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    pending: "list[Attachment]" = field(default_factory=list)
    joined: "list[Attachment]" = field(default_factory=list)
    waits: "dict[str, list[asyncio.Future[WaitResult]]]" = field(default_factory=dict)
    doomed: int = 0

    @contextlib.asynccontextmanager
    async def claimed(self) -> AsyncIterator[None]:
        """Hold `verb`, unless a removal by force waits for it.

        Raises ConflictError then: each verb in a long queue might take for ever.
        """
        async with self.verb:
            self.refuse_doomed()
            yield

    def refuse_doomed(self) -> None:
        """Raise ConflictError if it is being removed by force."""
        if self.doomed:
            raise ConflictError(f"container {self.record.id} is marked for removal")

    def join(self, attachment: Attachment) -> None:
        """Remember who reads the run's output, for as long as they do."""
        self.joined = [other for other in self.joined if not other.over]
        self.joined.append(attachment)

    def begin_run(self) -> None:
        """What is noticed of a run before this belongs to another."""
        self.noticed = asyncio.Event()
        self.ended = asyncio.Event()

    def no_longer_pending(self, attachment: Attachment) -> None:
        """Its client went away before a start."""
        if attachment in self.pending:
            self.pending.remove(attachment)

    def wait(self, condition: str) -> Waiter:
        """Register a wait for `not-running`, `next-exit` or `removed`.

        One that waits for its next start counts as running, which it does for dockerd.
        """
        done: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        state = self.record.state
        if condition == "not-running" and state.status not in _BUSY:
            done.set_result(WaitResult(state.exit_code, state.error))
            return Waiter(done, [])
        waiting = self.waits.setdefault(condition, [])
        waiting.append(done)
        return Waiter(done, waiting)

    def announce(self, *conditions: str) -> None:
        """End the waits for `conditions` with the exit code on record."""
        state = self.record.state
        for condition in conditions:
            # To a wait for the removal only a failed removal is an error, as for dockerd.
            error = "" if condition == "removed" else state.error
            for done in self.waits.pop(condition, ()):
                if not done.done():
                    done.set_result(WaitResult(state.exit_code, error))


class Directory:
    """All containers of the daemon."""

    def __init__(self) -> None:
        self.by_id: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._ids: list[str] = []  # in order, for the beginnings of ids

    def add(self, record: ContainerRecord) -> Entry:
        """Take a record in."""
        entry = self.by_id[record.id] = Entry(record)
        self._names[record.name] = record.id
        bisect.insort(self._ids, record.id)
        return entry

    def drop(self, record: ContainerRecord) -> None:
        """Forget a container."""
        if self.by_id.pop(record.id, None) is not None:
            del self._ids[bisect.bisect_left(self._ids, record.id)]
        self._names.pop(record.name, None)

    def rename(self, old: str, record: ContainerRecord) -> None:
        """A container has another name."""
        self._names.pop(old, None)
        self._names[record.name] = record.id

    def find(self, reference: str) -> Entry:
        """By full id, name, or the beginning of one id only. Raises NotFoundError."""
        wanted = reference.removeprefix("/")
        exact = self.by_id.get(wanted) or self.by_id.get(self._names.get(wanted, ""))
        if exact is not None:
            return exact
        place = bisect.bisect_left(self._ids, wanted)
        found = [id_ for id_ in self._ids[place : place + 2] if wanted and id_.startswith(wanted)]
        if len(found) > 1:
            raise InvalidParameterError(f"multiple IDs found with provided prefix: {reference}")
        if not found:
            raise NotFoundError(f"No such container: {reference}")
        return self.by_id[found[0]]
