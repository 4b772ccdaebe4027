"""Processes killed while a container is being made: whole or not at all, and said so.

A FIFO in the place of a file holds the maker still at a chosen step.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from aiod.shim import protocol
from aiod.shim.protocol import ShimState, read_struct
from aiod.tasks.shim_client import SpawnError
from tests.support.containers import extract
from tests.support.engine import eventually
from tests.support.processes import (
    Identity,
    command_line,
    parent,
    read_proc,
    running_pids,
    send,
    wait_gone,
)
from tests.support.shims import Shims, shims_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

# Where the maker is held, and how many processes the container has then.
STEPS = [
    (f"{protocol.SHIM_FILE}.tmp", 0),
    (protocol.CONFIG_FILE, 0),
    (f"{protocol.INIT_FILE}.tmp", 1),
]


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
async def shims(scratch: Path, lower: Path) -> AsyncIterator[Shims]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="m") as base:
        async with shims_in(Path(base), lower) as shims:
            await (await shims.make("true")).exit()
            yield shims


class Held:
    """A container whose maker stands at a step."""

    def __init__(self, shims: Shims, step: str) -> None:
        self.directory = shims.describe("sleep", "100000")
        self._file = self.directory / step
        self._content = self._file.read_bytes() if self._file.exists() else None
        self._file.unlink(missing_ok=True)
        os.mkfifo(self.directory / step)
        self.spawning = asyncio.ensure_future(shims.template.spawn(self.directory))

    def let_go(self) -> None:
        """Be the other side of the FIFO (fifo_open of the kernel)."""
        if self._content is None:
            self._file.read_bytes()
        else:
            self._file.write_bytes(self._content)

    def processes(self) -> list[int]:
        """The shim, its maker, and the init if it is there."""
        return [pid for pid in running_pids() if str(self.directory) in command_line(pid).split()]

    def shims(self) -> list[Identity]:
        """The one whose parent is none of them, when it is there."""
        found = self.processes()
        return list(_there(pid for pid in found if parent(pid) not in found))

    def children(self) -> list[Identity]:
        """Maker and init, as they come."""
        shims = {shim.pid for shim in self.shims()}
        found = _there(pid for pid in self.processes() if parent(pid) in shims)
        return sorted(found, key=blocked, reverse=True)


def _there(pids: Iterable[int]) -> Iterator[Identity]:
    """Those that have not ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            yield Identity.of(pid)


async def standing(held: Held, inits: int) -> list[Identity]:
    """The shim's children when all are there: the maker, which is held, comes first."""
    return await asyncio.to_thread(
        eventually, held.children, lambda now: len(now) == 1 + inits and blocked(now[0])
    )


def blocked(process: Identity) -> bool:
    """Whether it waits for the other side of the FIFO (fifo_open of the kernel)."""
    return "partner" in read_proc(process.pid, "wchan")


async def gone(shims: Shims) -> None:
    await asyncio.to_thread(eventually, shims.leftovers, lambda left: not left)


@pytest.mark.parametrize(("step", "inits"), STEPS)
async def test_maker_killed(shims: Shims, step: str, inits: int) -> None:
    held = Held(shims, step)
    maker, *_ = await standing(held, inits)
    send(maker)
    with pytest.raises(SpawnError, match="maker"):
        await held.spawning
    await gone(shims)


@pytest.mark.parametrize(("step", "inits"), STEPS)
async def test_shim_killed_while_it_is_made(shims: Shims, step: str, inits: int) -> None:
    held = Held(shims, step)
    children = await standing(held, inits)
    (shim,) = held.shims()
    send(shim)
    with pytest.raises(SpawnError, match="ended unexpectedly"):
        await held.spawning
    for child in children:
        await asyncio.to_thread(wait_gone, child)


@pytest.mark.parametrize(("step", "inits"), STEPS)
async def test_template_killed(shims: Shims, step: str, inits: int) -> None:
    held = Held(shims, step)
    await standing(held, inits)
    template = Identity.of(shims.template.pid or 0)
    send(template)
    await asyncio.to_thread(wait_gone, template)
    await asyncio.to_thread(held.let_go)
    spawned = await held.spawning
    assert Identity(spawned.init_pid, spawned.init_start).alive()
    send(Identity(spawned.init_pid, spawned.init_start), signal.SIGKILL)
    again = await shims.make("true")  # by a new template
    assert (await again.exit()).exit_code == 0
    send(Identity(spawned.shim_pid, spawned.shim_start))


async def test_shim_killed_takes_its_container_along(shims: Shims) -> None:
    made = await shims.make("sh", "-c", "trap '' TERM HUP; sleep 100000")
    send(made.shim)
    await asyncio.to_thread(wait_gone, made.init)


async def test_the_shim_is_nobodys_child(shims: Shims) -> None:
    made = await shims.make("sleep", "100000")
    assert read_struct(made.directory / protocol.SHIM_FILE, ShimState) is not None
    assert parent(made.shim.pid) not in (os.getpid(), shims.template.pid)
    assert os.getsid(made.shim.pid) == made.shim.pid
    kept = {os.readlink(one) for one in Path(f"/proc/{made.shim.pid}/fd").iterdir()}
    assert {one.split(":")[0] for one in kept} <= {
        "/dev/null", "anon_inode", "socket", "pipe",
        str(made.directory / protocol.ERROR_LOG_FILE), str(made.log),
    }  # fmt: skip
    assert parent(made.init.pid) == made.shim.pid


async def test_parallel_makings(shims: Shims) -> None:
    made = await asyncio.gather(*(shims.make("sh", "-c", f"exit {n}") for n in range(20)))
    assert [(await one.exit()).exit_code for one in made] == list(range(20))
