"""The verbs on containers, as the API calls them.

Owns create, remove and what only looks; starts, ends and recovery are `lifecycle`'s. Must not
know HTTP, SQL or system calls.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from aiod import failpoints
from aiod.config import DaemonConfig, Paths
from aiod.containers import admission, logs
from aiod.containers.entries import RUNNING, Directory, Entry, Waiter
from aiod.containers.execview import ExecInspect, inspected
from aiod.containers.happenings import event, exec_event
from aiod.containers.lifecycle import Lifecycle, signal_number, size_of
from aiod.containers.merge import command_of, merged
from aiod.containers.options import AttachOptions, LogOptions
from aiod.containers.streams import Attachment
from aiod.errors import (
    ConflictError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
    UnsupportedError,
)
from aiod.images.model import ContainerUse
from aiod.images.service import ImageService
from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.store.containers import ContainerRepository
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.models import (
    ContainerConfig,
    ExecConfig,
    HostConfig,
    LogSettings,
    NetworkingConfig,
    RestartSettings,
)
from aiod.store.records import ContainerRecord, ExecRecord, Intent, Status
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import ShimTemplate, SpawnError

DIRECTORY_MADE = failpoints.declare("create.directory-made")
CREATED = failpoints.declare("create.recorded")
REMOVE_INTENT = failpoints.declare("remove.intent-written")
FILES_REMOVED = failpoints.declare("remove.files-removed")
REMOVED = failpoints.declare("remove.recorded")

_PS_SECONDS = 10.0
_LATER = "is not supported by aiod yet"


@dataclass(frozen=True, slots=True)
class Created:
    """A new container's id, and what it was not given."""

    id: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TopResult:
    """What ps(1) says of a container's processes."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class ContainerService:
    """All containers of one daemon."""

    def __init__(
        self,
        paths: Paths,
        config: DaemonConfig,
        repository: ContainerRepository,
        execs: ExecRepository,
        images: ImageService,
        template: ShimTemplate,
        events: EventLog,
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._execs = execs
        self._images = images
        self._events = events
        self._directory = Directory()
        self._broken: dict[str, str] = {}
        self._exec_records: dict[str, ExecRecord] = {}
        self._lifecycle = Lifecycle(paths, config, repository, images, template, self._directory)
        self._lifecycle.remove_ended = self._remove_ended
        self._lifecycle.exec_ended = self._exec_ended
        images.uses = self._uses
        images.layers_in_use = self._layers_in_use

    async def recover(self) -> None:
        """Take up what runs. Called once, before anybody is served."""
        loaded = await self._repository.load_all()
        self._broken = dict(loaded.broken)
        self._exec_records = {found.id: found for found in await self._execs.load_all()}
        await self._lifecycle.recover(loaded.records, set(self._broken))

    async def close(self) -> None:
        """Stop watching; containers go on."""
        await self._lifecycle.close()

    def _uses(self, image_id: str) -> Iterable[ContainerUse]:
        for entry in self._directory.by_id.values():
            if entry.record.image_id == image_id:
                yield ContainerUse(entry.record.id, entry.record.state.status in RUNNING)

    def _layers_in_use(self) -> Iterable[str]:
        for entry in self._directory.by_id.values():
            yield from entry.record.layers

    # looking

    def list(self) -> "Records":
        """All records, in no order."""
        return [entry.record for entry in self._directory.by_id.values()]

    def get(self, reference: str) -> ContainerRecord:
        """One record. Raises NotFoundError."""
        return self._directory.find(reference).record

    def exec_ids(self, container_id: str) -> "Names":
        """The execs under way."""
        return [
            found.id
            for found in self._exec_records.values()
            if found.container_id == container_id and found.status == "running"
        ]

    def open_wait(self, reference: str, condition: str) -> Waiter:
        """Register a wait; it counts from now on."""
        return self._directory.find(reference).wait(condition)

    async def logs(
        self, reference: str, options: LogOptions
    ) -> AsyncGenerator[logs.LogEntry, None]:
        """The log's entries. Raises InvalidParameterError for a driver that cannot be read."""
        entry = self._directory.find(reference)
        driver = entry.record.host.LogConfig.Type
        if driver == "none":
            raise InternalError("configured logging driver does not support reading")
        if driver == "local":
            raise UnsupportedError(f"reading the log driver local {_LATER}")
        ended = entry.ended
        if entry.record.state.status not in RUNNING:
            ended = asyncio.Event()
            ended.set()
        return logs.read(Path(entry.record.log_path), options, ended)

    async def top(self, reference: str, ps_args: str) -> TopResult:
        """ps(1) of the host, showing only the container's. Raises ConflictError if none run."""
        entry = self._directory.find(reference)
        if entry.record.state.status not in RUNNING:
            raise ConflictError(f"container {entry.record.id} is not running")
        pids = set(map(str, await asyncio.to_thread(self._lifecycle.cgroup(entry).processes)))
        process = await asyncio.create_subprocess_exec(
            "ps", *ps_args.split(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_PS_SECONDS):
                out, wrong = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise InternalError("ps did not answer") from None
        if process.returncode:
            raise InvalidParameterError(f"ps: {wrong.decode(errors='replace').strip()}")
        return _only(out.decode(errors="replace"), pids)

    # create

    async def create(
        self,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str = "",
    ) -> Created:
        """Make a container; wholly or not at all."""
        if name is not None:
            name = name.removeprefix("/")
            admission.check_name(name)
        if not config.Image:
            raise InvalidParameterError(
                "no command specified" if not config.Cmd else "no image specified"
            )
        if platform not in ("", "linux", f"linux/{self._images.architecture}"):
            raise NotFoundError(
                f"image with reference {config.Image} was found but does not "
                f"provide the specified platform ({platform})"
            )
        admission.check(config, host, networking)
        mode, warnings = admission.network_mode(host)
        _check_log_options(host)
        image = await self._images.resolve(config.Image)
        run = (await self._images.config(image)).run
        if run.volumes:
            warnings += ("the image's volumes are kept in the container: aiod has no volumes yet",)
        config = merged(config, run)
        path, args = command_of(config)
        made = admission.new_id()
        config = msgspec.structs.replace(config, Hostname=config.Hostname or made[:12])
        if isinstance(config.StopSignal, str) and config.StopSignal:
            signal_number(config.StopSignal)
        own = self._paths.container(made)
        record = ContainerRecord(
            id=made,
            name=name or f"c{made[:12]}",
            created_ns=time.time_ns(),
            image_id=image.id,
            image_name=config.Image,
            path=path,
            args=args,
            config=config,
            host=_with_defaults(host, mode),
            networking=networking,
            network_mode=mode,
            layers=tuple(layer.chain_id for layer in image.layers),
            hostname=config.Hostname,
            log_path=str(own / f"{made}-json.log"),
        )
        await self._make(record, own)
        return Created(made, warnings)

    async def _make(self, record: ContainerRecord, own: Path) -> None:
        await asyncio.to_thread(own.mkdir, 0o710)
        failpoints.reach(DIRECTORY_MADE)
        try:
            await self._repository.insert(record, (event(record, "create"),))
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, own, True)
            raise
        failpoints.reach(CREATED)
        self._directory.add(record)

    # the running side

    async def start(self, reference: str) -> None:
        """Start one container."""
        await self._lifecycle.start(self._directory.find(reference))

    async def stop(self, reference: str, timeout: int | None, signal: str | None) -> None:
        """End one container."""
        number = signal_number(signal) if signal else None
        await self._lifecycle.stop(self._directory.find(reference), timeout, number)

    async def restart(self, reference: str, timeout: int | None, signal: str | None) -> None:
        """End it if it runs, and start it."""
        number = signal_number(signal) if signal else None
        await self._lifecycle.restart(self._directory.find(reference), timeout, number)

    async def kill(self, reference: str, signal: str) -> None:
        """Signal its init."""
        number = signal_number(signal)
        await self._lifecycle.kill(self._directory.find(reference), number)

    async def pause(self, reference: str) -> None:
        """Freeze every process."""
        entry = self._directory.find(reference)
        async with entry.verb:
            status = entry.record.state.status
            if status is Status.PAUSED:
                raise ConflictError(f"container {entry.record.id} is already paused")
            if status is not Status.RUNNING:
                raise ConflictError(f"container {entry.record.id} is not running")
            await self._froze(entry, freeze=True)
            await self._lifecycle.change(entry, ("pause",), status=Status.PAUSED)

    async def unpause(self, reference: str) -> None:
        """Let its processes go on."""
        entry = self._directory.find(reference)
        async with entry.verb:
            if entry.record.state.status is not Status.PAUSED:
                raise InternalError(f"container {entry.record.id} is not paused")
            await self._froze(entry, freeze=False)
            await self._lifecycle.change(entry, ("unpause",), status=Status.RUNNING)

    async def _froze(self, entry: Entry, *, freeze: bool) -> None:
        group = self._lifecycle.cgroup(entry)
        try:
            await asyncio.to_thread(group.freeze if freeze else group.thaw)
        except NativeError as error:
            raise InternalError(f"cannot {'pause' if freeze else 'unpause'}: {error}") from error

    async def rename(self, reference: str, name: str) -> None:
        """Give it another name. Raises ConflictError if that is taken."""
        entry = self._directory.find(reference)
        name = name.removeprefix("/")
        if not name:
            raise InvalidParameterError("Neither old nor new names may be empty")
        admission.check_name(name)
        old = entry.record.name
        if name == old:
            raise InvalidParameterError(
                "Renaming a container with the same name as its current name"
            )
        async with entry.verb, entry.writing:
            record = msgspec.structs.replace(entry.record, name=name)
            await self._repository.update(record, (event(record, "rename", oldName=f"/{old}"),))
            entry.record = record
            self._directory.rename(old, record)

    # remove

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Take a container away; wholly, whatever happens meanwhile."""
        if link:
            raise UnsupportedError(f"link=1: removal of links {_LATER}")
        if reference in self._broken:
            await self._remove_broken(reference)
            return
        entry = self._directory.find(reference)
        state = entry.record.state
        busy = state.status in RUNNING or state.status is Status.RESTARTING
        if busy and not force:
            held = state.status.value
            advice = "unpause and then stop" if held == "paused" else "stop"
            raise ConflictError(
                f'cannot remove container "{reference}": container is {held}: '
                f"{advice} the container before removing or force remove"
            )
        async with entry.verb:
            await self._remove(entry)

    async def _remove_broken(self, container_id: str) -> None:
        await self._repository.delete(container_id)
        await asyncio.to_thread(shutil.rmtree, self._paths.container(container_id), True)
        self._broken.pop(container_id, None)

    async def _remove_ended(self, entry: Entry) -> None:
        async with entry.verb:
            if entry.record.id in self._directory.by_id:
                await self._remove(entry)

    async def _remove(self, entry: Entry) -> None:
        if entry.retry is not None and entry.retry is not asyncio.current_task():
            entry.retry.cancel()
        state = entry.record.state
        await self._lifecycle.change(entry, (), intent=Intent.REMOVE, manually_stopped=True)
        failpoints.reach(REMOVE_INTENT)
        if state.status in RUNNING:
            if state.status is Status.PAUSED:
                with contextlib.suppress(InternalError):
                    await self._froze(entry, freeze=False)
            proc.send_signal(state.pid, state.pid_start, 9)
        if entry.run is not None and entry.run is not asyncio.current_task():
            await asyncio.wait((entry.run,))
        await self._lifecycle.change(entry, (), status=Status.REMOVING)
        own = self._paths.container(entry.record.id)
        await asyncio.to_thread(shutil.rmtree, own, True)
        failpoints.reach(FILES_REMOVED)
        await self._repository.delete(entry.record.id, (event(entry.record, "destroy"),))
        failpoints.reach(REMOVED)
        self._directory.drop(entry.record)
        for attachment in entry.pending:
            attachment.give_up()
        entry.announce("not-running", "next-exit", "removed")

    # streams and execs

    async def attach(self, reference: str, options: AttachOptions) -> Attachment:
        """Join a client; to one that does not run yet, from its start on."""
        entry = self._directory.find(reference)
        past = None
        if options.logs:
            wanted = LogOptions(stdout=options.stdout, stderr=options.stderr)
            past = await self.logs(reference, wanted)
        made = Attachment(
            stdin=options.stdin, stdout=options.stdout, stderr=options.stderr,
            past=past, stream=options.stream,
        )  # fmt: skip
        if not options.stream:
            return made
        async with entry.verb:
            if entry.record.state.status is Status.PAUSED:
                raise ConflictError(
                    "cannot attach to a paused container, unpause the container before attach"
                )
            if entry.record.state.status is Status.RUNNING:
                await made.bind(ShimClient(self._paths.shim(entry.record.id)))
            else:
                entry.pending.append(made)
        await self._events.append((event(entry.record, "attach"),))
        return made

    async def detached(self, reference: str) -> None:
        """A client left by its keys."""
        entry = self._directory.find(reference)
        await self._events.append((event(entry.record, "detach"),))

    async def resize(self, reference: str, width: int, height: int) -> None:
        """Tell the terminal its size."""
        entry = self._directory.find(reference)
        if entry.record.state.status not in RUNNING:
            raise ConflictError(f"container {entry.record.id} is not running")
        await self._resize(entry, width, height, "")

    async def _resize(self, entry: Entry, width: int, height: int, exec_id: str) -> None:
        client = ShimClient(self._paths.shim(entry.record.id))
        try:
            await client.resize(width, height, exec_id)
        except (SpawnError, OSError) as error:
            raise InternalError(f"resize: {error}") from error
        finally:
            client.close()

    async def exec_create(self, reference: str, config: ExecConfig) -> str:
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
        await self._execs.put(made, (exec_event(entry.record, made, "exec_create"),))
        self._exec_records[made.id] = made
        return made.id

    async def exec_start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        console_size: tuple[int, int] | None = None,
    ) -> Attachment | None:
        """Run a prepared exec; joined to it unless detached."""
        record = self.exec_record(exec_id)
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
            await self._exec_failed(record, error)
        finally:
            client.close()
        running = msgspec.structs.replace(
            record, status="running", pid=started.pid, pid_start=started.start_time
        )
        await self._put_exec(running, "exec_start")
        self._lifecycle.exec_noticed(record.container_id, exec_id)
        return None if detach else made

    async def _exec_failed(self, record: ExecRecord, error: Exception) -> NoReturn:
        kind = error.kind if isinstance(error, SpawnError) else ""
        code = {"not-found": 127, "not-executable": 126}.get(kind, 126)
        await self._put_exec(
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

    async def _put_exec(self, record: ExecRecord, action: str) -> None:
        owner = self._directory.find(record.container_id).record
        await self._execs.put(record, (exec_event(owner, record, action),))
        self._exec_records[record.id] = record

    async def _exec_ended(self, exec_id: str, code: int) -> None:
        record = self._exec_records.get(exec_id)
        if record is not None and record.status == "running":
            ended = msgspec.structs.replace(record, status="exited", exit_code=code)
            await self._put_exec(ended, "exec_die")

    def exec_record(self, exec_id: str) -> ExecRecord:
        """What was asked of an exec. Raises NotFoundError."""
        record = self._exec_records.get(exec_id)
        if record is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return record

    async def exec_detached(self, exec_id: str) -> None:
        """A client left by its keys."""
        record = self.exec_record(exec_id)
        owner = self._directory.find(record.container_id).record
        await self._events.append((exec_event(owner, record, "exec_detach"),))

    async def exec_resize(self, exec_id: str, width: int, height: int) -> None:
        """Tell an exec's terminal its size."""
        record = self.exec_record(exec_id)
        await self._resize(self._directory.find(record.container_id), width, height, exec_id)

    async def exec_inspect(self, exec_id: str) -> ExecInspect:
        """How an exec went."""
        return inspected(self.exec_record(exec_id))


Records = list[ContainerRecord]
Names = list[str]


def _with_defaults(host: HostConfig, mode: str) -> HostConfig:
    driver = LogSettings(host.LogConfig.Type or "json-file", host.LogConfig.Config or {})
    policy = RestartSettings(host.RestartPolicy.Name or "no", host.RestartPolicy.MaximumRetryCount)
    return msgspec.structs.replace(
        host,
        LogConfig=driver,
        RestartPolicy=policy,
        NetworkMode=host.NetworkMode or mode,
        ShmSize=host.ShmSize or 64 << 20,
        IpcMode=host.IpcMode or "private",
    )


def _check_log_options(host: HostConfig) -> None:
    for name, value in (host.LogConfig.Config or {}).items():
        if name == "max-size":
            size_of(value)
        elif name != "max-file" or not value.isdigit() or int(value) < 1:
            driver = host.LogConfig.Type or "json-file"
            raise InvalidParameterError(f"unknown log opt '{name}' for {driver} log driver")


def _only(text: str, pids: set[str]) -> TopResult:
    titles, *rows = text.splitlines() or [""]
    names = titles.split()
    if "PID" not in names:
        raise InternalError("Couldn't find PID field in ps output")
    place = names.index("PID")
    found = [tuple(row.split(None, len(names) - 1)) for row in rows]
    return TopResult(
        tuple(names), tuple(row for row in found if len(row) > place and row[place] in pids)
    )
