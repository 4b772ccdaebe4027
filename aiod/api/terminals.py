"""A client's taken-over connection joined to the streams of a process.

Owns the two directions and how they end: the process's output ends, the client detaches,
or the client is gone. Must not know whether it is an attach or an exec.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from aiod.wire import frames
from aiod.wire.detachkeys import Detector


class Ending(Enum):
    """Why the two parted."""

    OUTPUT_ENDED = "output ended"
    DETACHED = "detached"
    CLIENT_GONE = "client gone"


class ClientStream(Protocol):
    """The client's side; `gone` is set when it has left."""

    gone: asyncio.Event

    async def read(self) -> bytes:
        """What the client sent next; empty at the end of its input."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow; ConnectionResetError when it is gone."""
        ...


class ProcessStreams(Protocol):
    """The process's side."""

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Output until all of it has ended: a multiplexed stream, wherever a piece ends."""
        ...

    async def write(self, data: bytes) -> None:
        """Pass input on, waiting while the process does not read."""
        ...

    async def close_stdin(self) -> None:
        """The client's input has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Joint:
    """How two sides are joined: framed or raw, with which keys to leave (terminals only)."""

    framed: bool
    stdin: bool
    detach_keys: bytes | None


class _DetachedError(Exception):
    """The client typed the detach keys."""


async def join(client: ClientStream, process: ProcessStreams, joint: Joint) -> Ending:
    """Copy both ways until one of the endings; no task is left behind."""
    output = asyncio.create_task(_copy_output(client, process, joint.framed))
    waiting: set[asyncio.Task[None]] = {output}
    input_ = asyncio.create_task(_copy_input(client, process, joint)) if joint.stdin else None
    if input_ is not None:
        waiting.add(input_)
    gone = asyncio.create_task(_gone(client))
    waiting.add(gone)
    try:
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if output in done:
                return _outcome(output)
            if input_ in done and input_ is not None and _detached(input_):
                return Ending.DETACHED
            if gone in done:
                return Ending.CLIENT_GONE
    finally:
        await _cancel([task for task in (output, input_, gone) if task is not None])


def _outcome(output: "asyncio.Task[None]") -> Ending:
    if isinstance(output.exception(), ConnectionError):
        return Ending.CLIENT_GONE
    output.result()
    return Ending.OUTPUT_ENDED


def _detached(input_: "asyncio.Task[None]") -> bool:
    error = input_.exception()
    if error is None or isinstance(error, ConnectionError):
        return False
    if isinstance(error, _DetachedError):
        return True
    raise error


async def _cancel(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(client: ClientStream) -> None:
    await client.gone.wait()


async def _copy_output(client: ClientStream, process: ProcessStreams, framed: bool) -> None:
    # Closed here and now: what it reads from is closed with it.
    async with contextlib.aclosing(aiter(process)) as output:
        if framed:
            async for data in output:
                await client.write(data)
            return
        decoder = frames.Decoder()
        async for data in output:
            await client.write(b"".join(frame.data for frame in decoder.feed(data)))


async def _copy_input(client: ClientStream, process: ProcessStreams, joint: Joint) -> None:
    detector = Detector(joint.detach_keys) if joint.detach_keys else None
    while data := await client.read():
        if detector is not None:
            typed = detector.feed(data)
            if typed.data:
                await process.write(typed.data)
            if typed.detached:
                raise _DetachedError
        else:
            await process.write(data)
    if detector is not None and (held := detector.flush()):
        await process.write(held)
    with contextlib.suppress(ConnectionError):
        await process.close_stdin()
