"""A forwarder in front of a registry that cuts connections while something is sent up.

Use it in the loop of the test. Must not know HTTP.
"""

import asyncio
import contextlib


class Cuts:
    """Runs inside `async with`; the next connections that send more than `after` bytes are cut.

    `left` says how many still will be; with `stall` they stand still instead.
    """

    def __init__(self, upstream: int, after: int, times: int, *, stall: bool = False) -> None:
        self._upstream = upstream
        self._after = after
        self._stall = stall
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.left = times
        self.port = 0

    @property
    def address(self) -> str:
        """`host:port`, as references begin with."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Cuts":
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        ways = (self._up(reader, back), self._down(there, writer))
        tasks = {asyncio.ensure_future(way) for way in ways}
        self._tasks |= tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._tasks -= tasks
            writer.close()
            back.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                sent += len(data)
                if sent > self._after and self.left:
                    self.left -= 1
                    if self._stall:
                        await asyncio.Event().wait()
                    return
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
