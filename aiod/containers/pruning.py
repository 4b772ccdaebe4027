"""Takes away all containers that do not run, as far as filters say so.

Must not know how one is removed.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from aiod.containers.entries import RUNNING, Directory
from aiod.containers.happenings import pruned
from aiod.containers.roots import Roots
from aiod.errors import AiodError, ConflictError, InvalidParameterError
from aiod.images.selection import moment
from aiod.images.threads import run_to_end
from aiod.store.events import EventLog
from aiod.store.records import ContainerRecord, Status

log = logging.getLogger(__name__)

FILTERS = frozenset({"label", "label!", "until"})
_KEPT = RUNNING | {Status.RESTARTING, Status.REMOVING}


@dataclass(frozen=True, slots=True)
class PruneReport:
    """Which went, and the bytes that they had written."""

    deleted: tuple[str, ...]
    reclaimed: int


class Pruner:
    """Prunes one daemon's containers, one prune at a time."""

    def __init__(
        self,
        directory: Directory,
        roots: Roots,
        events: EventLog,
        remove: Callable[[str], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._roots = roots
        self._events = events
        self._remove = remove
        self._busy = False

    async def prune(self, filters: Mapping[str, list[str]]) -> PruneReport:
        """Remove them. Raises ConflictError while another prune is under way."""
        records = [entry.record for entry in self._directory.by_id.values()]
        chosen = choose(records, filters, time.time_ns())
        if self._busy:
            raise ConflictError("a prune operation is already running")
        self._busy = True
        try:
            return await self._prune(chosen)
        finally:
            self._busy = False

    async def _prune(self, chosen: Iterable[ContainerRecord]) -> PruneReport:
        deleted: list[str] = []
        reclaimed = 0
        for record in chosen:
            size = await self._size(record)
            try:
                await self._remove(record.id)
            except AiodError as error:  # it was started, or removed, meanwhile
                log.info("prune passes by %s: %s", record.id[:12], error.message)
                continue
            deleted.append(record.id)
            reclaimed += size
        await self._events.append((pruned(reclaimed),))
        return PruneReport(tuple(deleted), reclaimed)

    async def _size(self, record: ContainerRecord) -> int:
        return (await run_to_end(lambda stop: self._roots.usage(record))).size


def choose(
    records: Iterable[ContainerRecord], filters: Mapping[str, list[str]], now_ns: int
) -> list[ContainerRecord]:
    """Those to remove. Raises InvalidParameterError."""
    latest = _latest(filters.get("until", []), now_ns)
    wanted, unwanted = filters.get("label", []), filters.get("label!", [])
    return [
        record
        for record in records
        if record.state.status not in _KEPT
        and record.created_ns <= latest
        and _labelled(record, wanted)
        and not (unwanted and _labelled(record, unwanted))
    ]


def _latest(values: list[str], now_ns: int) -> float:
    if len(values) > 1:
        raise InvalidParameterError("more than one until filter specified")
    return moment(values[0], now_ns) if values else float("inf")


def _labelled(record: ContainerRecord, wanted: Iterable[str]) -> bool:
    labels = record.config.Labels or {}
    for text in wanted:
        key, separator, value = text.partition("=")
        if key not in labels or (separator and labels[key] != value):
            return False
    return True
