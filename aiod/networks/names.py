"""The tables from which shims answer who is on a network: `/run/aiod/networks/<id>`.

Owns when they are written; the shape is `texts`'s. A table is replaced whole, so that a shim
reads the old or the new one, and says what was on record at some moment after it was asked for.
Must not know who is asked, nor what a container is.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiod.config import Paths
from aiod.native.network.texts import Holder, table_text

_SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Table:
    """One network as its table is to be: its name, and who is up."""

    network: str
    holders: tuple[Holder, ...]


def dns_names(name: str, container_id: str, hostname: str, aliases: Iterable[str]) -> list[str]:
    """What an end of a network is called there, its own name first (API v1.44, `DNSNames`)."""
    found = [name, *aliases, container_id[:_SHORT_ID], hostname]
    return list(dict.fromkeys(filter(None, found)))


class NameTables:
    """All tables of one daemon; `view` says what one holds now, None if it is to be gone.

    Whoever asks while a table is being written waits for the next time, together with all who
    have asked meanwhile: 200 starts on one network cost a few writes.
    """

    def __init__(self, paths: Paths, view: Callable[[str], Table | None]) -> None:
        self._paths = paths
        self._view = view
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted: dict[str, int] = {}
        self._written: dict[str, int] = {}

    async def write(self, network_ids: Iterable[str]) -> None:
        """Have the tables say what is on record now. Raises OSError."""
        for network_id in network_ids:
            await self._write(network_id)

    async def _write(self, network_id: str) -> None:
        number = self._wanted[network_id] = self._wanted.get(network_id, 0) + 1
        lock = self._locks.setdefault(network_id, asyncio.Lock())
        async with lock:
            if self._written.get(network_id, 0) >= number:
                return  # somebody has written it since
            covered = self._wanted[network_id]
            table = self._view(network_id)
            await _whole(asyncio.to_thread(self._put, network_id, table))
            self._written[network_id] = covered

    async def settle(self, network_ids: Collection[str]) -> None:
        """At the start of a daemon: write all these, and leave no others'. Raises OSError."""
        await asyncio.to_thread(_clear, self._paths.networks, frozenset(network_ids))
        await self.write(network_ids)

    def _put(self, network_id: str, table: Table | None) -> None:
        place = self._paths.names(network_id)
        if table is None:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        replace(place, table_text(table.network, table.holders))


async def _whole(work: Coroutine[None, None, None]) -> None:
    """Whoever comes next must not write before this is over, although its caller has left."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def replace(place: Path, text: str) -> None:
    """Have a file say `text`, whole or as before. Blocking; raises OSError.

    Nothing is synced: the directory is gone with the processes that read there.
    """
    temporary = place.with_name(f".{place.name}.tmp")
    temporary.write_text(text)
    os.rename(temporary, place)


def _clear(directory: Path, kept: frozenset[str]) -> None:
    with contextlib.suppress(FileNotFoundError):
        for found in directory.iterdir():
            if found.name not in kept:
                found.unlink(missing_ok=True)
