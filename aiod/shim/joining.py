"""The socket by which a daemon is joined to a process's streams, with nothing between the bytes.

Owns who is joined by it, and their input; the output is the core's (`Core.join`). Must not know
gRPC: its frames of 16 KiB, each a matter of Python, made a tenth of the speed of a plain socket.
"""

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from aiod.shim import attachment, protocol

if TYPE_CHECKING:
    from aiod.shim.main import Process, Shim

_BLOCK = 256 * 1024
_LONGEST_REQUEST = 4096
_REQUEST_SECONDS = 10.0
_HEADER, _ERROR = 8, 3  # of Docker's multiplexed streams


class TooSlowError(Exception):
    """The reader lagged by more than is kept for it."""


class Joining:
    """Everybody who is joined to one container's processes."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled; then nobody is joined any more."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(self._talk(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = await _line(connection)
            try:
                asked = msgspec.json.decode(line, type=protocol.JoinRequest)
                process = self._join(connection, asked)
            except (msgspec.MsgspecError, ProcessLookupError, OSError) as error:
                connection.send(msgspec.json.encode(protocol.refusal("join", error)) + b"\n")
                return
            if asked.stdin:
                await _feed(connection, process)

    def _join(self, connection: socket.socket, asked: protocol.JoinRequest) -> "Process":
        """The answer is sent with it: no output comes before or is missed."""
        process = self._shim.find(asked.exec_id)
        if process is None:
            raise ProcessLookupError(f"no such process: {asked.exec_id or 'init'}")
        streams = (1 if asked.stdout else 0) + (2 if asked.stderr else 0)
        self._shim.core.join(
            process.number, streams, connection, directory=self._shim.waiting, greeting=b"\n"
        )
        return process


async def _line(connection: socket.socket) -> bytes:
    """What comes before the first newline; nothing is sent behind it before the answer."""
    loop = asyncio.get_running_loop()
    found = b""
    while b"\n" not in found and len(found) < _LONGEST_REQUEST:
        if not (data := await loop.sock_recv(connection, _LONGEST_REQUEST)):
            break
        found += data
    return found.partition(b"\n")[0]


async def _feed(connection: socket.socket, process: "Process") -> None:
    """Pass input on to its end, which is the end of the process's if that is to be so."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(connection, _BLOCK):
            await attachment.write(process.streams, data, lambda: _is_gone(connection))
    finally:
        if process.stdin_once:
            process.streams.close_stdin()


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other end is closed, and not only its sending side."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


async def output(connection: socket.socket) -> AsyncGenerator[tuple[int, bytes], None]:
    """What the core sends to the other end, as (stream, bytes). Raises TooSlowError."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    held = bytearray()
    while data := await loop.sock_recv(connection, _BLOCK):
        held += data
        while (frame := _cut(held)) is not None:
            if frame[0] == _ERROR:
                raise TooSlowError(frame[1].decode())
            yield frame


def _cut(held: bytearray) -> tuple[int, bytes] | None:
    """Take the first whole frame out."""
    end = _HEADER + int.from_bytes(held[4:_HEADER], "big")
    if len(held) < _HEADER or len(held) < end:
        return None
    frame = held[0], bytes(held[_HEADER:end])
    del held[:end]
    return frame
