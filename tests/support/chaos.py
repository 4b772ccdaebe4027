"""An HTTP proxy in front of a registry that does what bad networks and servers do.

Runs in a thread of its own. Every answer meets one mischief, chosen by the seed and the answer's
number, whatever is answered beside it; `told` counts them. Must not know what the client makes
of it.
"""

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Self

from tests.support.threaded import Threaded

_HEAD = 64 * 1024
_TLS = b"\x16"  # how a handshake begins; nothing here speaks it

# Weights: about four answers of five are left alone.
MISCHIEF: Mapping[str, int] = {
    "none": 72, "cut": 6, "reset": 3, "stall": 2, "429": 2, "500": 2, "503": 2, "refuse": 2,
    "wrong": 3, "truncate": 2, "longer": 1, "rangeless": 3,
}  # fmt: skip
_REFUSALS = {
    "429": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
}

Changed = Callable[[bytes], bytes]


class Chaos(Threaded):
    """Runs inside `with`, in front of `127.0.0.1:upstream`."""

    def __init__(self, upstream: int, seed: int, weights: Mapping[str, int] = MISCHIEF) -> None:
        super().__init__()
        self._upstream = upstream
        self._seed = seed
        self._number = 0
        self._weights = weights
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self.told: Counter[str] = Counter()
        self.stalled = threading.Event()
        self.port = 0

    @property
    def address(self) -> str:
        """`host:port`, as references begin with."""
        return f"127.0.0.1:{self.port}"

    def reseed(self, seed: int) -> None:
        """Go on as one that begins with this seed."""
        self._seed, self._number = seed, 0

    def __enter__(self) -> Self:
        super().__enter__()
        assert self._ready.wait(30)
        return self

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._proxy())

    def _close(self) -> None:
        self._loop.close()

    async def _proxy(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._client(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, which has no body; whether the connection goes on."""
        request = await reader.readexactly(1)
        if request == _TLS:
            return False
        request += await reader.readuntil(b"\r\n\r\n")
        self._number += 1
        chance = random.Random(f"{self._seed} {self._number}")
        mischief = chance.choices(list(self._weights), list(self._weights.values()))[0]
        self.told[mischief] += 1
        if mischief in _REFUSALS:
            writer.write(_REFUSALS[mischief])
            await writer.drain()
            return True
        if mischief == "refuse":
            return False
        if mischief == "rangeless":
            request = re.sub(rb"\r\nRange:[^\r]*", b"", request)
        whole = await self._ask(request)
        return await self._tell(writer, mischief, whole, chance)

    async def _ask(self, request: bytes) -> bytes:
        """The registry's whole answer; the images here are small."""
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            back.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            return await there.read(-1)
        finally:
            back.close()

    async def _tell(
        self, writer: asyncio.StreamWriter, mischief: str, whole: bytes, chance: random.Random
    ) -> bool:
        place = chance.randrange(len(whole)) if whole else 0
        if mischief in ("cut", "reset", "stall"):
            writer.write(whole[:place])
            await writer.drain()
            if mischief == "stall":
                self.stalled.set()
                await self._loop.create_future()
            if mischief == "reset":
                writer.transport.abort()
            return False
        if mischief == "wrong":
            whole = (
                whole[:place]
                + bytes((whole[place] ^ (1 << chance.randrange(8)),))
                + whole[place + 1 :]
            )
        if mischief in ("truncate", "longer"):
            body = whole.partition(b"\r\n\r\n")[2]
            short = body[: chance.randrange(len(body) + 1)]
            whole = _resized(whole, body + b"more" if mischief == "longer" else short)
        writer.write(whole)
        await writer.drain()
        return False


def _resized(whole: bytes, body: bytes) -> bytes:
    """Another body, announced as if it were right."""
    head = whole.partition(b"\r\n\r\n")[0]
    head = re.sub(rb"\r\nContent-Length: \d+", b"\r\nContent-Length: %d" % len(body), head)
    return head + b"\r\n\r\n" + body
