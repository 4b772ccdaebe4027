"""Blobs on their way from registries to the content store, each once however many want it.

Owns how many arrive at a time, and their resumption after a cut. Must not know what a blob
is for, nor what is said about it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from aiod.config import RegistrySettings
from aiod.errors import InvalidParameterError
from aiod.images.collect import Lease
from aiod.images.config import Descriptor
from aiod.images.content import CHUNK, ContentStore
from aiod.images.receiving import Incoming
from aiod.images.registry.client import BlobStream, Repository
from aiod.images.registry.errors import (
    BrokenError,
    RegistryError,
    UnreachableError,
    UntrustedError,
)
from aiod.images.threads import run_to_end, stopped

logger = logging.getLogger(__name__)

_WORTH_ANOTHER = 1 << 16  # bytes in one attempt after which its failure counts as the first

_NO_SUCH_RANGE = 416

NewLease = Callable[[], AbstractAsyncContextManager[Lease]]


class Transfer:
    """One blob under way. `task` ends when it is in the store, or with why it is not.

    `begun` is set when it is its turn, with `incoming` then to be followed, or when it has
    failed before.
    """

    def __init__(self, descriptor: Descriptor, repository: Repository) -> None:
        self.descriptor = descriptor
        self.repository = repository
        self.begun = asyncio.Event()
        self.incoming: Incoming | None = None
        self.task: asyncio.Task[None]
        self.holders = 0

    @property
    def received(self) -> int:
        """Bytes so far."""
        return self.incoming.written if self.incoming else 0

    async def run(self, content: ContentStore, slots: asyncio.Semaphore) -> None:
        """Do it."""
        try:
            async with slots:
                await self._receive(content)
        finally:
            self.begun.set()

    async def _receive(self, content: ContentStore) -> None:
        digest, size = self.descriptor.digest, self.descriptor.size
        incoming = Incoming(content, digest, size)
        try:
            await run_to_end(lambda stop: incoming.begin())
            self.incoming = incoming
            self.begun.set()
            await self._persist(incoming)
            await run_to_end(lambda stop: incoming.finish())
        except BaseException:
            await run_to_end(lambda stop: incoming.abandon())
            raise

    async def _persist(self, incoming: Incoming) -> None:
        """Attempt after attempt, each from where the last one got to."""
        transport, failures = self.repository.transport, 0
        while True:
            before = incoming.written
            try:
                return await self._attempt(incoming)
            except UntrustedError:
                raise
            except UnreachableError as error:
                advanced = incoming.written - before >= _WORTH_ANOTHER
                failures = 1 if advanced else failures + 1
                if failures >= transport.settings.attempts:
                    raise
                logger.info("%s; going on at %d", error.message, incoming.written)
            await asyncio.sleep(transport.delay(failures))

    async def _attempt(self, incoming: Incoming) -> None:
        size = self.descriptor.size
        if incoming.written == size:
            return
        digest = self.descriptor.digest
        try:
            async with self.repository.blob(digest, incoming.written) as stream:
                await _pour(stream, incoming)
        except RegistryError as error:
            if error.answered != _NO_SUCH_RANGE:
                raise
            raise InvalidParameterError(
                f"blob {digest} has only {incoming.written} of {size} bytes at the registry"
            ) from error
        if incoming.written < size:
            raise BrokenError(f"blob {digest} ended after {incoming.written} of {size} bytes")


async def _pour(stream: BlobStream, incoming: Incoming) -> None:
    """Write what arrives, in large pieces; also what has arrived when the stream breaks."""
    surplus = incoming.written - stream.offset
    if surplus < 0:
        raise BrokenError(f"the registry answered a range from {stream.offset} on")
    waiting = bytearray()
    try:
        async for chunk in stream.chunks():
            waiting += chunk
            if surplus:  # a registry without ranges begins anew
                cut = min(surplus, len(waiting))
                del waiting[:cut]
                surplus -= cut
            if len(waiting) >= CHUNK:
                waiting, full = bytearray(), waiting
                await _write(incoming, full)
    except UnreachableError:
        await _write(incoming, waiting)
        raise
    await _write(incoming, waiting)


async def _write(incoming: Incoming, data: bytearray) -> None:
    if data:
        await run_to_end(lambda stop: incoming.write(data))


class Downloads:
    """Everything that arrives at one daemon."""

    def __init__(self, content: ContentStore, lease: NewLease, settings: RegistrySettings) -> None:
        self._content = content
        self._lease = lease
        self._slots = asyncio.Semaphore(settings.downloads)
        self._running: dict[tuple[str, int], Transfer] = {}

    @property
    def busy(self) -> bool:
        """Whether one that begins now would have to wait."""
        return self._slots.locked()

    @contextlib.asynccontextmanager
    async def transfer(
        self, descriptor: Descriptor, repository: Repository
    ) -> AsyncIterator[Transfer]:
        """A blob that is under way already, or from now on; the last one to leave ends it."""
        key = descriptor.digest, descriptor.size
        transfer = self._running.get(key)
        if transfer is None:
            transfer = self._running[key] = Transfer(descriptor, repository)
            transfer.task = asyncio.create_task(self._run(transfer), name="download")
        transfer.holders += 1
        try:
            yield transfer
        finally:
            transfer.holders -= 1
            over = not transfer.holders or transfer.task.done()
            if over and self._running.get(key) is transfer:
                del self._running[key]
            if not transfer.holders:
                await stopped(transfer.task)

    async def _run(self, transfer: Transfer) -> None:
        async with self._lease() as lease:
            lease.hold(transfer.descriptor.digest)
            await transfer.run(self._content.leased(lease), self._slots)
