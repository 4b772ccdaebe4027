"""A signal asked for while the run that it was meant for comes to its end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiod.config import DaemonConfig, Paths
from aiod.containers.entries import Entry
from aiod.containers.ledger import Ledger
from aiod.containers.owned import OwnedTasks
from aiod.containers.remnants import Remnants
from aiod.containers.restarting import Restarter
from aiod.containers.states import Move
from aiod.containers.stopping import Stopper
from aiod.errors import ConflictError
from aiod.store.containers import ContainerRepository
from aiod.store.database import Database
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig
from aiod.store.records import ContainerRecord, RunState, Status


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    database = await Database.open(tmp_path / "d.db")
    repository = ContainerRepository(database)
    await repository.insert(_RUNNING)
    yield Ledger(repository)
    await database.close()


_RUNNING = ContainerRecord(
    "c", "n", 1, "i", "i", "sh", (), ContainerConfig(), HostConfig(), NetworkingConfig(),
    "none", (), "h", "", RunState(Status.RUNNING),
)  # fmt: skip


async def _killed_as_it_ends(ledger: Ledger, tmp_path: Path, end: Move) -> Entry:
    """Its end is written down first, although the kill was asked for before."""
    paths = Paths(tmp_path / "r", tmp_path / "s")

    async def never(entry: Entry, count: int, delay: int) -> None:
        raise AssertionError("it is started")

    restarter = Restarter(ledger, OwnedTasks(), never, lambda record: None)
    stopper = Stopper(ledger, Remnants(paths, DaemonConfig(paths=paths)), restarter)
    entry = Entry(_RUNNING)
    ending = asyncio.create_task(ledger.change(entry, end))
    await asyncio.sleep(0)  # it is being written
    assert entry.record.state.status is Status.RUNNING
    try:
        await stopper.kill(entry, 9, "n")
    finally:
        await ending
    return entry


async def test_the_next_start_is_given_up(ledger: Ledger, tmp_path: Path) -> None:
    entry = await _killed_as_it_ends(ledger, tmp_path, Move.EXIT_TO_RETRY)
    assert entry.record.state.status is Status.EXITED
    assert entry.record.state.manually_stopped


async def test_one_without_a_next_start_does_not_run(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="cannot kill container: n: container c is not running"):
        await _killed_as_it_ends(ledger, tmp_path, Move.EXIT)
