"""Leases against collections: what is held stays, and neither waits for the other."""

import asyncio

import pytest

from aiod.images.collect import Collector, Deletion


class Shelf:
    """Things with names, some of them owned; what a collection takes is gone."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.owned: set[str] = set()
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.collector = Collector(self.condemn)

    async def condemn(self) -> Deletion:
        owned = frozenset(self.owned)
        self.reading.set()
        await self.go_on.wait()
        for name in sorted(self.things - owned):
            self.collector.holds.unless_held(name, lambda: self.things.discard(name))  # noqa: B023
        return self.nothing

    async def nothing(self) -> None:
        pass


async def test_what_nobody_owns_or_holds_goes() -> None:
    shelf = Shelf()
    shelf.things, shelf.owned = {"owned", "held", "free"}, {"owned"}
    async with shelf.collector.lease() as lease:
        lease.hold("held", "not there")
        await shelf.collector.collect()
        assert shelf.things == {"owned", "held"}
    assert shelf.things == {"owned"}


async def test_two_leases_hold_until_both_end() -> None:
    shelf = Shelf()
    shelf.things = {"a"}
    async with shelf.collector.lease() as first:
        first.hold("a")
        first.hold("a")
        async with shelf.collector.lease() as second:
            second.hold("a")
        await shelf.collector.collect()
        assert shelf.things == {"a"}
    assert not shelf.things


async def test_a_record_made_while_a_collection_reads_is_not_missed() -> None:
    """It read the records before; then the owner's lease ends, and only then it decides."""
    shelf = Shelf()
    shelf.go_on.clear()
    collecting = asyncio.ensure_future(shelf.collector.collect())
    await shelf.reading.wait()
    async with shelf.collector.operation() as lease:
        lease.hold("new")
        shelf.things.add("new")
        shelf.owned.add("new")
    shelf.go_on.set()
    await collecting
    assert shelf.things == {"new"}
    assert not shelf.collector.holds.held("new")


async def test_a_failed_operation_leaves_nothing() -> None:
    shelf = Shelf()

    async def fail() -> None:
        async with shelf.collector.operation() as lease:
            lease.hold("half")
            shelf.things.add("half")
            raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"):
        await fail()
    assert not shelf.things


async def test_a_cancelled_collection_goes_to_its_end() -> None:
    shelf = Shelf()
    shelf.things = {"a"}
    shelf.go_on.clear()
    collecting = asyncio.ensure_future(shelf.collector.collect())
    await shelf.reading.wait()
    collecting.cancel()
    await asyncio.sleep(0)
    assert not collecting.done()
    shelf.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await collecting
    assert not shelf.things


async def test_a_wish_during_a_collection_is_another_collection() -> None:
    shelf = Shelf()
    shelf.things, shelf.owned = {"a"}, {"a"}
    shelf.go_on.clear()
    first = asyncio.ensure_future(shelf.collector.collect())
    await shelf.reading.wait()
    shelf.owned.clear()
    second = asyncio.ensure_future(shelf.collector.collect())
    await asyncio.sleep(0)
    shelf.go_on.set()
    await asyncio.gather(first, second)
    assert not shelf.things
