"""Starts containers, watches them to their end, stops them, and takes up those that run on.

Owns every change of a container's running side: the intent is on disk before anything is
done, the outcome after it, and each step may be taken again by another daemon. Must not know
HTTP. Nothing here is global: containers never wait for one another.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import select
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from aiod import failpoints
from aiod.config import DaemonConfig, Paths
from aiod.containers import bundle, identity
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.happenings import died, event
from aiod.containers.streams import Attachment
from aiod.containers.units import signal_number, size_of
from aiod.errors import (
    AiodError,
    ConflictError,
    InternalError,
    InvalidParameterError,
    NotModifiedError,
)
from aiod.images.service import ImageService
from aiod.native import cgroups, proc
from aiod.native.errors import NativeError
from aiod.shim import protocol
from aiod.store.containers import ContainerRepository
from aiod.store.models import ExecConfig
from aiod.store.records import ContainerRecord, EventRecord, Intent, RunState, Status
from aiod.tasks import recovery, restart
from aiod.tasks.recovery import Action, Boot, Case, ExitFile, Recorded, Seen
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import (
    ExitListener,
    ShimFiles,
    ShimTemplate,
    Spawned,
    SpawnError,
    read_state,
    release,
)

log = logging.getLogger(__name__)

INTENT = failpoints.declare("start.intent-written")
BUNDLE = failpoints.declare("start.bundle-written")
SPAWNED = failpoints.declare("start.spawned")
STARTED = failpoints.declare("start.recorded")
STOP_INTENT = failpoints.declare("stop.intent-written")
STOP_SIGNALLED = failpoints.declare("stop.signalled")
STOP_RECORDED = failpoints.declare("stop.exit-recorded")
TAKEN_UP = failpoints.declare("recover.one-taken-up")
SETTLED = failpoints.declare("recover.settled")

_LOST, _REBOOTED = 137, 255
_SHIM_END_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_DEFAULT_STOP_SECONDS = 10
_EXIT_CODES = {"not-found": 127, "not-executable": 126}


class Lifecycle:
    """The running side of all containers of one daemon."""

    def __init__(
        self,
        paths: Paths,
        config: DaemonConfig,
        repository: ContainerRepository,
        images: ImageService,
        template: ShimTemplate,
        directory: Directory,
    ) -> None:
        self._paths = paths
        self._config = config
        self._repository = repository
        self._images = images
        self._template = template
        self._directory = directory
        self._listener = ExitListener(paths.exits_socket, self._noticed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._boot = proc.boot_id()
        self.exec_ended: Callable[[str, int], Awaitable[None]] | None = None
        self.remove_ended: Callable[[Entry], Awaitable[None]] | None = None

    def own(self, work: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """Keep a task until it ends; its failure is logged."""
        self._tasks.add(work)
        work.add_done_callback(self._ended)
        return work

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %s", task.get_name(), error, exc_info=error)

    async def close(self) -> None:
        """Stop watching; containers go on."""
        self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _noticed(self, notice: protocol.ExitNotice) -> None:
        entry = self._directory.by_id.get(notice.id)
        if entry is None:
            return
        if notice.exec_id:
            self.exec_noticed(notice.id, notice.exec_id)
        else:
            entry.noticed.set()

    def exec_noticed(self, container_id: str, exec_id: str) -> None:
        """An exec may have ended: its file says whether and how."""
        self.own(asyncio.create_task(self.look_at_exec(container_id, exec_id)))

    async def look_at_exec(self, container_id: str, exec_id: str) -> None:
        """Record the exit of an exec, if its file has one."""
        file = self._paths.shim(container_id) / protocol.EXECS_DIRECTORY / f"{exec_id}.json"
        with contextlib.suppress(protocol.DamagedFileError):
            found = await asyncio.to_thread(protocol.read_struct, file, protocol.ExecState)
            if found is not None and found.exit_code is not None and self.exec_ended is not None:
                await self.exec_ended(exec_id, found.exit_code)

    def exec_process(
        self, record: ContainerRecord, config: ExecConfig, console_size: tuple[int, int] | None
    ) -> bytes:
        """The specification of an exec's process; blocking."""
        own = self._paths.container(record.id)
        layers = [self._images.layer_directory(chain) for chain in reversed(record.layers)]
        who = identity.resolve(
            config.User or record.config.User, record.host.GroupAdd or (), [own / "upper", *layers]
        )
        return bundle.exec_process(record, config, who, console_size)

    # records

    async def change(
        self, entry: Entry, events: Iterable[str | EventRecord] = (), **changes: object
    ) -> None:
        """Write a change of the running state, with its events, and then show it."""
        async with entry.writing:
            state = msgspec.structs.replace(entry.record.state, **changes)
            record = msgspec.structs.replace(entry.record, state=state)
            made = [event(record, e) if isinstance(e, str) else e for e in events]
            await self._repository.update(record, made)
            entry.record = record

    # start

    async def start(self, entry: Entry) -> None:
        """Start it. Raises NotModifiedError if it runs, ConflictError if it cannot."""
        async with entry.verb:
            await self._start(entry)

    async def _start(self, entry: Entry, **changes: object) -> None:
        status = entry.record.state.status
        if status is Status.PAUSED:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if status in RUNNING:
            raise NotModifiedError("container is already running")
        if status in (Status.REMOVING, Status.DEAD):
            raise ConflictError("container is marked for removal and cannot be started")
        if entry.retry is not None and entry.retry is not asyncio.current_task():
            entry.retry.cancel()
        if entry.run is not None:
            await asyncio.wait((entry.run,))
        fresh: dict[str, object] = {"manually_stopped": False, "restart_count": 0}
        fresh |= {"restart_delay_ns": 0, "intent": Intent.START, "boot_id": self._boot, **changes}
        await self.change(entry, (), **fresh)
        failpoints.reach(INTENT)
        try:
            spawned = await self._spawn(entry)
        except (SpawnError, AiodError, NativeError, OSError) as error:
            await self._failed(entry, error)
        else:
            await self._running(entry, spawned)

    async def _spawn(self, entry: Entry) -> Spawned:
        pending, entry.pending = entry.pending, []
        run = self._paths.shim(entry.record.id)
        await asyncio.to_thread(self._write_bundle, entry.record, not pending)
        failpoints.reach(BUNDLE)
        spawned = await self._template.spawn(run)
        failpoints.reach(SPAWNED)
        if pending:
            try:
                spawned = await self._start_joined(run, spawned, pending)
            except BaseException:
                self._kill_shim(spawned)
                raise
        return spawned

    @staticmethod
    def _kill_shim(spawned: Spawned) -> None:
        proc.send_signal(spawned.init_pid, spawned.init_start, signal.SIGKILL)
        proc.send_signal(spawned.shim_pid, spawned.shim_start, signal.SIGKILL)

    @staticmethod
    async def _start_joined(run: Path, spawned: Spawned, pending: list[Attachment]) -> Spawned:
        """Join those who wait before the first byte, then let it execute."""
        for attachment in pending:
            await attachment.bind(ShimClient(run))
        client = ShimClient(run)
        try:
            started = await client.start()
        finally:
            client.close()
        return dataclasses.replace(spawned, started_at_ns=started.started_at_ns)

    def _write_bundle(self, record: ContainerRecord, start: bool) -> None:
        own, run = self._paths.container(record.id), self._paths.shim(record.id)
        shutil.rmtree(run, ignore_errors=True)
        for made in (own / "upper", own / "work", run / protocol.ROOTFS_DIRECTORY):
            made.mkdir(parents=True, exist_ok=True)
        layers = [self._images.layer_directory(chain) for chain in reversed(record.layers)]
        places = bundle.Places(tuple(layers), own)
        who = identity.resolve(
            record.config.User, record.host.GroupAdd or (), [own / "upper", *layers]
        )
        for bind in record.host.Binds or ():
            Path(bind.split(":")[0]).mkdir(parents=True, exist_ok=True) if not os.path.lexists(
                bind.split(":")[0]
            ) else None
        resolv = _host_resolv()
        for name, data in bundle.etc_contents(record, resolv).items():
            if name == "resolv.conf" and (own / name).exists():
                continue
            (own / name).write_bytes(data)
        container = bundle.build(record, who, places)
        bundle.write(container, run, protocol.CONFIG_FILE)
        protocol.write_struct(run / protocol.REQUEST_FILE, self._request(record, run, start))

    def _request(self, record: ContainerRecord, run: Path, start: bool) -> protocol.SpawnRequest:
        settings = record.host.LogConfig.Config or {}
        driver = record.host.LogConfig.Type or "json-file"
        parent = self._config.cgroup_parent
        return protocol.SpawnRequest(
            id=record.id,
            directory=str(run),
            cgroup_path=f"{parent}/{record.id}",
            shim_cgroup=f"{parent}/shims",
            exits_socket=str(self._paths.exits_socket),
            terminal=record.config.Tty,
            open_stdin=record.config.OpenStdin,
            stdin_once=record.config.StdinOnce,
            start=start,
            log=protocol.LogConfig(
                driver,
                record.log_path,
                size_of(settings.get("max-size", "")),
                int(settings.get("max-file", "1")),
            ),
        )

    async def _running(self, entry: Entry, spawned: Spawned) -> None:
        await self.change(
            entry,
            ("start",),
            status=Status.RUNNING,
            intent=Intent.NONE,
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
        )
        failpoints.reach(STARTED)
        self.watch(entry)

    async def _failed(self, entry: Entry, error: Exception) -> None:
        code, told = 128, f"failed to create task for container: {error}"
        if isinstance(error, SpawnError):
            code = _EXIT_CODES.get(error.kind, 128)
            told = f"failed to create task for container: {_command_error(entry.record, error)}"
        await asyncio.to_thread(shutil.rmtree, self._paths.shim(entry.record.id), True)
        state = entry.record.state
        status = Status.EXITED if state.finished_ns else Status.CREATED
        await self.change(
            entry, status=status, intent=Intent.NONE, exit_code=code, error=told, next_restart_ns=0
        )
        if entry.record.host.AutoRemove and self.remove_ended is not None:
            self.own(asyncio.create_task(_as_coroutine(self.remove_ended(entry))))
        raise InvalidParameterError(told) if code in (126, 127) else InternalError(told)

    # the end

    def watch(self, entry: Entry) -> None:
        """Follow the present run until its exit is recorded and nothing of it is left."""
        entry.noticed = asyncio.Event()
        entry.ended = asyncio.Event()
        name = f"run of {entry.record.id[:12]}"
        entry.run = self.own(asyncio.create_task(self._watch(entry), name=name))

    async def _watch(self, entry: Entry) -> None:
        state = entry.record.state
        with contextlib.ExitStack() as watched:
            for pid, start in ((state.pid, state.pid_start), (state.shim_pid, state.shim_start)):
                _watch_process(pid, start, entry.noticed, watched)
            files = await self._await_exit(entry)
        if files.exit is not None:
            await self._take_exit(entry, files)
        else:
            lost = await asyncio.to_thread(self._lost, entry, "its shim died")
            await self._exited(entry, lost, known=False)

    async def _await_exit(self, entry: Entry) -> ShimFiles:
        run, state = self._paths.shim(entry.record.id), entry.record.state
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await entry.noticed.wait()
            noticed = entry.noticed.is_set()
            entry.noticed.clear()
            alive = proc.is_same(state.shim_pid, state.shim_start)
            files = await asyncio.to_thread(read_state, run)
            if files.exit is not None or not alive:
                return files
            if noticed and not proc.is_same(state.pid, state.pid_start):
                await asyncio.sleep(0.01)  # its shim is about to write the record
                entry.noticed.set()

    def _lost(self, entry: Entry, why: str) -> protocol.ExitRecord:
        """End what is left of a run that nobody saw the end of; blocking."""
        state = entry.record.state
        proc.send_signal(state.pid, state.pid_start, signal.SIGKILL)
        self._remove_cgroup(entry.record.id)
        return protocol.ExitRecord(
            _LOST, None, False, time.time_ns(), state.started_ns, f"the exit is unknown: {why}"
        )

    async def _exited(self, entry: Entry, record: protocol.ExitRecord, *, known: bool) -> None:
        """Record the end, decide about the next run, tell who waits, and clean up."""
        state = msgspec.structs.replace(
            entry.record.state,
            exit_code=record.exit_code,
            oom_killed=record.oom_killed,
            error=record.error,
            finished_ns=record.exited_at_ns,
            exit_known=known,
        )
        policy = entry.record.host.RestartPolicy
        again = restart.retry(policy, state)
        happened: list[str | EventRecord] = ["oom"] if record.oom_killed else []
        happened.append(died(msgspec.structs.replace(entry.record, state=state)))
        await self.change(
            entry,
            happened,
            status=Status.RESTARTING if again else Status.EXITED,
            exit_code=state.exit_code,
            oom_killed=state.oom_killed,
            error=state.error,
            finished_ns=state.finished_ns,
            exit_known=known,
            next_restart_ns=again.at_ns if again else 0,
            restart_delay_ns=again.delay_ns if again else state.restart_delay_ns,
        )
        entry.ended.set()
        entry.announce("not-running", "next-exit")
        await self._clean(entry)
        if again:
            self.schedule(entry)
        elif entry.record.host.AutoRemove and self.remove_ended is not None:
            self.own(asyncio.create_task(_as_coroutine(self.remove_ended(entry))))

    async def _clean(self, entry: Entry) -> None:
        """Release the shim, wait for its end, and take its directory away."""
        state = entry.record.state
        await asyncio.to_thread(self._end_shim, state)
        await asyncio.to_thread(self._remove_cgroup, entry.record.id)
        await asyncio.to_thread(shutil.rmtree, self._paths.shim(entry.record.id), True)

    @staticmethod
    def _end_shim(state: RunState) -> None:
        descriptor = proc.open_pidfd(state.shim_pid, state.shim_start)
        if descriptor is None:
            return
        try:
            release(state.shim_pid, state.shim_start)
            if not _ends(descriptor, _SHIM_END_SECONDS):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _ends(descriptor, _SHIM_END_SECONDS)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)

    def _remove_cgroup(self, container_id: str) -> None:
        layout = cgroups.detect_layout()
        group = cgroups.Cgroup(layout, f"{self._config.cgroup_parent}/{container_id}")
        if group.exists():
            try:
                group.remove()
            except (NativeError, OSError) as error:
                log.warning("container %s: %s", container_id[:12], error)

    def schedule(self, entry: Entry) -> None:
        """Start it again when its time has come."""
        name = f"restart of {entry.record.id[:12]}"
        entry.retry = self.own(asyncio.create_task(self._retry(entry), name=name))

    async def _retry(self, entry: Entry) -> None:
        wait = (entry.record.state.next_restart_ns - time.time_ns()) / 1e9
        await asyncio.sleep(max(0.0, wait))
        async with entry.verb:
            state = entry.record.state
            if state.status is not Status.RESTARTING:
                return
            count, delay = state.restart_count + 1, state.restart_delay_ns
            try:
                await self._start(entry, restart_count=count, restart_delay_ns=delay)
            except AiodError as error:
                log.warning("container %s: restart: %s", entry.record.id[:12], error.message)

    # signals and stop

    async def kill(self, entry: Entry, number: int) -> None:
        """Signal the init. Raises ConflictError if there is none."""
        state = entry.record.state
        if state.status not in RUNNING:
            full = entry.record.id
            raise ConflictError(f"cannot kill container: {full}: container {full} is not running")
        stops = number in (signal.SIGKILL, signal.SIGTERM, stop_signal(entry.record))
        killed = event(entry.record, "kill", signal=str(number))
        await self.change(entry, (killed,), manually_stopped=stops or state.manually_stopped)
        proc.send_signal(state.pid, state.pid_start, number)
        if number == signal.SIGKILL and state.status is Status.PAUSED:
            await asyncio.to_thread(self.cgroup(entry).thaw)
        if number == signal.SIGKILL:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEFAULT_STOP_SECONDS):
                    await entry.ended.wait()

    def cgroup(self, entry: Entry) -> cgroups.Cgroup:
        """The container's own cgroup."""
        path = f"{self._config.cgroup_parent}/{entry.record.id}"
        return cgroups.Cgroup(cgroups.detect_layout(), path)

    async def stop(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        """End it: its stop signal, then SIGKILL. Raises NotModifiedError if it is not running."""
        async with entry.verb:
            await self._stop(entry, timeout, number)

    async def _stop(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        state = entry.record.state
        if state.status is Status.RESTARTING:
            if entry.retry is not None:
                entry.retry.cancel()
            await self.change(
                entry, ("stop",), status=Status.EXITED, manually_stopped=True, next_restart_ns=0
            )
            return
        if state.status not in RUNNING:
            raise NotModifiedError("container is already stopped")
        number = number or stop_signal(entry.record)
        killed = event(entry.record, "kill", signal=str(number))
        await self.change(entry, (killed,), intent=Intent.STOP, manually_stopped=True)
        failpoints.reach(STOP_INTENT)
        await self._end(entry, timeout, number)
        failpoints.reach(STOP_RECORDED)
        await self.change(entry, ("stop",), intent=Intent.NONE)

    async def _end(self, entry: Entry, timeout: int | None, number: int) -> None:
        state = entry.record.state
        if timeout is None:
            asked = entry.record.config.StopTimeout
            timeout = asked if isinstance(asked, int) else _DEFAULT_STOP_SECONDS
        if state.status is Status.PAUSED:
            await asyncio.to_thread(self.cgroup(entry).thaw)
        proc.send_signal(state.pid, state.pid_start, number)
        failpoints.reach(STOP_SIGNALLED)
        try:
            async with asyncio.timeout(None if timeout < 0 else timeout):
                await entry.ended.wait()
        except TimeoutError:
            proc.send_signal(state.pid, state.pid_start, signal.SIGKILL)
            await entry.ended.wait()

    async def restart(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        """Stop, if it runs, and start."""
        async with entry.verb:
            with contextlib.suppress(NotModifiedError):
                await self._stop(entry, timeout, number)
            await self._start(entry)
            await self.change(entry, ("restart",))

    # recovery

    async def recover(self, records: Iterable[ContainerRecord], broken: set[str]) -> None:
        """Take up every container as the kernel says it is, and sweep what has no owner.

        Containers of `broken` records lose their processes, but nothing on disk.
        """
        self._listener.start()
        for record in records:
            self._directory.add(record)
        for entry in list(self._directory.by_id.values()):
            try:
                await self._take_up(entry)
            except (AiodError, OSError) as error:
                log.exception("container %s: %s", entry.record.id[:12], error)
            failpoints.reach(TAKEN_UP)
        await asyncio.to_thread(self._sweep, set(self._directory.by_id), broken)
        failpoints.reach(SETTLED)

    async def _take_up(self, entry: Entry) -> None:
        state = entry.record.state
        files = await asyncio.to_thread(read_state, self._paths.shim(entry.record.id))
        for problem in files.problems:
            log.warning("container %s: %s", entry.record.id[:12], problem)
        row = recovery.decide(self._case(state, files))
        log.debug("container %s: %s: %s", entry.record.id[:12], row.title, row.action.value)
        match row.action:
            case Action.REATTACH:
                await self._reattach(entry, files)
            case Action.TAKE_EXIT:
                await self._adopt(entry, files)
                await self._take_exit(entry, files)
            case Action.END_LOST:
                await self._adopt(entry, files)
                lost = await asyncio.to_thread(self._lost, entry, "nobody watched over it")
                await self._exited(entry, lost, known=False)
            case Action.END_REBOOTED:
                why = "the exit is unknown: the host was restarted"
                ended = protocol.ExitRecord(_REBOOTED, None, False, time.time_ns(), 0, why)
                await self._exited(entry, ended, known=False)
            case Action.UNDO_START:
                await self._undo_start(entry, files)
            case Action.SWEEP:
                await asyncio.to_thread(self._sweep_one, entry.record.id, files)
                await self._resume_idle(entry)
            case Action.REMOVE:
                await asyncio.to_thread(self._sweep_one, entry.record.id, files)
                if self.remove_ended is not None:
                    await self.remove_ended(entry)

    def _case(self, state: RunState, files: ShimFiles) -> Case:
        recorded = Recorded.IDLE
        if state.status is Status.REMOVING or state.intent is Intent.REMOVE:
            recorded = Recorded.REMOVING
        elif state.status in RUNNING:
            recorded = Recorded.RUNNING
        elif state.intent is Intent.START:
            recorded = Recorded.STARTING
        exit_file = ExitFile.DAMAGED if files.exit_damaged else ExitFile.ABSENT
        if files.exit is not None:
            exit_file = ExitFile.PRESENT
        shim, init = (state.shim_pid, state.shim_start), (state.pid, state.pid_start)
        if recorded is not Recorded.RUNNING:
            shim = (files.shim.pid, files.shim.start_time) if files.shim else (0, 0)
            init = (files.init.pid, files.init.start_time) if files.init else (0, 0)
        boot = Boot.SAME if state.boot_id in ("", self._boot) else Boot.OTHER
        return Case(recorded, _seen(*shim), _seen(*init), exit_file, boot)

    async def _adopt(self, entry: Entry, files: ShimFiles) -> None:
        """A start that its daemon did not live to record has happened: record it."""
        state = entry.record.state
        if state.status in RUNNING or files.shim is None or files.init is None:
            return
        await self.change(
            entry,
            ("start",),
            status=Status.RUNNING,
            intent=Intent.NONE,
            pid=files.init.pid,
            pid_start=files.init.start_time,
            shim_pid=files.shim.pid,
            shim_start=files.shim.start_time,
            started_ns=files.init.started_at_ns,
            finished_ns=0,
            exit_code=0,
            error="",
            oom_killed=False,
        )

    async def _take_exit(self, entry: Entry, files: ShimFiles) -> None:
        assert files.exit is not None  # the row says so
        await self._exited(entry, files.exit, known=True)

    async def _reattach(self, entry: Entry, files: ShimFiles) -> None:
        await self._adopt(entry, files)
        self.watch(entry)
        entry.noticed.set()
        if entry.record.state.intent is Intent.STOP:
            self.own(asyncio.create_task(self._finish_stop(entry)))

    async def _finish_stop(self, entry: Entry) -> None:
        async with entry.verb:
            await self._end(entry, None, stop_signal(entry.record))
            await self.change(entry, ("stop",), intent=Intent.NONE)

    async def _undo_start(self, entry: Entry, files: ShimFiles) -> None:
        await asyncio.to_thread(self._sweep_one, entry.record.id, files)
        state = entry.record.state
        if state.restart_count:
            now = time.time_ns()
            await self.change(
                entry, intent=Intent.NONE, status=Status.RESTARTING, next_restart_ns=now
            )
            self.schedule(entry)
            return
        status = Status.EXITED if state.finished_ns else Status.CREATED
        await self.change(entry, intent=Intent.NONE, status=status)

    async def _resume_idle(self, entry: Entry) -> None:
        record = entry.record
        state = record.state
        if state.intent is not Intent.NONE:
            await self.change(entry, intent=Intent.NONE)
        if state.status is Status.RESTARTING:
            self.schedule(entry)
        elif restart.wanted_at_boot(record.host.RestartPolicy, state):
            await self.change(entry, status=Status.RESTARTING, next_restart_ns=time.time_ns())
            self.schedule(entry)
        elif record.host.AutoRemove and state.finished_ns and self.remove_ended is not None:
            await self.remove_ended(entry)

    def _sweep(self, known: set[str], broken: set[str]) -> None:
        for found in self._paths.shims.iterdir():
            if found.name not in known:
                self._sweep_one(found.name, read_state(found))
        for found in self._paths.containers.iterdir():
            if found.name not in known | broken:
                shutil.rmtree(found, ignore_errors=True)

    def _sweep_one(self, container_id: str, files: ShimFiles) -> None:
        """End what is left of a run that no record speaks of; blocking."""
        if files.init is not None:
            proc.send_signal(files.init.pid, files.init.start_time, signal.SIGKILL)
        if files.shim is not None:
            proc.send_signal(files.shim.pid, files.shim.start_time, signal.SIGKILL)
        self._remove_cgroup(container_id)
        shutil.rmtree(self._paths.shim(container_id), ignore_errors=True)


def _seen(pid: int, start: int) -> Seen:
    if not pid:
        return Seen.UNKNOWN
    return Seen.ALIVE if proc.is_same(pid, start) else Seen.DEAD


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


def _ends(descriptor: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(int(seconds * 1000)))


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


def _host_resolv() -> bytes:
    try:
        return Path("/etc/resolv.conf").read_bytes()
    except OSError:
        return b""


def _command_error(record: ContainerRecord, error: SpawnError) -> str:
    start = "OCI runtime create failed: aiod-runtime: unable to start container process: "
    if error.kind == "not-found":
        return f'{start}exec: "{record.path}": executable file not found in $PATH: unknown'
    if error.kind == "not-executable":
        return f'{start}exec: "{record.path}": permission denied: unknown'
    return f"{start}{error}"


def stop_signal(record: ContainerRecord) -> int:
    """The number of the signal that asks it to end; SIGTERM if nothing else is said."""
    name = record.config.StopSignal
    return signal_number(name) if isinstance(name, str) and name else signal.SIGTERM
