"""Ends containers on request: signals, and the patience before SIGKILL.

Owns the order of signals; the exit itself is recorded by whoever watches the run.
"""

import asyncio
import contextlib
import signal

from aiod import failpoints
from aiod.containers.entries import RUNNING, Entry
from aiod.containers.happenings import event
from aiod.containers.ledger import Change, Ledger
from aiod.containers.remnants import Remnants
from aiod.containers.restarting import Restarter
from aiod.containers.states import IllegalMoveError, Move
from aiod.containers.units import signal_number
from aiod.errors import ConflictError, NotModifiedError
from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.store.records import ContainerRecord, Intent, RunState, Status

STOP_INTENT = failpoints.declare("stop.intent-written")
STOP_SIGNALLED = failpoints.declare("stop.signalled")
STOP_RECORDED = failpoints.declare("stop.exit-recorded")

_KILL_SECONDS = 10.0
_DEFAULT_STOP_SECONDS = 10


class Stopper:
    """Kill and stop."""

    def __init__(self, ledger: Ledger, remnants: Remnants, restarter: Restarter) -> None:
        self._ledger = ledger
        self._remnants = remnants
        self._restarter = restarter

    async def kill(self, entry: Entry, number: int, reference: str) -> None:
        """Signal the init. Raises ConflictError, with `reference`, if there is none.

        One that is being started is signalled once it runs; one that waits for its next start
        will not have it.
        """
        if entry.record.state.intent is Intent.START:
            async with entry.verb:
                pass
        if entry.record.state.status is Status.RESTARTING:
            async with entry.verb:
                if entry.record.state.status is Status.RESTARTING:
                    await self._restarter.give_up(entry)
                    return
        state = entry.record.state
        if state.status not in RUNNING:
            raise ConflictError(
                f"cannot kill container: {reference}: container {entry.record.id} is not running"
            )
        try:
            await self._ledger.decide(entry, lambda record: _signalled(record, number))
        except IllegalMoveError:  # it has ended meanwhile, and may be about to start again
            await self.kill(entry, number, reference)
            return
        proc.send_signal(state.pid, state.pid_start, number)
        if number == signal.SIGKILL:
            await self._thaw(entry)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILL_SECONDS):
                    await entry.ended.wait()

    async def _thaw(self, entry: Entry) -> None:
        """What is frozen does not even die."""
        if entry.record.state.status is Status.PAUSED:
            group = self._remnants.cgroup(entry.record.id)
            # It may be gone, with all that was in it.
            with contextlib.suppress(NativeError, OSError):
                await asyncio.to_thread(group.thaw)

    async def kill_for_removal(self, entry: Entry) -> None:
        """SIGKILL, without a wait and whatever else is being done to it."""
        state = entry.record.state
        if state.status in RUNNING:
            with contextlib.suppress(IllegalMoveError):
                await self._ledger.decide(entry, lambda r: _signalled(r, signal.SIGKILL))
            proc.send_signal(state.pid, state.pid_start, signal.SIGKILL)
            await self._thaw(entry)

    async def stop(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        """End it: its stop signal, then SIGKILL; the caller holds `entry.verb`.

        `timeout` is in seconds, negative for ever. Raises NotModifiedError if it does not run.
        """
        status = entry.record.state.status
        if status is Status.RESTARTING:
            await self._restarter.give_up(entry, "stop")
            return
        if status not in RUNNING:
            raise NotModifiedError("container is already stopped")
        number = number or stop_signal(entry.record)
        killed = event(entry.record, "kill", signal=str(number))
        try:
            await self._ledger.change(entry, Move.BEGIN_STOP, (killed,), manually_stopped=True)
        except IllegalMoveError:  # it has ended meanwhile
            await self.stop(entry, timeout, number)
            return
        failpoints.reach(STOP_INTENT)
        await self.finish(entry, timeout, number)

    async def finish(self, entry: Entry, timeout: int | None, number: int | None = None) -> None:
        """Carry out a stop whose intent is on record; the caller holds `entry.verb`."""
        await self._end(entry, timeout, number or stop_signal(entry.record))
        failpoints.reach(STOP_RECORDED)
        await self._ledger.change(entry, Move.END_STOP, ("stop",))

    async def _end(self, entry: Entry, timeout: int | None, number: int) -> None:
        state = entry.record.state
        if timeout is None:
            asked = entry.record.config.StopTimeout
            timeout = asked if isinstance(asked, int) else _DEFAULT_STOP_SECONDS
        proc.send_signal(state.pid, state.pid_start, number)
        await self._thaw(entry)
        failpoints.reach(STOP_SIGNALLED)
        try:
            async with asyncio.timeout(None if timeout < 0 else timeout):
                await entry.ended.wait()
        except TimeoutError:
            proc.send_signal(state.pid, state.pid_start, signal.SIGKILL)
            await entry.ended.wait()


def stop_signal(record: ContainerRecord) -> int:
    """The number of the signal that asks it to end; SIGTERM if nothing else is said."""
    name = record.config.StopSignal
    return signal_number(name) if isinstance(name, str) and name else signal.SIGTERM


def _signalled(record: ContainerRecord, number: int) -> Change:
    state: RunState = record.state
    stops = number in (signal.SIGKILL, signal.SIGTERM, stop_signal(record))
    killed = event(record, "kill", signal=str(number))
    return Change(Move.SIGNAL, (killed,), {"manually_stopped": stops or state.manually_stopped})
