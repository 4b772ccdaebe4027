"""Writes what happens to containers: to disk first, and then into what the daemon shows.

Owns the order of changes of one record; must not know why they are made.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from aiod.containers.entries import Entry
from aiod.containers.happenings import event
from aiod.containers.states import Move, moved
from aiod.store.containers import ContainerRepository
from aiod.store.records import ContainerRecord, EventRecord


@dataclass(frozen=True, slots=True)
class Change:
    """A move, the fields of the running state that change with it, and what it is heard as."""

    move: Move
    events: tuple[str | EventRecord, ...] = ()
    fields: dict[str, object] = field(default_factory=dict)


class Ledger:
    """All changes of running states."""

    def __init__(self, repository: ContainerRepository) -> None:
        self._repository = repository

    async def change(
        self, entry: Entry, move: Move, events: Iterable[str | EventRecord] = (), **fields: object
    ) -> None:
        """Write a move down, with its events. Raises IllegalMoveError."""
        await self.decide(entry, lambda _: Change(move, tuple(events), fields))

    async def rewrite(
        self, entry: Entry, events: Iterable[EventRecord] = (), **fields: object
    ) -> None:
        """Write down other fields than the running state."""
        async with entry.writing:
            record = msgspec.structs.replace(entry.record, **fields)
            await self._repository.update(record, events)
            entry.record = record

    async def decide(self, entry: Entry, decide: Callable[[ContainerRecord], Change]) -> None:
        """Write down what `decide` makes of the newest record; no other change comes between.

        Raises IllegalMoveError, and what `decide` raises; then nothing has changed.
        """
        async with entry.writing:
            change = decide(entry.record)
            state = moved(entry.record.state, change.move, **change.fields)
            record = msgspec.structs.replace(entry.record, state=state)
            made = [event(record, e) if isinstance(e, str) else e for e in change.events]
            await self._repository.update(record, made)
            entry.record = record
