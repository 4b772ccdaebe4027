"""Further processes in running containers.

Owns their records; must not know HTTP, nor how a process enters a container.
"""

import asyncio
import logging
import time
from collections import deque
from typing import NoReturn

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import admission
from aiod.containers.entries import Directory, Entry
from aiod.containers.execrecords import ExecRecords
from aiod.containers.execview import ExecInspect, inspected
from aiod.containers.happenings import exec_event
from aiod.containers.joining import resize
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.streams import Attachment
from aiod.errors import AiodError, ConflictError, InvalidParameterError, NotFoundError
from aiod.native import proc
from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import StartResponse
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.models import ExecConfig
from aiod.store.records import ExecRecord, Status
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import SpawnError

log = logging.getLogger(__name__)

STARTED = failpoints.declare("exec.started")

_READY_SECONDS = 10.0
_KEPT = 100  # ended execs of one container that can still be inspected
UNKNOWN_EXIT = 137
"""Of an exec that ended with nobody to see it, as all do when their container's init ends."""


class Execs:
    """All execs of one daemon's containers."""

    def __init__(
        self,
        paths: Paths,
        repository: ExecRepository,
        events: EventLog,
        directory: Directory,
        lifecycle: Lifecycle,
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._events = events
        self._directory = directory
        self._lifecycle = lifecycle
        self._records = ExecRecords()
        self._starting: set[str] = set()
        self._ending: dict[str, asyncio.Event] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._ended_events: dict[str, asyncio.Event] = {}
        self._ended_ids: dict[str, deque[str]] = {}

    async def load(self) -> None:
        """Take up what is on record."""
        loaded = sorted(await self._repository.load_all(), key=lambda found: found.created_ns)
        self._records = ExecRecords(loaded)
        for found in loaded:
            if found.status == "exited":
                self._ended_ids.setdefault(found.container_id, deque()).append(found.id)

    def ids(self, container_id: str) -> list[str]:
        """The execs that have not ended."""
        return [found.id for found in self._records.of(container_id) if found.status != "exited"]

    def probes(self, container_id: str) -> list[ExecRecord]:
        """The probes of a container that run."""
        found = self._records.of(container_id)
        return [one for one in found if one.probe and one.status == "running"]

    async def create(self, reference: str, config: ExecConfig, *, probe: bool = False) -> str:
        """Prepare an exec; a `probe` is of the container's health.

        Raises ConflictError if it does not run.
        """
        entry = self._directory.find(reference)
        admission.check_exec(config)
        _check_running(entry)
        made = ExecRecord(admission.new_id(), entry.record.id, config, time.time_ns(), probe=probe)
        await self._repository.put(made, (exec_event(entry.record, made, "exec_create"),))
        self._records.put(made)
        return made.id

    async def start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        console_size: tuple[int, int] | None = None,
    ) -> Attachment | None:
        """Run a prepared exec, once; joined to it unless detached.

        Raises ConflictError if it has run or its container does not run.
        """
        admission.check_console(list(console_size or ()))
        record = self.record(exec_id)
        if record.status != "created" or exec_id in self._starting:
            raise ConflictError(f"Error: Exec command {exec_id} has already run")
        entry = self._directory.find(record.container_id)
        _check_running(entry)
        made = Attachment(
            stdin=record.config.AttachStdin, stdout=record.config.AttachStdout,
            stderr=record.config.AttachStderr, past=None, stream=True,
            settle=lambda: self.look(entry.record.id, exec_id),
        )  # fmt: skip
        self._starting.add(exec_id)
        joined = None if detach else made
        try:
            await self._lifecycle.tasks.whole(self._start(entry, record, joined, console_size))
        except BaseException:
            await made.leave()
            raise
        return joined

    async def _start(
        self,
        entry: Entry,
        record: ExecRecord,
        joined: Attachment | None,
        console_size: tuple[int, int] | None,
    ) -> None:
        try:
            started = await self._execute(entry, record, joined, console_size)
        except (AiodError, SpawnError, OSError) as error:
            await self._failed(record, error)
        else:
            failpoints.reach(STARTED)
            await self._running(record, started.pid, started.start_time)
            self._lifecycle.exec_noticed(record.container_id, record.id)
        finally:
            self._starting.discard(record.id)

    async def _execute(
        self,
        entry: Entry,
        record: ExecRecord,
        joined: Attachment | None,
        console_size: tuple[int, int] | None,
    ) -> StartResponse:
        config, run = record.config, self._paths.shim(entry.record.id)
        container = self._lifecycle.naming.with_variables(entry.record)
        process = await asyncio.to_thread(
            self._lifecycle.preparer.exec_process, container, config, console_size
        )
        client = ShimClient(run)
        try:
            await client.exec(
                record.id, process, terminal=config.Tty, open_stdin=config.AttachStdin
            )
            return await self._let_run(entry, record.id, joined, client)
        finally:
            client.close()

    async def _let_run(
        self, entry: Entry, exec_id: str, joined: Attachment | None, client: ShimClient
    ) -> StartResponse:
        try:
            if joined is not None:
                await joined.bind(ShimClient(self._paths.shim(entry.record.id)), exec_id)
                entry.join(joined)
            return await client.start(exec_id)
        except Exception:
            await client.abandon(exec_id)
            raise

    async def _failed(self, record: ExecRecord, error: Exception) -> NoReturn:
        kind = error.kind if isinstance(error, SpawnError) else ""
        code = 127 if kind == "not-found" else 126
        failed = msgspec.structs.replace(record, status="exited", exit_code=code)
        await self._put(failed, "exec_die")
        if isinstance(error, AiodError):
            raise error
        word = (record.config.Cmd or [""])[0]
        told = str(error)
        if isinstance(error, SpawnError) and kind:
            told = f'exec: "{word}": {error.message}'
        raise InvalidParameterError(
            "OCI runtime exec failed: exec failed: unable to start container process: "
            f"{told}: unknown"
        ) from error

    async def _put(self, record: ExecRecord, action: str) -> None:
        owner = self._directory.find(record.container_id).record
        await self._repository.put(record, (exec_event(owner, record, action),))
        self._records.put(record)
        if ready := self._ready.pop(record.id, None):
            ready.set()
        if record.status == "exited":
            self._tell_ended(record.id)
            await self._keep_last(record)

    def _tell_ended(self, exec_id: str) -> None:
        if ended := self._ended_events.pop(exec_id, None):
            ended.set()

    async def _keep_last(self, record: ExecRecord) -> None:
        """Forget who ended long before `record` did."""
        ended = self._ended_ids.setdefault(record.container_id, deque())
        ended.append(record.id)
        while len(ended) > _KEPT:
            oldest = ended.popleft()
            self._records.drop(oldest)
            await self._repository.delete(oldest)

    def forget(self, container_id: str) -> None:
        """The container is gone, and with it what was on record."""
        self._ended_ids.pop(container_id, None)
        for exec_id in self._records.forget(container_id):
            self._ready.pop(exec_id, None)
            self._tell_ended(exec_id)

    async def _running(self, record: ExecRecord, pid: int, start: int) -> None:
        running = msgspec.structs.replace(record, status="running", pid=pid, pid_start=start)
        await self._put(running, "exec_start")

    async def look(self, container_id: str, exec_id: str) -> None:
        """Record an exec's exit, if its file has one."""
        found = await asyncio.to_thread(self._read, container_id, exec_id)
        if found is not None and found.exit_code is not None:
            await self._ended(exec_id, found.exit_code)

    async def settle(self, container_id: str, over: bool) -> None:
        """Look at all execs of a container that is taken up, or is `over`, with all that is in it.

        One whose file does not say how it ended, though it has, gets the code of a SIGKILL.
        """
        for record in self._records.of(container_id):
            if record.status == "exited" or record.id in self._starting:
                continue
            found = await asyncio.to_thread(self._read, container_id, record.id)
            if record.status == "created" and found is not None:
                await self._running(record, found.pid, found.start_time)
                # Who was told of its end before that could not record it.
                found = await asyncio.to_thread(self._read, container_id, record.id)
            if found is not None and found.exit_code is not None:
                await self._ended(record.id, found.exit_code)
            elif over or (found is None and not proc.is_same(record.pid, record.pid_start)):
                await self._ended(record.id, UNKNOWN_EXIT)

    def _read(self, container_id: str, exec_id: str) -> protocol.ExecState | None:
        file = self._paths.shim(container_id) / protocol.EXECS_DIRECTORY / f"{exec_id}.json"
        try:
            return protocol.read_struct(file, protocol.ExecState)
        except protocol.DamagedFileError as error:
            log.warning("exec %s: %s", exec_id[:12], error)
            return None

    async def _ended(self, exec_id: str, code: int) -> None:
        """Record an exit, once; it is on record when this returns, whoever of many did it."""
        while (other := self._ending.get(exec_id)) is not None:
            await other.wait()
        record = self._records.get(exec_id)
        if record is None or record.status != "running":
            return
        done = self._ending[exec_id] = asyncio.Event()
        try:
            ended = msgspec.structs.replace(record, status="exited", exit_code=code)
            await self._put(ended, "exec_die")
        finally:
            del self._ending[exec_id]
            done.set()

    def record(self, exec_id: str) -> ExecRecord:
        """What was asked of an exec. Raises NotFoundError."""
        record = self._records.get(exec_id)
        if record is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return record

    async def exit_code(self, exec_id: str) -> int:
        """Wait for the end of an exec that runs; its code. Raises NotFoundError if it is gone."""
        while (record := self.record(exec_id)).status != "exited":
            await self._ended_events.setdefault(exec_id, asyncio.Event()).wait()
        return UNKNOWN_EXIT if record.exit_code is None else record.exit_code

    async def detached(self, exec_id: str) -> None:
        """A client left by its keys."""
        record = self.record(exec_id)
        owner = self._directory.find(record.container_id).record
        await self._events.append((exec_event(owner, record, "exec_detach"),))

    async def resize(self, exec_id: str, width: int, height: int) -> None:
        """Tell an exec's terminal its size, waiting for its start as clients do not."""
        if self.record(exec_id).status == "created":
            ready = self._ready.setdefault(exec_id, asyncio.Event())
            try:
                async with asyncio.timeout(_READY_SECONDS):
                    await ready.wait()
            except TimeoutError:
                raise ConflictError("timeout waiting for exec session ready") from None
        record = self.record(exec_id)
        if record.status != "running":
            raise ConflictError(f"exec {exec_id} is not running")
        owner = self._directory.find(record.container_id).record
        await resize(self._paths.shim(owner.id), width, height, exec_id)

    async def inspect(self, exec_id: str) -> ExecInspect:
        """How an exec went."""
        return inspected(self.record(exec_id))


def _check_running(entry: Entry) -> None:
    """Raise ConflictError if nothing can be executed in the container now."""
    status = entry.record.state.status
    if status is Status.PAUSED:
        raise ConflictError(
            f"Container {entry.record.id} is paused, unpause the container before exec"
        )
    if status is not Status.RUNNING:
        raise ConflictError(f"container {entry.record.id} is not running")
