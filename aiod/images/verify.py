"""Finding what is rotten, missing or left over in the stores.

Owns what is checked and in what words it is reported: every blob against its name, every layer
against the digest of what was unpacked, every image and container against what it stands on.
With `repair`, a layer is unpacked again where its blob is sound and no container stands on it,
and a rotten blob is taken away so that the next pull brings it anew. Must not know HTTP, SQL
or how containers run.
"""

import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from aiod.errors import AiodError
from aiod.images.collect import Collector, Lease
from aiod.images.content import CHUNK
from aiod.images.loading import Stores
from aiod.images.model import ImageRecord, LayerRecord
from aiod.images.threads import Cancelled, run_to_end


class VerifyMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was checked, or at the end of all the `summary`.

    `subject` is blob, layer, image or container; without `problem` it is sound. `size` is the
    bytes that were read.
    """

    subject: str = ""
    id: str = ""
    size: int = 0
    problem: str = ""
    repaired: bool = False
    summary: "VerifySummary | None" = None


class VerifySummary(msgspec.Struct, frozen=True):
    """How many of each were checked, how many problems were found, and how many repaired."""

    blobs: int
    layers: int
    images: int
    containers: int
    problems: int
    repaired: int


@dataclass(frozen=True, slots=True)
class Owners:
    """What stands on the stores.

    `stacks` are the layers of each container, `unreadable` the ids of images whose records
    cannot be read; `unknown_stacks` says that there are such records of containers.
    """

    images: Sequence[ImageRecord]
    stacks: Mapping[str, Sequence[str]]
    unreadable: Sequence[str]
    unknown_stacks: bool = False

    def layers(self) -> dict[str, LayerRecord]:
        """Every layer of an image by its chain id."""
        return {layer.chain_id: layer for image in self.images for layer in image.layers}

    def blobs(self) -> frozenset[str]:
        """The digests that are owned."""
        return frozenset().union(*(image.blobs() for image in self.images))

    def used(self) -> frozenset[str]:
        """The chain ids that containers stand on."""
        return frozenset(chain for stack in self.stacks.values() for chain in stack)


@dataclass(slots=True)
class Verifier:
    """One verification of one root."""

    stores: Stores
    collector: Collector
    owners: Callable[[], Owners]
    repair: bool
    counts: dict[str, int] = field(default_factory=dict)
    problems: int = 0
    repaired: int = 0

    async def run(self) -> AsyncGenerator[VerifyMessage, None]:
        """Everything, one message each, then the summary."""
        for check in (self._blobs, self._layers, self._owners):
            async for message in check():
                self.counts[message.subject] = self.counts.get(message.subject, 0) + 1
                self.problems += bool(message.problem)
                self.repaired += message.repaired
                yield message
        yield VerifyMessage(
            summary=VerifySummary(
                blobs=self.counts.get("blob", 0),
                layers=self.counts.get("layer", 0),
                images=self.counts.get("image", 0),
                containers=self.counts.get("container", 0),
                problems=self.problems,
                repaired=self.repaired,
            )
        )

    async def _blobs(self) -> AsyncGenerator[VerifyMessage, None]:
        for digest in await run_to_end(lambda stop: self.stores.content.names()):
            known = self._known(digest)
            async with self.collector.lease() as lease:
                lease.hold(digest)
                message = await self._blob(digest)
            if message is None:
                continue  # collected before it was held
            if not message.problem and not known:
                message = msgspec.structs.replace(message, problem="nothing needs it")
            if message.problem.startswith("damaged") and self.repair:
                message = await self._take_blob(message)
            yield message

    def _known(self, name: str) -> bool:
        """Whether something owns or holds it, or may own it."""
        owners = self.owners()
        owned = owners.blobs() | owners.used() | owners.layers().keys()
        unsure = bool(owners.unreadable) or owners.unknown_stacks
        return unsure or name in owned or self.collector.holds.held(name)

    async def _blob(self, digest: str) -> VerifyMessage | None:
        try:
            found, size = await run_to_end(partial(_hashed, self.stores, digest))
        except AiodError as error:
            if not self.stores.content.is_blob(digest):
                return VerifyMessage("blob", digest, problem=error.message)
            return None
        except OSError as error:
            return VerifyMessage("blob", digest, problem=f"cannot be read: {error.strerror}")
        problem = "" if found == digest else f"damaged: its content has the digest {found}"
        return VerifyMessage("blob", digest, size, problem)

    async def _take_blob(self, message: VerifyMessage) -> VerifyMessage:
        remove = partial(self.stores.content.remove, message.id, self.collector.holds)
        if not await run_to_end(lambda stop: remove()):
            return message
        return msgspec.structs.replace(
            message, problem=f"{message.problem}; taken away for a pull to bring it anew"
        )

    async def _layers(self) -> AsyncGenerator[VerifyMessage, None]:
        for chain in await run_to_end(lambda stop: self.stores.layers.names()):
            known = self._known(chain)
            async with self.collector.lease() as lease:
                lease.hold(chain)
                message = await self._layer(chain)
            if not message.problem and not known:
                message = msgspec.structs.replace(message, problem="nothing needs it")
            elif message.problem and self.repair:
                message = await self._repaired(message)
            yield message

    async def _layer(self, chain: str) -> VerifyMessage:
        try:
            size, problem = await run_to_end(partial(self.stores.layers.check, chain))
        except OSError as error:
            size, problem = 0, f"cannot be read: {error.strerror}"
        return VerifyMessage("layer", chain, size, problem)

    async def _repaired(self, message: VerifyMessage) -> VerifyMessage:
        """Unpacked again, if it can be; the problem says otherwise why not."""
        owners = self.owners()
        layer = owners.layers().get(message.id)
        if layer is None or message.id in owners.used():
            why = "a container stands on it" if layer else "no image has it"
            return msgspec.structs.replace(
                message, problem=f"{message.problem}; not repaired: {why}"
            )
        try:
            done = await self._again(layer)
        except AiodError as error:
            problem = f"{message.problem}; not repaired: {error.message}"
            return msgspec.structs.replace(message, problem=problem)
        return msgspec.structs.replace(message, repaired=done)

    async def _again(self, layer: LayerRecord) -> bool:
        """The blob is held by no lease: its digest may be the layer's name as well."""
        open_blob = partial(self.stores.content.open, layer.blob_digest)
        holds = self.collector.holds
        return await self.stores.layers.replace(layer.chain_id, layer.diff_id, open_blob, holds)

    async def _owners(self) -> AsyncGenerator[VerifyMessage, None]:
        owners = self.owners()
        for image_id in owners.unreadable:
            yield VerifyMessage("image", image_id, problem="its record cannot be read")
        for image in owners.images:
            async with self.collector.lease() as lease:
                lease.hold(*image.needs())
                if image not in self.owners().images:
                    continue
                missing = await run_to_end(partial(self._missing, image.blobs(), image.chains()))
                if missing and self.repair:
                    yield await self._restored(image, missing, lease)
                else:
                    yield VerifyMessage("image", image.id, problem=_lost(missing))
        for container, stack in owners.stacks.items():
            missing = await run_to_end(partial(self._missing, (), stack))
            if container in self.owners().stacks:
                yield VerifyMessage("container", container, problem=_lost(missing))

    async def _restored(
        self, image: ImageRecord, missing: Sequence[str], lease: Lease
    ) -> VerifyMessage:
        """With those missing layers unpacked again whose blobs are here."""
        stores = self.stores.leased(lease)
        problem = _lost(missing)
        try:
            for layer in image.layers:
                opened = partial(stores.content.open, layer.blob_digest)
                await stores.layers.ensure(layer.chain_id, layer.diff_id, opened)
        except AiodError as error:
            problem = f"{problem}; not repaired: {error.message}"
            return VerifyMessage("image", image.id, problem=problem)
        left = await run_to_end(partial(self._missing, image.blobs(), image.chains()))
        return VerifyMessage("image", image.id, problem=problem, repaired=not left)

    def _missing(
        self, blobs: Iterable[str], chains: Iterable[str], stop: threading.Event
    ) -> list[str]:
        """What is not there, in the words of the report."""
        return self.stores.lacks(blobs, chains)


def _lost(missing: Sequence[str]) -> str:
    return f"not here: {', '.join(missing)}" if missing else ""


def _hashed(stores: Stores, digest: str, stop: threading.Event) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with stores.content.open(digest) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while data := file.read(CHUNK):
            if stop.is_set():
                raise Cancelled
            hasher.update(data)
            size += len(data)
    return f"sha256:{hasher.hexdigest()}", size
