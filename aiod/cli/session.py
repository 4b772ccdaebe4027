"""A person, or a pipe, joined to the streams of a process in a container.

Owns the copying both ways, the detach keys, the window's size and the forwarding of signals.
Must not know whether it is a run, an attach or an exec.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from aiod.cli import terminal
from aiod.cli.asking import Asking
from aiod.cli.client import Client, Hijacked, container
from aiod.cli.errors import CliError, EngineError, HangupError, UnreachableError
from aiod.wire.detachkeys import Detector
from aiod.wire.frames import STDERR, STDOUT, Decoder, FrameError

_RESIZE_TRIES = 10  # a process that has only just started may have no terminal yet
_LEAVING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How to join: with input or not, a terminal or not, and the keys that detach from one."""

    stdin: bool
    tty: bool
    keys: bytes

    @property
    def raw(self) -> bool:
        """Whether this process's terminal must pass every key on."""
        return self.stdin and self.tty and terminal.is_terminal(terminal.STDIN)

    def check(self) -> None:
        """Raise CliError for a terminal that cannot be typed on."""
        if self.stdin and self.tty and not terminal.is_terminal(terminal.STDIN):
            raise CliError("the input device is not a TTY: leave out -t")


async def converse(asking: Asking, stream: Hijacked, manner: Manner, resize: str) -> bool:
    """Join until the process's output ends or the user detaches (True).

    `resize` is the path that takes the window's size. Raises BrokenPipeError and HangupError
    when this side goes away.
    """
    async with contextlib.AsyncExitStack() as stack:
        raw = manner.raw
        if raw:
            stack.enter_context(terminal.raw_mode())
        if manner.tty:
            await stack.enter_async_context(_window_followed(asking, resize))
        return await _joined(stream, manner, raw)


async def _joined(stream: Hijacked, manner: Manner, raw: bool) -> bool:
    output = asyncio.create_task(_show(stream))
    input_ = asyncio.create_task(_pass_on(stream, manner, raw)) if manner.stdin else None
    waiting: set[asyncio.Task[bool]] = {task for task in (output, input_) if task is not None}
    tasks = tuple(waiting)
    try:
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if output in done:
                return output.result()
            if input_ in done and input_ is not None and input_.result():
                await _left(output)
                return True
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _left(output: "asyncio.Task[bool]") -> None:
    # The engine, which saw the keys too, ends the stream when it has recorded the leaving.
    await asyncio.wait([output], timeout=_LEAVING_SECONDS)


async def _show(stream: Hijacked) -> bool:
    """Copy output to this process's own until its end; False, as nobody detached."""
    decoder = Decoder() if stream.framed else None
    while True:
        try:
            data = await stream.read()
        except ConnectionError:
            return False
        if not data:
            return False
        await show(data, decoder)


async def show(data: bytes, decoder: Decoder | None) -> None:
    """Write a piece of output where it belongs; CliError for frames that are none."""
    if decoder is None:
        await terminal.write(terminal.STDOUT, data)
        return
    try:
        for frame in decoder.feed(data):
            if frame.stream not in (STDOUT, STDERR):
                raise CliError(frame.data.decode(errors="replace"))
            await terminal.write(frame.stream, frame.data)
    except FrameError as error:
        raise CliError(f"the engine's answer is broken: {error}") from None


async def _pass_on(stream: Hijacked, manner: Manner, raw: bool) -> bool:
    """Copy this process's input until its end, or until the detach keys (True)."""
    detector = Detector(manner.keys) if manner.tty else None
    with contextlib.suppress(ConnectionError):
        while data := await terminal.read(terminal.STDIN):
            await stream.write(data)
            if detector is not None and detector.feed(data).detached:
                return True
        if raw:  # such a terminal has no end but its own, after which it is none any more
            raise HangupError
        stream.end_input()
    return False


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do it meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _window_followed(asking: Asking, path: str) -> AsyncIterator[None]:
    changed = asyncio.Event()
    changed.set()
    async with _beside(_tell_sizes(asking.client, path, changed)):
        with asking.signals.on_resize(changed.set):
            yield


async def _tell_sizes(client: Client, path: str, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        if size := terminal.window_size():
            await _tell_size(client, path, size)


async def _tell_size(client: Client, path: str, size: terminal.Size) -> None:
    query = {"h": str(size.rows), "w": str(size.columns)}
    for attempt in range(_RESIZE_TRIES):
        try:
            await client.send("POST", path, query)
        except UnreachableError:
            return
        except EngineError:
            await asyncio.sleep(0.01 * (attempt + 1))
        else:
            return


@contextlib.asynccontextmanager
async def signals_forwarded(asking: Asking, container_id: str) -> AsyncIterator[None]:
    """Give the container what signals this process gets, in their order."""
    queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
    async with _beside(_deliver(asking.client, container_id, queue)):
        with asking.signals.taken_over(queue.put_nowait):
            yield


async def _deliver(
    client: Client, container_id: str, queue: "asyncio.Queue[signal.Signals]"
) -> None:
    while True:
        number = await queue.get()
        with contextlib.suppress(CliError):  # it may have ended meanwhile
            await client.send("POST", container(container_id, "kill"), {"signal": number.name})
