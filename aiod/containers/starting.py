"""Starts containers: the intent on disk, the bundle, the shim, and then the record that it runs.

Must not know how a run ends; whoever watches it is told.
"""

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import healthrules
from aiod.containers.entries import RUNNING, Entry
from aiod.containers.ledger import Ledger
from aiod.containers.networking import Place
from aiod.containers.placing import Placer
from aiod.containers.preparing import Preparer
from aiod.containers.remnants import Remnants
from aiod.containers.restarting import cancel
from aiod.containers.states import Move
from aiod.containers.streams import Attachment
from aiod.errors import (
    AiodError,
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
    NotModifiedError,
)
from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.store.records import ContainerRecord, Status
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import ShimTemplate, Spawned, SpawnError
from aiod.volumes.active import Active
from aiod.volumes.happenings import mounted

INTENT = failpoints.declare("start.intent-written")
PLACED = failpoints.declare("start.network-allocated")
BUNDLE = failpoints.declare("start.bundle-written")
SPAWNED = failpoints.declare("start.spawned")
STARTED = failpoints.declare("start.recorded")

_REFUSALS = (ConflictError, ForbiddenError, InvalidParameterError, NotFoundError)  # of networks
_EXIT_CODES = {"not-found": 127, "not-executable": 126}


@dataclasses.dataclass(slots=True)
class Watchers:
    """Who is told of a run that has begun, and of a start that failed."""

    begun: Callable[[Entry], None]
    failed: Callable[[Entry], None]


class Starter:
    """The starts of all containers."""

    def __init__(
        self,
        paths: Paths,
        ledger: Ledger,
        preparer: Preparer,
        placer: Placer,
        volumes: Active,
        template: ShimTemplate,
        remnants: Remnants,
    ) -> None:
        self._paths = paths
        self._ledger = ledger
        self._preparer = preparer
        self._placer = placer
        self._volumes = volumes
        self._template = template
        self._remnants = remnants
        self._boot = proc.boot_id()
        self.watchers: Watchers | None = None

    async def start(self, entry: Entry, restart_count: int = 0, delay_ns: int = 0) -> None:
        """Start it; the caller holds `entry.verb`.

        The intent and what it is given of networks are on disk by one commit; without the former,
        the latter is nobody's when the next daemon settles.

        Raises NotModifiedError if it runs, ConflictError if it cannot, InvalidParameterError or
        InternalError if no container came of it.
        """
        _refuse(entry.record.state.status)
        cancel(entry)
        if entry.run is not None:
            await asyncio.wait((entry.run,))
        placing = asyncio.ensure_future(self._placer.place(entry.record))
        try:
            await self._ledger.change(
                entry,
                Move.BEGIN_START,
                manually_stopped=False,
                restart_count=restart_count,
                restart_delay_ns=delay_ns,
                boot_id=self._boot,
            )
            failpoints.reach(INTENT)
        except BaseException:
            await self._give_up_placing(entry, placing)
            raise
        await self._run(entry, placing)

    async def _give_up_placing(self, entry: Entry, placing: "asyncio.Task[Place]") -> None:
        """The intent is not on record: nothing of a start is to be left."""
        await asyncio.wait((placing,))
        if not placing.cancelled():
            placing.exception()
        await self._placer.release(entry.record)

    async def _run(self, entry: Entry, placing: "asyncio.Task[Place]") -> None:
        try:
            spawned = await self._spawn(entry, placing)
        except (SpawnError, AiodError, NativeError, OSError) as error:
            await self._failed(entry, error)
        else:
            await self._record_run(entry, spawned)
            failpoints.reach(STARTED)
            assert self.watchers is not None
            self.watchers.begun(entry)

    async def _spawn(self, entry: Entry, placing: "asyncio.Task[Place]") -> Spawned:
        pending, entry.pending = entry.pending, []
        try:
            return await self._spawn_for(entry, await placing, pending)
        except BaseException:
            for attachment in pending:
                attachment.give_up()
            raise

    async def _spawn_for(self, entry: Entry, place: Place, pending: list[Attachment]) -> Spawned:
        record = entry.record
        shared = self._placer.shared(record, self._paths)
        await self._volumes.use({one.name for one in record.mounts if one.name}, record.id)
        failpoints.reach(PLACED)
        write = self._preparer.write_bundle
        await asyncio.to_thread(write, record, place, shared, start=not pending)
        failpoints.reach(BUNDLE)
        try:
            spawned = await self._template.spawn(self._paths.shim(record.id))
        except SpawnError as error:
            raise self._placer.explained(record, error) from error
        failpoints.reach(SPAWNED)
        try:
            await self._placer.publish(place)
            if not pending:
                return spawned
            entry.joined = list(pending)
            return await _start_joined(self._paths.shim(record.id), spawned, pending)
        except BaseException:
            _kill(spawned)
            raise

    async def _record_run(self, entry: Entry, spawned: Spawned) -> None:
        """Record that it runs; what cannot be recorded is ended again."""
        try:
            await self.running(entry, spawned)
        except AiodError:
            _kill(spawned)
            await asyncio.to_thread(self._remnants.remove_cgroup, entry.record.id)
            await asyncio.to_thread(self._remnants.remove_run_directory, entry.record.id)
            await self._placer.release(entry.record)
            await self._volumes.release(entry.record.id)
            raise

    async def running(self, entry: Entry, spawned: Spawned) -> None:
        """Record that it runs."""
        entry.begin_run()
        await self._ledger.change(
            entry,
            Move.START,
            (*mounted(entry.record.id, entry.record.mounts), "start"),
            pid=spawned.init_pid,
            pid_start=spawned.init_start,
            shim_pid=spawned.shim_pid,
            shim_start=spawned.shim_start,
            started_ns=spawned.started_at_ns,
            finished_ns=0,
            exit_code=0,
            exit_known=True,
            error="",
            oom_killed=False,
            next_restart_ns=0,
            health=healthrules.begun(entry.record.state, entry.record.config),
        )

    async def _failed(self, entry: Entry, error: Exception) -> None:
        code, told = 128, f"failed to create task for container: {error}"
        if isinstance(error, AiodError):
            told = str(error)
        if isinstance(error, SpawnError):
            code = _EXIT_CODES.get(error.kind, 128)
            told = f"failed to create task for container: {_command_error(entry.record, error)}"
        await asyncio.to_thread(self._remnants.remove_run_directory, entry.record.id)
        await self._placer.release(entry.record)
        await self._volumes.release(entry.record.id)
        await self._ledger.change(
            entry, Move.FAIL_START, exit_code=code, error=told, next_restart_ns=0
        )
        entry.announce("not-running")
        assert self.watchers is not None
        self.watchers.failed(entry)
        if isinstance(error, _REFUSALS):
            raise error
        raise InvalidParameterError(told) if code in (126, 127) else InternalError(told)


def _refuse(status: Status) -> None:
    if status is Status.PAUSED:
        raise ConflictError("cannot start a paused container, try unpause instead")
    if status in RUNNING:
        raise NotModifiedError("container is already running")
    if status in (Status.REMOVING, Status.DEAD):
        raise ConflictError("container is marked for removal and cannot be started")


def _kill(spawned: Spawned) -> None:
    proc.send_signal(spawned.init_pid, spawned.init_start, signal.SIGKILL)
    proc.send_signal(spawned.shim_pid, spawned.shim_start, signal.SIGKILL)


async def _start_joined(run: Path, spawned: Spawned, pending: list[Attachment]) -> Spawned:
    """Join those who wait before the first byte, then let it execute."""
    for attachment in pending:
        await attachment.bind(ShimClient(run))
    with contextlib.closing(ShimClient(run)) as client:
        started = await client.start()
    return dataclasses.replace(spawned, started_at_ns=started.started_at_ns)


def _command_error(record: ContainerRecord, error: SpawnError) -> str:
    start = "OCI runtime create failed: aiod-runtime: unable to start container process: "
    if error.kind:
        return f'{start}exec: "{record.path}": {error.message}: unknown'
    return f"{start}{error}"
