"""The two directions of one process's streams, over the shim's `streams.sock`.

Owns the connection and its pace; must not know records. What is read is Docker's multiplexed
stream as the shim makes it, wherever a piece may end.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Protocol

import msgspec

from aiod.shim import protocol
from aiod.tasks.shim_client import SpawnError

BLOCK = 128 * 1024
_LONGEST_ANSWER = 4096


class ProcessStream(Protocol):
    """One client's join to a process."""

    async def read(self) -> bytes | None:
        """The next piece of the multiplexed output, None at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Pass input on, waiting while the process does not read."""
        ...

    async def close_stdin(self) -> None:
        """End the input."""
        ...

    async def close(self) -> None:
        """Part, whether or not the output has ended; input given before arrives."""
        ...


class JoinedStream:
    """A join without anything between; what an ended connection would say is an end."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._ended = False

    async def read(self) -> bytes | None:
        """See ProcessStream."""
        with contextlib.suppress(OSError):
            if data := await self._some():
                return data
        self._ended = True
        return None

    async def _some(self) -> bytes:
        try:
            return self._socket.recv(BLOCK)
        except BlockingIOError:
            return await asyncio.get_running_loop().sock_recv(self._socket, BLOCK)

    async def write(self, data: bytes) -> None:
        """See ProcessStream."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def close_stdin(self) -> None:
        """See ProcessStream."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        """See ProcessStream."""
        self._socket.close()


async def join(directory: Path, asked: protocol.JoinRequest) -> JoinedStream:
    """Join; what the process says from the return on is delivered.

    Raises FileNotFoundError where there is no such socket, another OSError if nobody answers,
    SpawnError if it is refused.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await _connect(connection, directory)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, msgspec.json.encode(asked) + b"\n")
        if refusal := await _refusal(connection):
            told = msgspec.json.decode(refusal, type=protocol.SpawnReply)
            raise SpawnError(told.step, told.errno, told.message, told.kind)
    except BaseException:
        connection.close()
        raise
    return JoinedStream(connection)


async def _connect(connection: socket.socket, directory: Path) -> None:
    # The path may be longer than a socket's address can be.
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{place}/{protocol.STREAMS_FILE}"
        await asyncio.get_running_loop().sock_connect(connection, path)
    finally:
        os.close(place)


async def _refusal(connection: socket.socket) -> bytes:
    """The answer: an empty one is followed by the output, of which nothing is taken here."""
    loop = asyncio.get_running_loop()
    if (found := await loop.sock_recv(connection, 1)) == b"\n":
        return b""
    while not found.endswith(b"\n"):
        if not (data := await loop.sock_recv(connection, _LONGEST_ANSWER)):
            raise ConnectionResetError("the shim ended the conversation")
        found += data
    return found
