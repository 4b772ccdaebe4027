"""Watches runs to their end, and takes the exit over: record first, then whoever waits.

Owns what happens between a process's end and the moment nothing of the run is left. Must not
know why a container was ended.
"""

import asyncio
import contextlib
import logging
import os
import time

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import healthrules
from aiod.containers.entries import Entry
from aiod.containers.happenings import died
from aiod.containers.hooks import Hooks
from aiod.containers.ledger import Change, Ledger
from aiod.containers.owned import OwnedTasks
from aiod.containers.placing import Placer
from aiod.containers.remnants import Remnants, end_shim
from aiod.containers.restarting import Restarter
from aiod.containers.states import Move
from aiod.errors import AiodError, InternalError
from aiod.native import proc
from aiod.shim import protocol
from aiod.store.records import ContainerRecord, EventRecord, Status
from aiod.tasks import restart
from aiod.tasks.shim_client import ShimFiles, read_state
from aiod.volumes.active import Active
from aiod.volumes.happenings import unmounted

log = logging.getLogger(__name__)

EXIT_RECORDED = failpoints.declare("stop.exit-taken")

LOST, REBOOTED = 137, 255
_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_SILENCE_SECONDS = 10.0  # of a shim that has output left to give
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0


class Endings:
    """The ends of all runs."""

    def __init__(
        self,
        paths: Paths,
        ledger: Ledger,
        tasks: OwnedTasks,
        remnants: Remnants,
        restarter: Restarter,
        placer: Placer,
        volumes: Active,
        hooks: Hooks,
    ) -> None:
        self._paths = paths
        self._ledger = ledger
        self._tasks = tasks
        self._remnants = remnants
        self._restarter = restarter
        self._placer = placer
        self._volumes = volumes
        self._hooks = hooks

    def watch(self, entry: Entry) -> None:
        """Follow the present run until its exit is recorded and nothing of it is left."""
        name = f"run of {entry.record.id[:12]}"
        entry.run = self._tasks.own(self._watch(entry), name)
        self._hooks.run_watched(entry)

    async def _watch(self, entry: Entry) -> None:
        state = entry.record.state
        with contextlib.ExitStack() as watched:
            for pid, start in ((state.pid, state.pid_start), (state.shim_pid, state.shim_start)):
                _watch_process(pid, start, entry.noticed, watched)
            found = await self._await_exit(entry)
        if isinstance(found, protocol.ExitRecord):
            await self.exited(entry, found, known=True)
        else:
            await self.lost(entry, found)
        if entry.record.state.status is Status.RESTARTING:
            self._restarter.schedule(entry)
        else:
            self.remove_if_passing(entry)

    def remove_if_passing(self, entry: Entry) -> None:
        """Remove it, in the background, if it was to live only as long as it runs."""
        if entry.record.host.AutoRemove:
            self._tasks.own(self._remove(entry), f"removal of {entry.record.id[:12]}")

    async def _remove(self, entry: Entry) -> None:
        await self._hooks.remove_ended(entry)

    async def _await_exit(self, entry: Entry) -> protocol.ExitRecord | str:
        """The exit, or why there is none to be known."""
        run, state = self._paths.shim(entry.record.id), entry.record.state
        pause = _FIRST_PAUSE
        while True:
            await _noticed_within(entry, _LOOK_SECONDS)
            entry.noticed.clear()
            # Asked before reading: a shim that ends in between has written its record by then.
            alive = proc.is_same(state.shim_pid, state.shim_start)
            files = await asyncio.to_thread(read_state, run)
            if files.exit is not None:
                return files.exit
            if not alive:
                return why_lost(files, shim_alive=False)
            if not proc.is_same(state.pid, state.pid_start):
                if files.exit_damaged:
                    return why_lost(files, shim_alive=True)
                await _noticed_within(entry, pause)  # its shim is about to tell of the record
                pause = min(pause * 2, _LONGEST_PAUSE)
                entry.noticed.set()

    async def lost(self, entry: Entry, why: str, code: int = LOST) -> None:
        """Record an exit that nobody could see, after ending what is left of the run."""
        state = entry.record.state
        if code == LOST:
            await asyncio.to_thread(self._remnants.end_run, entry.record.id, state)
        told = f"the exit is unknown: {why}"
        ended = protocol.ExitRecord(code, None, False, time.time_ns(), state.started_ns, told)
        await self.exited(entry, ended, known=False)

    async def exited(self, entry: Entry, ended: protocol.ExitRecord, *, known: bool) -> None:
        """Record the end, decide about the next run, tell who waits, and clean up.

        One commit has both on disk; whoever learns of the end finds its addresses free.
        """
        name = f"network of {entry.record.id[:12]}"
        released = self._tasks.own(self._placer.release(entry.record), name)
        await self._record(entry, ended, known=known)
        await asyncio.wait((released,))
        failpoints.reach(EXIT_RECORDED)
        entry.ended.set()
        entry.announce("not-running", "next-exit")
        await self._clean(entry)

    async def _record(self, entry: Entry, ended: protocol.ExitRecord, *, known: bool) -> None:
        """Until it is on disk the shim's record stays, so a full disk loses no exit."""
        while True:
            try:
                await self._ledger.decide(entry, lambda record: ending(record, ended, known=known))
            except InternalError as error:
                log.error("container %s: its exit: %s", entry.record.id[:12], error.message)
                if entry.run is not asyncio.current_task():
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _clean(self, entry: Entry) -> None:
        """Release the shim, wait for its end, and take its directory away.

        First, what clients have not read yet is taken over, which the shim alone holds.
        """
        state, container_id = entry.record.state, entry.record.id
        directory = self._paths.container(container_id)
        joined, entry.joined = entry.joined, []
        await asyncio.gather(*(one.take_rest(directory, _SILENCE_SECONDS) for one in joined))
        await asyncio.to_thread(end_shim, state.shim_pid, state.shim_start)
        try:
            await self._hooks.settle_execs(container_id, True)
        except AiodError as error:
            log.error("container %s: its execs: %s", container_id[:12], error.message)
        await asyncio.to_thread(self._remnants.remove_cgroup, container_id)
        await asyncio.to_thread(self._remnants.remove_run_directory, container_id)
        await self._volumes.release(container_id)


def ending(record: ContainerRecord, ended: protocol.ExitRecord, *, known: bool) -> Change:
    """What the end of a run makes of its record: whether it is started again, and when."""
    fields: dict[str, object] = {
        "exit_code": ended.exit_code,
        "oom_killed": ended.oom_killed,
        "error": ended.error,
        "finished_ns": ended.exited_at_ns,
        "exit_known": known,
        "health": healthrules.ended(record.state.health),
        "held": False,
    }
    state = msgspec.structs.replace(record.state, **fields)
    happened: list[str | EventRecord] = ["oom"] if ended.oom_killed else []
    happened.append(died(msgspec.structs.replace(record, state=state)))
    happened += unmounted(record.id, record.mounts)
    again = restart.retry(record.host.RestartPolicy, state)
    if again is None:
        return Change(Move.EXIT, tuple(happened), {**fields, "next_restart_ns": 0})
    fields |= {
        "next_restart_ns": again.at_ns,
        "restart_delay_ns": again.delay_ns,
        "restart_count": state.restart_count + 1,
    }
    return Change(Move.EXIT_TO_RETRY, tuple(happened), fields)


def why_lost(files: ShimFiles, *, shim_alive: bool) -> str:
    """Why nobody can say how a run ended."""
    if files.exit_damaged:
        return f"its record is damaged ({'; '.join(files.problems)})"
    return "its shim does not know it" if shim_alive else "its shim died"


async def _noticed_within(entry: Entry, seconds: float) -> None:
    """Wait for a sign that something has ended, but no longer: a notice may be lost."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await entry.noticed.wait()


def _watch_process(
    pid: int, start: int, ended: asyncio.Event, watched: contextlib.ExitStack
) -> None:
    descriptor = proc.open_pidfd(pid, start)
    if descriptor is None:
        ended.set()
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(descriptor)
        ended.set()

    loop.add_reader(descriptor, gone)
    watched.callback(os.close, descriptor)
    watched.callback(loop.remove_reader, descriptor)
