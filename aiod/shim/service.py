"""The gRPC front of a shim: the calls of `proto/shim.proto`.

Owns the translation between calls and a `Shim`; started by the first connection, so that a
shim nobody talks to costs nothing. Must not know the daemon's records.

A call that the state of things refuses ends with FAILED_PRECONDITION, whose text is a
SpawnReply, so that the step and the kind survive the way; one about a process that there is
not, with NOT_FOUND.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable
from errno import EBUSY, EINVAL, ESRCH
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from aiod.native import spec
from aiod.native.errors import NativeError
from aiod.shim import attachment, control, joining, maker, protocol, stdio
from aiod.shim.proto.aiod.shim.v1 import (
    AttachInput,
    AttachOpen,
    AttachOutput,
    CloseStdinRequest,
    CreateRequest,
    Empty,
    ExecRequest,
    Exit,
    KillRequest,
    ProcessesResponse,
    ResizeRequest,
    ShimBase,
    StartRequest,
    StartResponse,
    StateRequest,
    StateResponse,
    StatsResponse,
    UpdateRequest,
    WaitRequest,
)

if TYPE_CHECKING:
    from aiod.shim.main import Process, Shim

_Result = TypeVar("_Result")


def warm() -> None:
    """Nothing to do beyond having been imported: a fork shares these modules' pages."""


def _refusal(error: Exception) -> GRPCError:
    told = protocol.refusal("shim", error)
    return GRPCError(Status.FAILED_PRECONDITION, msgspec.json.encode(told).decode())


async def _blocking(work: Callable[[], _Result]) -> _Result:
    """Run what blocks in a thread, its failure told as a refusal."""
    try:
        return await asyncio.to_thread(work)
    except (NativeError, OSError, protocol.DamagedFileError) as error:
        raise _refusal(error) from error


class Front(ShimBase):
    """The calls."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._waiting: dict[str, asyncio.Event] = {}
        loop = asyncio.get_running_loop()
        shim.ended = lambda process: _soon(loop, lambda: self._ended(process))

    def _ended(self, process: "Process") -> None:
        if (event := self._waiting.pop(process.exec_id, None)) is not None:
            event.set()
        if process.exec_id:
            process.close()

    def _process(self, exec_id: str) -> "Process":
        found = self._shim.find(exec_id)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"no such process: {exec_id or 'init'}")
        return found

    def _running(self, exec_id: str = "") -> "Process":
        """One that has not ended."""
        process = self._process(exec_id)
        if not exec_id and self._shim.exit is not None:
            raise _refusal(NativeError("shim", ESRCH, "the process has ended"))
        return process

    async def _thawed(self) -> None:
        """Raises a refusal while the container is paused."""
        if await _blocking(lambda: control.paused(self._shim)):
            raise _refusal(NativeError("shim", EBUSY, "the container is paused"))

    async def create(self, message: CreateRequest) -> StateResponse:
        """The init that was made, for a daemon that lost the answer."""
        return await self.state(StateRequest())

    async def start(self, message: StartRequest) -> StartResponse:
        """Let a process that was created execute its command."""
        process = self._running(message.exec_id)
        # One that ends at once has ended before its start is known to have succeeded.
        with process.used():
            await _blocking(lambda: self._shim.start(process))
        task = process.task
        return StartResponse(
            pid=task.pid, start_time=task.start_time, started_at_ns=process.started_ns
        )

    async def exec(self, message: ExecRequest) -> StartResponse:
        """Make a process in the container; `start` lets it execute."""
        self._running()
        await self._thawed()
        process = await _blocking(lambda: self._shim.add_exec(message))
        return StartResponse(pid=process.task.pid, start_time=process.task.start_time)

    async def state(self, message: StateRequest) -> StateResponse:
        """How a process is; an exec that has ended is known for a while."""
        if self._shim.find(message.exec_id) is None:
            ended = await self._ended_exec(message.exec_id)
            return control.ended_state(self._shim, ended)
        return await _blocking(lambda: control.state(self._shim, message.exec_id))

    async def _ended_exec(self, exec_id: str) -> protocol.ExecState:
        found = await _blocking(lambda: self._shim.execs.read(exec_id))
        if found is None or found.exit_code is None:
            raise GRPCError(Status.NOT_FOUND, f"no such process: {exec_id}")
        return found

    async def wait(self, message: WaitRequest) -> Exit:
        """Answer when the process has ended and its exit is on disk."""
        exec_id = message.exec_id
        while exec_id or self._shim.exit is None:
            if self._shim.find(exec_id) is None:
                return control.exec_exit(await self._ended_exec(exec_id))
            await self._waiting.setdefault(exec_id, asyncio.Event()).wait()
        return control.exit_of(self._shim.exit)

    async def kill(self, message: KillRequest) -> Empty:
        """Signal a process, or all of the container's."""
        if not 0 <= message.signal <= signal.SIGRTMAX:
            raise GRPCError(Status.INVALID_ARGUMENT, f"no signal {message.signal}")
        process = self._running(message.exec_id)
        if message.all:
            await _blocking(lambda: control.kill_all(self._shim, message.signal))
        else:
            with process.used():
                await _blocking(lambda: control.kill(self._shim, process, message.signal))
        return Empty()

    async def pause(self, message: Empty) -> Empty:
        """Freeze every process; answers when all stand still."""
        self._running()
        await self._thawed()
        await _blocking(self._shim.cgroup.freeze)
        return Empty()

    async def resume(self, message: Empty) -> Empty:
        """Let them go on."""
        self._running()
        if not await _blocking(lambda: control.paused(self._shim)):
            raise _refusal(NativeError("shim", EINVAL, "the container is not paused"))
        await _blocking(self._shim.cgroup.thaw)
        return Empty()

    async def update(self, message: UpdateRequest) -> Empty:
        """Change the container's limits."""
        self._running()
        try:
            resources = msgspec.json.decode(message.resources, type=spec.Resources)
        except msgspec.MsgspecError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, f"resources: {error}") from error
        await _blocking(lambda: self._shim.cgroup.apply(resources))
        return Empty()

    async def stats(self, message: Empty) -> StatsResponse:
        """The accounting files of the container's cgroup, as they are."""
        self._running()
        found = await _blocking(lambda: control.stats(self._shim))
        return StatsResponse(stats=msgspec.json.encode(found))

    async def processes(self, message: Empty) -> ProcessesResponse:
        """The host's pids of every process in the container."""
        self._running()
        return ProcessesResponse(pids=await _blocking(self._shim.cgroup.processes))

    async def delete(self, message: Empty) -> Exit:
        """Take over the exit; refused before there is one."""
        if self._shim.exit is None:
            raise _refusal(NativeError("delete", EBUSY, "the container has not ended"))
        await _blocking(self._shim.cgroup.remove)
        return control.exit_of(self._shim.exit)

    async def shutdown(self, message: Empty) -> Empty:
        """End the shim; refused while there is something to hold."""
        if self._shim.exit is None:
            raise _refusal(NativeError("shutdown", EBUSY, "the container has not ended"))
        self._shim.release()
        return Empty()

    async def resize(self, message: ResizeRequest) -> Empty:
        """Tell a terminal its size; without one it is no error, as clients know it of dockerd."""
        process = self._running(message.exec_id)
        if process.task.console_fd < 0:
            return Empty()
        try:
            stdio.set_window(process.task.console_fd, message.width, message.height)
        except OSError as error:
            raise _refusal(error) from error
        return Empty()

    async def close_stdin(self, message: CloseStdinRequest) -> Empty:
        """End a process's input."""
        self._process(message.exec_id).streams.close_stdin()
        return Empty()

    async def attach(self, messages: AsyncIterator[AttachInput]) -> AsyncIterator[AttachOutput]:
        """Join a client: output from `ready` on, input as it comes."""
        first = await anext(messages)
        opened = first.open or AttachOpen()
        process = self._process(opened.exec_id)
        streams = (1 if opened.stdout else 0) + (2 if opened.stderr else 0)
        ours, cores = socket.socketpair()
        with ours:
            with cores:
                self._shim.core.join(process.number, streams, cores, directory=self._shim.waiting)
            feeding = None
            if opened.stdin:
                feeding = asyncio.create_task(self._feed(messages, process, ours))
            try:
                yield AttachOutput(ready=True)
                async with contextlib.aclosing(joining.output(ours)) as chunks:
                    async for stream, data in chunks:
                        yield AttachOutput(stream=stream, data=data)
            except joining.TooSlowError as error:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, str(error)) from error
            finally:
                if feeding is not None:
                    feeding.cancel()
                    try:
                        await asyncio.gather(feeding, return_exceptions=True)
                    finally:
                        if process.stdin_once:
                            process.streams.close_stdin()

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[..., Any], stream: Stream[Any, Any], request: object
    ) -> None:
        """The generated one leaves the end of a call whose client vanished to the collector."""
        async with contextlib.aclosing(handler(request)) as replies:
            async for reply in replies:
                await stream.send_message(reply)

    async def _feed(
        self, messages: AsyncIterator[AttachInput], process: "Process", output: socket.socket
    ) -> None:
        """Pass input on; a client that says it will send nothing more wants no more output."""
        async for message in messages:
            if message.stdin:
                await attachment.write(process.streams, message.stdin)
            if message.stdin_end and (process.stdin_once or process.number != self._shim.init):
                process.streams.close_stdin()
        output.shutdown(socket.SHUT_RD)


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """From another thread; a loop that is closed has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


async def serve(shim: "Shim", listener: socket.socket, ended: "asyncio.Event") -> None:
    """Answer until `ended` is set."""
    gc.enable()  # it is off in the template, and calls leave cycles behind
    async with _joined(shim):
        server = Server([Front(shim)])
        await server.start(sock=listener)
        await ended.wait()
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()


@contextlib.asynccontextmanager
async def _joined(shim: "Shim") -> AsyncIterator[None]:
    """Serve `streams.sock` meanwhile. Where it cannot be made (a full disk), Attach remains."""
    try:
        listener = maker.listen(shim.directory / protocol.STREAMS_FILE)
    except OSError:
        yield
        return
    with listener:
        listener.setblocking(False)
        task = asyncio.create_task(joining.Joining(shim).serve(listener))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
