"""The records of execs in memory, by id and by container.

Owns look-up alone; must not know what an exec is, nor who keeps it on disk.
"""

from collections.abc import Iterable

from aiod.store.records import ExecRecord


class ExecRecords:
    """All of one daemon's."""

    def __init__(self, records: Iterable[ExecRecord] = ()) -> None:
        self._by_id: dict[str, ExecRecord] = {}
        self._by_container: dict[str, dict[str, ExecRecord]] = {}
        for record in records:
            self.put(record)

    def get(self, exec_id: str) -> ExecRecord | None:
        """The one of that id."""
        return self._by_id.get(exec_id)

    def of(self, container_id: str) -> list[ExecRecord]:
        """A container's, the first made first."""
        return list(self._by_container.get(container_id, {}).values())

    def put(self, record: ExecRecord) -> None:
        """A new one, or its newer record."""
        self._by_id[record.id] = record
        self._by_container.setdefault(record.container_id, {})[record.id] = record

    def drop(self, exec_id: str) -> None:
        """Forget one; harmless if there is none."""
        record = self._by_id.pop(exec_id, None)
        if record is not None:
            self._by_container[record.container_id].pop(exec_id)

    def forget(self, container_id: str) -> list[str]:
        """Forget a container's; returns their ids."""
        gone = list(self._by_container.pop(container_id, ()))
        for exec_id in gone:
            del self._by_id[exec_id]
        return gone
