"""Calls to a running shim's gRPC front: attach, exec, resize, delayed start.

Owns the short-lived channel and its time-outs; must not know records.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from aiod.errors import InternalError
from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import (
    AttachInput,
    AttachOpen,
    AttachOutput,
    ExecRequest,
    KillRequest,
    ResizeRequest,
    ShimStub,
    StartRequest,
    StartResponse,
    StateRequest,
)
from aiod.tasks import shim_streams
from aiod.tasks.shim_client import SpawnError
from aiod.tasks.shim_streams import ProcessStream
from aiod.wire import frames

CALL_SECONDS = 30.0
_PART_SECONDS = 1.0  # that input may take which its process does not read


def _refused(error: GRPCError) -> Exception:
    try:
        told = msgspec.json.decode(error.message or "", type=protocol.SpawnReply)
    except msgspec.MsgspecError:
        return InternalError(f"shim: {error.message}")
    return SpawnError(told.step, told.errno, told.message, told.kind)


@contextlib.asynccontextmanager
async def _answered() -> AsyncGenerator[None, None]:
    """A call within: whatever goes wrong with it is a SpawnError or an InternalError."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except GRPCError as error:
        raise _refused(error) from error
    except (StreamTerminatedError, ProtocolError) as error:
        raise InternalError("shim: the connection was lost") from error
    except TimeoutError as error:
        raise InternalError(f"shim: no answer within {CALL_SECONDS:g} s") from error


class ShimClient:
    """A connection to the shim of one run directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The path may be longer than a socket's address can be.
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._channel = Channel(path=f"/proc/self/fd/{self._directory}/{protocol.SOCKET_FILE}")
        self.stub = ShimStub(self._channel)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
        os.close(self._directory)

    async def start(self, exec_id: str = "") -> StartResponse:
        """Let a created process execute. Raises SpawnError."""
        async with _answered():
            return await self.stub.start(StartRequest(exec_id=exec_id))

    async def exec(
        self, exec_id: str, process: bytes, *, terminal: bool, open_stdin: bool
    ) -> StartResponse:
        """Make a process; `process` is the specification's JSON. Raises SpawnError."""
        request = ExecRequest(
            exec_id=exec_id, process=process, terminal=terminal, open_stdin=open_stdin
        )
        async with _answered():
            return await self.stub.exec(request)

    async def abandon(self, exec_id: str) -> None:
        """End an exec that was made and will not run, if it is still there."""
        with contextlib.suppress(SpawnError, InternalError):
            async with _answered():
                await self.stub.kill(KillRequest(exec_id=exec_id, signal=signal.SIGKILL))

    async def resize(self, width: int, height: int, exec_id: str = "") -> None:
        """Tell a terminal its size. Raises SpawnError or InternalError."""
        async with _answered():
            await self.stub.resize(ResizeRequest(exec_id=exec_id, width=width, height=height))

    async def attach(
        self, exec_id: str, *, stdin: bool, stdout: bool, stderr: bool
    ) -> "ProcessStream":
        """Join; what the process says from the return on is delivered. Raises SpawnError."""
        asked = protocol.JoinRequest(exec_id, stdin, stdout, stderr)
        async with asyncio.timeout(CALL_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                return await shim_streams.join(self.directory, asked)
            # The front that serves it begins with the first call.
            async with _answered():
                await self.stub.state(StateRequest())
            with contextlib.suppress(FileNotFoundError):
                return await shim_streams.join(self.directory, asked)
        stream = AttachStream(self._channel)
        opened = AttachOpen(exec_id=exec_id, stdin=stdin, stdout=stdout, stderr=stderr)
        await stream.open(opened)
        return stream


class AttachStream:
    """Both directions of one attach, as a call: where there is no socket for it.

    The generated stub cannot end a call whose input goes on.
    """

    def __init__(self, channel: Channel) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._gives_input = False
        self._ended = False
        self._request = channel.request(
            "/aiod.shim.v1.Shim/Attach", Cardinality.STREAM_STREAM, AttachInput, AttachOutput
        )

    async def open(self, opened: AttachOpen) -> None:
        """Send the first message and wait until the shim is ready."""
        self._stream = await self._stack.enter_async_context(self._request)
        self._gives_input = bool(opened.stdin)
        async with _answered():
            await self._stream.send_message(AttachInput(open=opened))
            await self._stream.recv_message()

    async def read(self) -> bytes | None:
        """See ProcessStream."""
        try:
            if (reply := await self._stream.recv_message()) is not None:
                return frames.encode(int(reply.stream), bytes(reply.data))
        except GRPCError as error:
            if error.status is Status.RESOURCE_EXHAUSTED and not self._ended:
                self._ended = True
                return frames.encode(frames.SYSTEM, (error.message or "").encode())
        except StreamTerminatedError:
            pass
        self._ended = True
        return None

    async def write(self, data: bytes) -> None:
        """Pass input on, waiting while the process does not read."""
        with contextlib.suppress(StreamTerminatedError):
            await self._stream.send_message(AttachInput(stdin=data))

    async def close_stdin(self) -> None:
        """End the input."""
        with contextlib.suppress(StreamTerminatedError):
            await self._stream.send_message(AttachInput(stdin_end=True))

    async def close(self) -> None:
        """Part, whether or not the output has ended; input given before arrives."""
        if self._ended or not self._gives_input or not await self._end_input():
            with contextlib.suppress(StreamTerminatedError, GRPCError, ProtocolError):
                await self._stream.cancel()
        with contextlib.suppress(StreamTerminatedError, GRPCError, ProtocolError):
            await self._stack.aclose()

    async def _end_input(self) -> bool:
        """Let the shim pass on what it was given; whether the call has ended by that."""
        try:
            async with asyncio.timeout(_PART_SECONDS):
                await self._stream.end()
                while await self._stream.recv_message() is not None:
                    pass
        except TimeoutError:
            return False
        except (StreamTerminatedError, GRPCError, ProtocolError):
            return True
        return True
