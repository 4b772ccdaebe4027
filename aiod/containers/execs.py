"""Further processes in running containers.

Owns their records; must not know HTTP, nor how a process enters a container.
"""

import asyncio
import time
from typing import NoReturn

import msgspec

from aiod.config import Paths
from aiod.containers import admission
from aiod.containers.entries import Directory
from aiod.containers.execview import ExecInspect, inspected
from aiod.containers.happenings import exec_event
from aiod.containers.joining import resize
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.streams import Attachment
from aiod.errors import ConflictError, InvalidParameterError, NotFoundError
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.models import ExecConfig
from aiod.store.records import ExecRecord, Status
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import SpawnError


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
        self._records: dict[str, ExecRecord] = {}

    async def load(self) -> None:
        """Take up what is on record."""
        self._records = {found.id: found for found in await self._repository.load_all()}

    def ids(self, container_id: str) -> list[str]:
        """The execs under way."""
        return [
            found.id
            for found in self._records.values()
            if found.container_id == container_id and found.status == "running"
        ]

    async def create(self, reference: str, config: ExecConfig) -> str:
        """Prepare an exec. Raises ConflictError if the container does not run."""
        entry = self._directory.find(reference)
        status = entry.record.state.status
        if status is Status.PAUSED:
            raise ConflictError(
                f"Container {entry.record.id} is paused, unpause the container before exec"
            )
        if status is not Status.RUNNING:
            raise ConflictError(f"container {entry.record.id} is not running")
        made = ExecRecord(admission.new_id(), entry.record.id, config, time.time_ns())
        await self._repository.put(made, (exec_event(entry.record, made, "exec_create"),))
        self._records[made.id] = made
        return made.id

    async def start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        console_size: tuple[int, int] | None = None,
    ) -> Attachment | None:
        """Run a prepared exec; joined to it unless detached."""
        record = self.record(exec_id)
        entry = self._directory.find(record.container_id)
        if record.status != "created":
            raise ConflictError(f"exec {exec_id} has already run")
        config = record.config
        process = await asyncio.to_thread(
            self._lifecycle.exec_process, entry.record, config, console_size
        )
        made = Attachment(
            stdin=config.AttachStdin, stdout=config.AttachStdout, stderr=config.AttachStderr,
            past=None, stream=True,
            settle=lambda: self._lifecycle.look_at_exec(entry.record.id, exec_id),
        )  # fmt: skip
        client = ShimClient(self._paths.shim(entry.record.id))
        try:
            await client.exec(exec_id, process, terminal=config.Tty, open_stdin=config.AttachStdin)
            if not detach:
                await made.bind(ShimClient(self._paths.shim(entry.record.id)), exec_id)
            started = await client.start(exec_id)
        except (SpawnError, OSError) as error:
            await self._failed(record, error)
        finally:
            client.close()
        running = msgspec.structs.replace(
            record, status="running", pid=started.pid, pid_start=started.start_time
        )
        await self._put(running, "exec_start")
        self._lifecycle.exec_noticed(record.container_id, exec_id)
        return None if detach else made

    async def _failed(self, record: ExecRecord, error: Exception) -> NoReturn:
        kind = error.kind if isinstance(error, SpawnError) else ""
        code = {"not-found": 127, "not-executable": 126}.get(kind, 126)
        await self._put(
            msgspec.structs.replace(record, status="exited", exit_code=code), "exec_die"
        )
        word = (record.config.Cmd or [""])[0]
        told = str(error)
        if kind:
            reason = "executable file not found in $PATH" if code == 127 else "permission denied"
            told = f'exec: "{word}": {reason}'
        raise InvalidParameterError(
            "OCI runtime exec failed: exec failed: unable to start container process: "
            f"{told}: unknown"
        )

    async def _put(self, record: ExecRecord, action: str) -> None:
        owner = self._directory.find(record.container_id).record
        await self._repository.put(record, (exec_event(owner, record, action),))
        self._records[record.id] = record

    async def ended(self, exec_id: str, code: int) -> None:
        """Record an exit, once."""
        record = self._records.get(exec_id)
        if record is not None and record.status == "running":
            ended = msgspec.structs.replace(record, status="exited", exit_code=code)
            await self._put(ended, "exec_die")

    def record(self, exec_id: str) -> ExecRecord:
        """What was asked of an exec. Raises NotFoundError."""
        record = self._records.get(exec_id)
        if record is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return record

    async def detached(self, exec_id: str) -> None:
        """A client left by its keys."""
        record = self.record(exec_id)
        owner = self._directory.find(record.container_id).record
        await self._events.append((exec_event(owner, record, "exec_detach"),))

    async def resize(self, exec_id: str, width: int, height: int) -> None:
        """Tell an exec's terminal its size."""
        record = self.record(exec_id)
        owner = self._directory.find(record.container_id).record
        await resize(self._paths.shim(owner.id), width, height, exec_id)

    async def inspect(self, exec_id: str) -> ExecInspect:
        """How an exec went."""
        return inspected(self.record(exec_id))
