"""Clients joined to a container's streams, also before it has been started.

Owns the wait for the start, what was logged before, and what is left to read after the end;
must not know HTTP.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from aiod.containers.held import HeldOutput
from aiod.containers.logs import Page
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_streams import ProcessStream
from aiod.wire.frames import Decoder, Frame, encode

log = logging.getLogger(__name__)


async def _nothing() -> None:
    return


class Attachment:
    """One client's join: `bind` connects it, which the start does if it was there before.

    `settle` is awaited at the end of the output, before the client sees it: whoever asks
    then how the process ended gets the answer.
    """

    def __init__(
        self,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        past: AsyncGenerator[Page, None] | None,
        stream: bool,
        settle: Callable[[], Awaitable[None]] = _nothing,
        left: "Callable[[Attachment], None]" = lambda _: None,
    ) -> None:
        self._wanted = (stdin, stdout, stderr)
        self._past = past
        self._follow = stream
        self._settle = settle
        self._left = left
        self._has_left = False
        self._client: ShimClient | None = None
        self._stream: ProcessStream | None = None
        self._bound = asyncio.Event()
        self._over = asyncio.Event()
        self._reading = asyncio.Lock()
        self._rest: HeldOutput | None = None
        self._taking = False

    @property
    def over(self) -> bool:
        """Whether nothing will be read any more."""
        return self._over.is_set()

    async def take_rest(self, directory: Path, patience: float) -> None:
        """Take over what the shim still holds of an ended run, so that the shim may end.

        However slowly the client reads, it gets all of it. A shim that is silent for
        `patience` seconds is given up. `directory` takes what is too much for memory.
        """
        try:
            async with asyncio.timeout(patience) as silence:
                async with self._reading:
                    await self._take_rest(directory, patience, silence)
        except TimeoutError:
            log.warning("a shim does not end its output: what it still holds is lost")
        except OSError as error:
            log.error("output that was not read yet is lost: %s", error)
        finally:
            self._taking = False
            await self._hang_up()

    async def _take_rest(self, directory: Path, patience: float, silence: asyncio.Timeout) -> None:
        if self.over or self._stream is None:
            return
        loop = asyncio.get_running_loop()
        self._rest, self._taking = HeldOutput(directory), True
        while (stream := self._stream) is not None:
            silence.reschedule(loop.time() + patience)
            if (data := await stream.read()) is None:
                return
            await asyncio.to_thread(self._rest.append, data)

    async def bind(self, client: ShimClient, exec_id: str = "") -> None:
        """Join the running process; `client` is the attachment's to close."""
        stdin, stdout, stderr = self._wanted
        try:
            stream = await client.attach(exec_id, stdin=stdin, stdout=stdout, stderr=stderr)
        except BaseException:
            client.close()
            raise
        self._client, self._stream = client, stream
        self._bound.set()
        if self._has_left:
            await self._hang_up()

    def give_up(self) -> None:
        """It will not be started: the stream ends."""
        self._bound.set()

    async def leave(self) -> None:
        """Part from the process, or from the wait for it; also before `bind`, or during it."""
        self._has_left = True
        self._over.set()
        self._left(self)
        if not self._taking:
            await self._hang_up()
        self.give_up()
        if self._rest is not None:
            await asyncio.to_thread(self._rest.close)

    async def _hang_up(self) -> None:
        stream, client = self._stream, self._client
        self._stream = self._client = None
        if stream is not None:
            await stream.close()
        if client is not None:
            client.close()

    async def __aenter__(self) -> "Attachment":
        """The process's side."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Part."""
        await self.leave()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """What was logged, if asked for, and then what comes, as a multiplexed stream."""
        if self._past is not None:
            async with contextlib.aclosing(self._past) as past:
                async for page in past:
                    yield b"".join(encode(entry.stream, entry.data) for entry in page)
        if not self._follow:
            return
        await self._bound.wait()
        while (data := await self._next()) is not None:
            yield data
        self._over.set()
        await self._settle()

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """The same, cut into its frames."""
        decoder = Decoder()
        async with contextlib.aclosing(aiter(self)) as pieces:
            async for data in pieces:
                for frame in decoder.feed(data):
                    yield frame

    async def _next(self) -> bytes | None:
        async with self._reading:
            if self._rest is not None:
                return await asyncio.to_thread(self._rest.pop)
            return None if self._stream is None else await self._stream.read()

    async def write(self, data: bytes) -> None:
        """Pass input on, waiting while the process does not read."""
        await self._bound.wait()
        if self._stream is not None:
            await self._stream.write(data)

    async def close_stdin(self) -> None:
        """End the input."""
        await self._bound.wait()
        if self._stream is not None:
            await self._stream.close_stdin()
