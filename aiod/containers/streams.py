"""Clients joined to a container's streams, also before it has been started.

Owns the wait for the start, and what was logged before; must not know HTTP.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from aiod.containers.logs import LogEntry
from aiod.tasks.shim_calls import AttachStream, Chunk, ShimClient


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
        past: AsyncGenerator[LogEntry, None] | None,
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
        self._stream: AttachStream | None = None
        self._bound = asyncio.Event()
        self._over = asyncio.Event()
        self._passed = 0

    @property
    def over(self) -> bool:
        """Whether nothing will be read any more."""
        return self._over.is_set()

    async def parted(self, patience: float) -> None:
        """Wait until its output was read to the end, or not read on for `patience` seconds."""
        while not self.over:
            before = self._passed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._over.wait()
            if self._passed == before:
                return

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
        await self._hang_up()
        self.give_up()

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

    async def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """What was logged, if asked for, and then what comes."""
        if self._past is not None:
            async with contextlib.aclosing(self._past) as past:
                async for entry in past:
                    yield Chunk(entry.stream, entry.data)
        if not self._follow:
            return
        await self._bound.wait()
        if self._stream is not None:
            async for chunk in self._stream:
                yield chunk
                self._passed += 1
        self._over.set()
        await self._settle()

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
