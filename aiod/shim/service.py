"""The gRPC front of a shim (`proto/shim.proto`): attach, exec, resize and delayed start.

Owns the translation between calls and a `Shim`; started by the first connection, so that a
shim nobody talks to costs nothing. Must not know the daemon's records.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from aiod.native.errors import NativeError
from aiod.shim import stdio
from aiod.shim.core import Spool, SpoolState
from aiod.shim.proto.aiod.shim.v1 import (
    AttachInput,
    AttachOpen,
    AttachOutput,
    CloseStdinRequest,
    Empty,
    ExecRequest,
    ResizeRequest,
    ShimBase,
    StartRequest,
    StartResponse,
)
from aiod.shim.protocol import SpawnReply

if TYPE_CHECKING:
    from aiod.shim.main import Process, Shim


def warm() -> None:
    """Nothing to do beyond having been imported: a fork shares these modules' pages."""


def _refusal(error: Exception) -> GRPCError:
    """An error whose text is a SpawnReply, so that the step and the kind survive the way."""
    if isinstance(error, NativeError):
        told = SpawnReply(
            step=error.step, errno=error.errno, message=error.message, kind=error.kind
        )
    else:
        told = SpawnReply(step="shim", errno=getattr(error, "errno", 0) or 0, message=str(error))
    return GRPCError(Status.FAILED_PRECONDITION, msgspec.json.encode(told).decode())


class Front(ShimBase):
    """The calls."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim

    def _process(self, exec_id: str) -> "Process":
        found = self._shim.find(exec_id)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"no such process: {exec_id or 'init'}")
        return found

    async def start(self, message: StartRequest) -> StartResponse:
        """Let a process that was created execute its command."""
        process = self._process(message.exec_id)
        try:
            await asyncio.to_thread(self._shim.start, process)
        except (NativeError, OSError) as error:
            raise _refusal(error) from error
        task = process.task
        return StartResponse(
            pid=task.pid, start_time=task.start_time, started_at_ns=process.started_ns
        )

    async def exec(self, message: ExecRequest) -> StartResponse:
        """Make a process in the container; `start` lets it execute."""
        try:
            process = await asyncio.to_thread(self._shim.add_exec, message)
        except (NativeError, OSError) as error:
            raise _refusal(error) from error
        return StartResponse(pid=process.task.pid, start_time=process.task.start_time)

    async def resize(self, message: ResizeRequest) -> Empty:
        """Tell a terminal its size."""
        process = self._process(message.exec_id)
        if process.task.console_fd < 0:
            raise GRPCError(Status.FAILED_PRECONDITION, "the process has no terminal")
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
        spool = self._shim.core.subscribe(process.number, streams or 3, self._shim.spools)
        feeding = asyncio.create_task(self._feed(messages, process)) if opened.stdin else None
        try:
            yield AttachOutput(ready=True)
            async for stream, data in _chunks(spool):
                yield AttachOutput(stream=stream, data=data)
        finally:
            spool.close()
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                if process.stdin_once:
                    process.streams.close_stdin()

    async def _feed(self, messages: AsyncIterator[AttachInput], process: "Process") -> None:
        async for message in messages:
            if message.stdin:
                await _write(process.streams, message.stdin)
            if message.stdin_end and (process.stdin_once or process.number != self._shim.init):
                process.streams.close_stdin()


async def _write(streams: stdio.Stdio, data: bytes) -> None:
    """Write all, waiting while the process does not read; dropped when its input is closed."""
    view = memoryview(data)
    loop = asyncio.get_running_loop()
    while view and streams.stdin >= 0:
        try:
            view = view[os.write(streams.stdin, view) :]
        except BlockingIOError:
            room = asyncio.Event()
            loop.add_writer(streams.stdin, room.set)
            try:
                await room.wait()
            finally:
                loop.remove_writer(streams.stdin)
        except OSError:
            return


async def _chunks(spool: Spool) -> AsyncIterator[tuple[int, bytes]]:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(spool.event_fd, news.set)
    try:
        while True:
            spool.clear_event()
            news.clear()
            state = spool.state()
            while (chunk := await asyncio.to_thread(spool.read)) is not None:
                yield chunk
            if state is SpoolState.CUT:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, "the reader was too slow")
            if state is SpoolState.END:
                return
            await news.wait()
    finally:
        loop.remove_reader(spool.event_fd)


async def serve(shim: "Shim", listener: socket.socket, ended: "asyncio.Event") -> None:
    """Answer until `ended` is set."""
    server = Server([Front(shim)])
    await server.start(sock=listener)
    await ended.wait()
    server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await server.wait_closed()
