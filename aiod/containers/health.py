"""Probes the health of running containers, each on a schedule of its own.

Owns the probes' tasks; when and what is `healthrules`'. A probe is an exec as any other. Must not
know HTTP.
"""

import asyncio
import contextlib
import logging
import signal
import time

from aiod.containers import healthrules
from aiod.containers.entries import Entry
from aiod.containers.execs import Execs
from aiod.containers.healthrules import Plan
from aiod.containers.ledger import Change, Ledger
from aiod.containers.owned import OwnedTasks
from aiod.containers.states import Move
from aiod.errors import AiodError, ConflictError
from aiod.native import proc
from aiod.store.models import ExecConfig
from aiod.store.records import ContainerRecord, ProbeResult, Status
from aiod.wire.times import duration

log = logging.getLogger(__name__)

_FAILED = -1  # the code of a probe that gave none
_KEPT_OUTPUT = 4096  # bytes


class HealthMonitor:
    """The probes of one daemon's containers."""

    def __init__(self, execs: Execs, ledger: Ledger, tasks: OwnedTasks) -> None:
        self._execs = execs
        self._ledger = ledger
        self._tasks = tasks

    def watch(self, entry: Entry) -> None:
        """Probe the present run, if it is to be, until it ends."""
        probed = healthrules.plan(entry.record.config)
        if probed is not None:
            name = f"health of {entry.record.id[:12]}"
            self._tasks.own(self._watch(entry, probed, entry.ended), name)

    async def _watch(self, entry: Entry, probed: Plan, ended: asyncio.Event) -> None:
        self._end_left_over(entry)
        longest = max(probed.interval, probed.start_interval)
        due = healthrules.due_ns(entry.record.state, probed)
        # A clock that is set back makes no wait longer.
        while not await _within(ended, min(due - time.time_ns(), longest) / 1e9):
            due = time.time_ns() + probed.interval
            # What is paused does not answer.
            if entry.record.state.status is Status.RUNNING:
                result = await self._probe(entry.record, probed)
                if await self._record(entry, probed, result, ended):
                    due = healthrules.due_ns(entry.record.state, probed)

    def _end_left_over(self, entry: Entry) -> None:
        """Nobody waits any more for a probe that a daemon before this one began."""
        for found in self._execs.probes(entry.record.id):
            proc.send_signal(found.pid, found.pid_start, signal.SIGKILL)

    async def _probe(self, record: ContainerRecord, probed: Plan) -> ProbeResult:
        started = time.time_ns()
        try:
            code, output = await self._executed(record, probed)
        except AiodError as error:
            code, output = _FAILED, error.message
        return ProbeResult(started, time.time_ns(), code, output)

    async def _executed(self, record: ContainerRecord, probed: Plan) -> tuple[int, str]:
        config = ExecConfig(AttachStdout=True, AttachStderr=True, Cmd=list(probed.command))
        exec_id = await self._execs.create(record.id, config, probe=True)
        output = bytearray()
        joined = await self._execs.start(exec_id)
        assert joined is not None
        async with joined:
            try:
                async with asyncio.timeout(probed.timeout / 1e9):
                    async for frame in joined.frames():
                        output += frame.data[: _KEPT_OUTPUT + 1 - len(output)]
                    return await self._execs.exit_code(exec_id), _text(output)
            except TimeoutError:
                self._kill(exec_id)
        told = f"Health check exceeded timeout ({duration(probed.timeout)})"
        return _FAILED, f"{told}: {_text(output)}" if output else told

    def _kill(self, exec_id: str) -> None:
        with contextlib.suppress(AiodError):
            found = self._execs.record(exec_id)
            proc.send_signal(found.pid, found.pid_start, signal.SIGKILL)

    async def _record(
        self, entry: Entry, probed: Plan, result: ProbeResult, ended: asyncio.Event
    ) -> bool:
        """Write the result down, if it is one of what still runs; whether that was done."""

        def decide(record: ContainerRecord) -> Change:
            if ended.is_set() or record.state.status is not Status.RUNNING:
                raise ConflictError("it does not run any more")
            health = healthrules.judged(record.state, probed, result)
            told = f"health_status: {health.status.value}"
            changed = health.status is not record.state.health.status
            return Change(Move.NOTE, (told,) if changed else (), {"health": health})

        try:
            await self._ledger.decide(entry, decide)
        except AiodError as error:
            if not isinstance(error, ConflictError):
                log.warning("container %s: its health: %s", entry.record.id[:12], error.message)
            return False
        return True


def _text(output: bytearray) -> str:
    text = output[:_KEPT_OUTPUT].decode(errors="replace")
    return f"{text}..." if len(output) > _KEPT_OUTPUT else text


async def _within(ended: asyncio.Event, seconds: float) -> bool:
    """Whether it has ended before so many seconds are over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await ended.wait()
    return ended.is_set()
