"""Tasks with an owner: awaited at the end, whole for those who leave, heard of when they fail."""

import asyncio
import contextlib
import logging

import pytest

from aiod.containers.owned import OwnedTasks


async def test_a_caller_who_leaves_interrupts_nothing() -> None:
    tasks, going, done = OwnedTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await going.wait()
        done.set()

    caller = asyncio.create_task(tasks.whole(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    going.set()
    await done.wait()
    await tasks.close()


async def test_a_failure_is_the_callers() -> None:
    async def work() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        await OwnedTasks().whole(work())


async def test_a_failure_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = OwnedTasks()

    async def work() -> None:
        raise ValueError("why")

    task = tasks.own(work(), "an errand")
    with contextlib.suppress(ValueError):
        await task
    await asyncio.sleep(0)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "an errand: why" in caplog.text


async def test_close_ends_also_what_begins_meanwhile() -> None:
    tasks = OwnedTasks()
    ended: list[str] = []

    async def errand(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
            if name == "first":
                tasks.own(errand("second"), "second")

    tasks.own(errand("first"), "first")
    await asyncio.sleep(0)
    await tasks.close()
    assert ended in (["first"], ["first", "second"])
    assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []
