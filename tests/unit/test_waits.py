"""Waits for a container: three conditions, and nobody who left is kept."""

import asyncio

import msgspec
import pytest

from aiod.containers.entries import Entry, WaitResult
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig
from aiod.store.records import ContainerRecord, RunState, Status

CONDITIONS = ("not-running", "next-exit", "removed")


def entry(status: Status, exit_code: int = 0) -> Entry:
    record = ContainerRecord(
        "c", "n", 1, "i", "i", "sh", (), ContainerConfig(), HostConfig(), NetworkingConfig(),
        "none", (), "h", "", RunState(status, exit_code=exit_code),
    )  # fmt: skip
    return Entry(record)


def settle(one: Entry, status: Status, exit_code: int, error: str = "") -> None:
    state = RunState(status, exit_code=exit_code, error=error)
    one.record = msgspec.structs.replace(one.record, state=state)


@pytest.mark.parametrize("status", [Status.CREATED, Status.EXITED, Status.DEAD])
async def test_one_that_does_not_run_is_not_running_at_once(status: Status) -> None:
    one = entry(status, 7)
    assert await one.wait("not-running").result() == WaitResult(7)
    assert not one.waits


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.RESTARTING])
async def test_one_that_runs_or_will_again_is_waited_for(status: Status) -> None:
    one = entry(status)
    waiter = one.wait("not-running")
    settle(one, Status.EXITED, 3, "why")
    one.announce("not-running", "next-exit")
    assert await waiter.result() == WaitResult(3, "why")


async def test_next_exit_counts_from_its_registration() -> None:
    """Also of a container that has ended before: `docker run` waits before it starts."""
    one = entry(Status.EXITED, 9)
    waiter = one.wait("next-exit")
    settle(one, Status.EXITED, 4)
    one.announce("not-running", "next-exit")
    assert (await waiter.result()).exit_code == 4


async def test_an_exit_is_no_removal() -> None:
    one = entry(Status.RUNNING)
    gone = asyncio.create_task(one.wait("removed").result())
    await asyncio.sleep(0)
    settle(one, Status.EXITED, 5)
    one.announce("not-running", "next-exit")
    await asyncio.sleep(0)
    assert not gone.done()
    one.announce("removed")
    assert (await gone).exit_code == 5


@pytest.mark.parametrize("condition", CONDITIONS)
async def test_who_leaves_is_forgotten(condition: str) -> None:
    one = entry(Status.RUNNING)
    staying, leaving = one.wait(condition), asyncio.create_task(one.wait(condition).result())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(one.waits[condition]) == 1
    one.announce(condition)
    assert await staying.result() == WaitResult(0)


async def test_a_wait_that_is_never_awaited_can_be_closed() -> None:
    one = entry(Status.RUNNING)
    one.wait("removed").close()
    assert one.waits["removed"] == []
