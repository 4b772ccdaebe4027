"""Settles, as the daemon starts, every difference between the records and what the kernel says.

Looks at the world for `tasks.recovery`, whose table decides, and carries the decisions out. Must
not know HTTP. Every action may be interrupted and taken again by the next daemon.
"""

import asyncio
import logging
from collections.abc import Iterable

from aiod import failpoints
from aiod.config import Paths
from aiod.containers.ending import REBOOTED, Endings, why_lost
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.hooks import Hooks
from aiod.containers.ledger import Ledger
from aiod.containers.owned import OwnedTasks
from aiod.containers.placing import Placer
from aiod.containers.remnants import Known, Remnants
from aiod.containers.restarting import Restarter
from aiod.containers.starting import Starter
from aiod.containers.states import Move
from aiod.containers.stopping import Stopper
from aiod.native import proc
from aiod.store.records import ContainerRecord, Intent, RunState, Status
from aiod.tasks import recovery, restart
from aiod.tasks.recovery import Action, Boot, Case, ExitFile, Recorded, Seen
from aiod.tasks.shim_client import ShimFiles, Spawned, read_state

log = logging.getLogger(__name__)

TAKEN_UP = failpoints.declare("recover.one-taken-up")
SWEPT = failpoints.declare("recover.swept")
NETWORKS = failpoints.declare("recover.networks-settled")
SETTLED = failpoints.declare("recover.settled")


class Reconciler:
    """The recovery of one daemon's containers."""

    def __init__(
        self,
        paths: Paths,
        directory: Directory,
        ledger: Ledger,
        tasks: OwnedTasks,
        remnants: Remnants,
        endings: Endings,
        starter: Starter,
        stopper: Stopper,
        restarter: Restarter,
        placer: Placer,
        hooks: Hooks,
    ) -> None:
        self._paths = paths
        self._directory = directory
        self._ledger = ledger
        self._tasks = tasks
        self._remnants = remnants
        self._endings = endings
        self._starter = starter
        self._stopper = stopper
        self._restarter = restarter
        self._placer = placer
        self._hooks = hooks
        self._boot = proc.boot_id()

    async def recover(self, records: Iterable[ContainerRecord], broken: set[str]) -> None:
        """Take up every container as the kernel says it is, and sweep what has no owner.

        Containers of `broken` records lose their processes, but nothing on disk. Restarts that
        are due begin when all this is done.
        """
        for record in records:
            self._directory.add(record)
        for entry in list(self._directory.by_id.values()):
            try:
                await self._take_up(entry)
            except Exception as error:  # one container's trouble hides no other and stops no start
                log.exception("container %s: %s", entry.record.id[:12], error)
                self._watch_on(entry)
            failpoints.reach(TAKEN_UP)
        await asyncio.to_thread(self._remnants.sweep, self._known(broken))
        failpoints.reach(SWEPT)
        await self._placer.settle()
        failpoints.reach(NETWORKS)
        self._restarter.allow()
        failpoints.reach(SETTLED)

    def _watch_on(self, entry: Entry) -> None:
        """What could not be settled now is, as soon as it can be: nothing runs unwatched."""
        if entry.run is None and entry.record.state.status in RUNNING:
            entry.begin_run()
            self._endings.watch(entry)
            entry.noticed.set()

    def _known(self, broken: set[str]) -> Known:
        entries = self._directory.by_id
        states = [entry.record.state for entry in entries.values()]
        shims = {(s.shim_pid, s.shim_start) for s in states if s.status in RUNNING}
        return Known(set(entries), broken, shims)

    async def _take_up(self, entry: Entry) -> None:
        state = entry.record.state
        files = await asyncio.to_thread(read_state, self._paths.shim(entry.record.id))
        for problem in files.problems:
            log.warning("container %s: %s", entry.record.id[:12], problem)
        row = recovery.decide(case_of(state, files, self._boot))
        log.debug("container %s: %s: %s", entry.record.id[:12], row.title, row.action.value)
        await self._carry_out(row.action, entry, files)

    async def _carry_out(self, action: Action, entry: Entry, files: ShimFiles) -> None:
        match action:
            case Action.REATTACH:
                await self._reattach(entry, files)
            case Action.TAKE_EXIT | Action.END_LOST | Action.END_REBOOTED:
                await self._adopt(entry, files)
                await self._end(action, entry, files)
                await self._rest(entry)
            case Action.UNDO_START:
                await self._sweep(entry, files)
                await self._undo_start(entry)
                await self._rest(entry)
            case Action.SWEEP:
                await self._sweep(entry, files)
                await self._rest(entry)
            case Action.REMOVE:
                if entry.record.state.status in RUNNING:
                    known = Action.TAKE_EXIT if files.exit is not None else Action.END_LOST
                    await self._end(known, entry, files)
                await self._sweep(entry, files)
                await self._hooks.remove_ended(entry)

    async def _reattach(self, entry: Entry, files: ShimFiles) -> None:
        await self._adopt(entry, files)
        entry.begin_run()
        await self._see_whether_frozen(entry)
        await self._hooks.settle_execs(entry.record.id, False)
        self._endings.watch(entry)
        entry.noticed.set()
        if entry.record.state.intent is Intent.STOP:
            name = f"stop of {entry.record.id[:12]}"
            self._tasks.own(self._finish_stop(entry), name)

    async def _finish_stop(self, entry: Entry) -> None:
        async with entry.verb:
            await self._stopper.finish(entry, None)

    async def _see_whether_frozen(self, entry: Entry) -> None:
        """The kernel knows whether a pause was done that nobody lived to record.

        One that was for an image ends: the image is not made any more.
        """
        group = self._remnants.cgroup(entry.record.id)
        if entry.record.state.held:
            await asyncio.to_thread(group.thaw)
            await self._ledger.change(entry, Move.NOTE, held=False)
        frozen = await asyncio.to_thread(group.frozen)
        if frozen and entry.record.state.status is Status.RUNNING:
            await self._ledger.change(entry, Move.PAUSE, ("pause",))
        elif not frozen and entry.record.state.status is Status.PAUSED:
            await self._ledger.change(entry, Move.UNPAUSE, ("unpause",))

    async def _adopt(self, entry: Entry, files: ShimFiles) -> None:
        """A start that its daemon did not live to record has happened: record it."""
        if entry.record.state.status in RUNNING or files.shim is None or files.init is None:
            return
        shim, init = files.shim, files.init
        spawned = Spawned(shim.pid, shim.start_time, init.pid, init.start_time, init.started_at_ns)
        await self._starter.running(entry, spawned)

    async def _end(self, action: Action, entry: Entry, files: ShimFiles) -> None:
        if action is Action.END_REBOOTED:
            await self._endings.lost(entry, "the host was restarted", REBOOTED)
        elif files.exit is not None:
            await self._endings.exited(entry, files.exit, known=True)
        else:
            state = entry.record.state
            alive = proc.is_same(state.shim_pid, state.shim_start)
            await self._endings.lost(entry, why_lost(files, shim_alive=alive))

    async def _sweep(self, entry: Entry, files: ShimFiles) -> None:
        await self._hooks.settle_execs(entry.record.id, True)
        await asyncio.to_thread(self._remnants.sweep_one, entry.record.id, files)

    async def _undo_start(self, entry: Entry) -> None:
        await self._placer.release(entry.record)
        await self._ledger.change(entry, Move.UNDO_START)

    async def _rest(self, entry: Entry) -> None:
        """What is to be done about one that does not run."""
        record, state = entry.record, entry.record.state
        if state.status is Status.RESTARTING:
            self._restarter.schedule(entry)
            return
        if state.intent is Intent.STOP:
            await self._ledger.change(entry, Move.END_STOP, ("stop",))
        if record.host.AutoRemove and (state.finished_ns or state.error):
            await self._hooks.remove_ended(entry)
        elif restart.wanted_at_boot(record.host.RestartPolicy, state):
            await self._restarter.at_once(entry)


def case_of(state: RunState, files: ShimFiles, boot_id: str) -> Case:
    """What the record and the files say of a container, for the table."""
    recorded = _recorded(state)
    exit_file = ExitFile.DAMAGED if files.exit_damaged else ExitFile.ABSENT
    if files.exit is not None:
        exit_file = ExitFile.PRESENT
    shim, init = (state.shim_pid, state.shim_start), (state.pid, state.pid_start)
    if recorded is not Recorded.RUNNING:
        shim = (files.shim.pid, files.shim.start_time) if files.shim else (0, 0)
        init = (files.init.pid, files.init.start_time) if files.init else (0, 0)
    boot = Boot.SAME if state.boot_id in ("", boot_id) else Boot.OTHER
    return Case(recorded, _seen(*shim), _seen(*init), exit_file, boot)


def _recorded(state: RunState) -> Recorded:
    if state.status is Status.REMOVING or state.intent is Intent.REMOVE:
        return Recorded.REMOVING
    if state.status in RUNNING:
        return Recorded.RUNNING
    return Recorded.STARTING if state.intent is Intent.START else Recorded.IDLE


def _seen(pid: int, start: int) -> Seen:
    if not pid:
        return Seen.UNKNOWN
    return Seen.ALIVE if proc.is_same(pid, start) else Seen.DEAD
