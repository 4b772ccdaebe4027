"""Puts the images of an archive into the content and layer stores.

Owns the order: body to a scratch file, blobs, layers, and only then the record, which is the
caller's. Must not know the record store or HTTP.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from aiod import failpoints
from aiod.errors import InvalidParameterError
from aiod.images.archive import Archive, ArchivedImage, ArchivedLayer
from aiod.images.catalogue import Catalogue
from aiod.images.collect import Lease
from aiod.images.compression import Limits, PlainReader, is_compressed
from aiod.images.config import decode_config
from aiod.images.content import CHUNK, Blob, ContentStore
from aiod.images.files import write_all
from aiod.images.layers import LayerStore, ReadProgress, unwatched
from aiod.images.meter import Meter
from aiod.images.model import ImageRecord, LayerRecord, ProgressMessage, chain_ids
from aiod.images.reference import is_sha256, parse
from aiod.images.threads import Stoppable, run_to_end, stopped

BODY_STORED = failpoints.declare("load.body-stored")
BLOB_STORED = failpoints.declare("load.blob-stored")
LAYER_UNPACKED = failpoints.declare("load.layer-unpacked")
CONFIG_STORED = failpoints.declare("load.config-stored")

# What one overlay mount can stack with room to spare for the container's own layer.
MOST_LAYERS = 400
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Stores:
    """Where it goes, and what one archive may unfold to."""

    content: ContentStore
    layers: LayerStore
    limits: Limits

    def leased(self, lease: Lease) -> "Stores":
        """The same, holding in `lease` whatever is written, found or asked for."""
        return Stores(self.content.leased(lease), self.layers.leased(lease), self.limits)

    def lacks(self, blobs: Iterable[str], chains: Iterable[str]) -> list[str]:
        """Those of the blobs and layers that are not here, in words; blocking."""
        content, layers = self.content, self.layers
        return [f"blob {name}" for name in sorted(blobs) if content.size(name) is None] + [
            f"layer {name}" for name in chains if not layers.diff(name).is_dir()
        ]


async def spool(body: AsyncIterable[bytes], file: IO[bytes], limits: Limits) -> None:
    """Write a request's body to `file`. Raises InvalidParameterError beyond the limit."""
    size = 0
    waiting = bytearray()
    async for chunk in body:
        size += len(chunk)
        if size > limits.size:
            raise InvalidParameterError(f"archive is larger than {limits.size} bytes")
        waiting += chunk
        if len(waiting) >= CHUNK:
            await _write(file, waiting)
            waiting = bytearray()
    await _write(file, waiting)


async def _write(file: IO[bytes], data: bytearray) -> None:
    await run_to_end(lambda stop: write_all(file, data))


@contextlib.asynccontextmanager
async def opened(body: AsyncIterable[bytes], stores: Stores) -> AsyncIterator[Archive]:
    """The archive in `body`, plain or compressed; its scratch files go afterwards."""
    async with contextlib.AsyncExitStack() as files:
        packed = await files.enter_async_context(stores.content.ingest_file())
        await spool(body, packed, stores.limits)
        plain = packed
        if await run_to_end(lambda stop: is_compressed(packed)):
            plain = await files.enter_async_context(stores.content.ingest_file())
            await run_to_end(lambda stop: _unpack(packed, plain, stores.limits, stop))
        failpoints.reach(BODY_STORED)
        archive = await run_to_end(lambda stop: Archive(plain))
        files.callback(archive.close)
        yield archive


def _unpack(packed: IO[bytes], plain: IO[bytes], limits: Limits, stop: threading.Event) -> None:
    reader = PlainReader(Stoppable(packed, stop), limits, what="archive", digest=False)
    while chunk := reader.read(CHUNK):
        write_all(plain, chunk)
    plain.seek(0)


class Storing:
    """Stores one image's blobs and layers; `record` is then for the caller to commit."""

    def __init__(self, image: ArchivedImage, archive: Archive, stores: Stores) -> None:
        self._image = image
        self._archive = archive
        self._stores = stores
        self._layers: list[LayerRecord] = []
        self._size = 0
        self.record: ImageRecord

    async def run(self) -> AsyncGenerator[ProgressMessage, None]:
        """Do it, telling how far the unpacking of each new layer is.

        Raises InvalidParameterError if the archive is not what it says it is.
        """
        diff_ids = _checked_diff_ids(self._image)
        for layer, diff_id, chain in zip(
            self._image.layers, diff_ids, chain_ids(diff_ids), strict=True
        ):
            async with contextlib.aclosing(self._store_layer(layer, diff_id, chain)) as steps:
                async for message in steps:
                    yield message
        self.record = await self._finish()

    async def _store_layer(
        self, layer: ArchivedLayer, diff_id: str, chain: str
    ) -> AsyncGenerator[ProgressMessage, None]:
        stores = self._stores
        blob = await run_to_end(lambda stop: _ingest(self._archive, layer, stores.content, stop))
        failpoints.reach(BLOB_STORED)
        meter = Meter("Loading layer", chain.removeprefix("sha256:")[:12], blob.size)
        task = asyncio.ensure_future(unpack_layer(stores, blob.digest, chain, diff_id, meter.reach))
        try:
            async for message in meter.until(task):
                yield message
            self._size += await task
        finally:
            await stopped(task)
        failpoints.reach(LAYER_UNPACKED)
        self._layers.append(LayerRecord(diff_id, chain, blob.digest, _LAYER_TYPE, blob.size))

    async def _finish(self) -> ImageRecord:
        content, image = self._stores.content, self._image
        stored = await asyncio.to_thread(content.write, image.config)
        manifest = None
        if image.manifest is not None:
            manifest = (await asyncio.to_thread(content.write, image.manifest)).digest
        failpoints.reach(CONFIG_STORED)
        now = time.time_ns()
        return ImageRecord(
            stored.digest, manifest, stored.size, self._size, tuple(self._layers),
            image.references, now, now,
        )  # fmt: skip


def _checked_diff_ids(image: ArchivedImage) -> list[str]:
    config = decode_config(image.config)
    diff_ids = config.rootfs.diff_ids
    if config.os not in ("", "linux"):
        raise InvalidParameterError(
            f"cannot load {config.os} image on linux: operating system is not supported"
        )
    if len(diff_ids) != len(image.layers):
        raise InvalidParameterError(
            f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, "
            f"got {len(image.layers)}"
        )
    if len(diff_ids) > MOST_LAYERS:
        raise InvalidParameterError(f"image has {len(diff_ids)} layers: more than {MOST_LAYERS}")
    if sum(not step.empty_layer for step in config.history or ()) > len(diff_ids):
        raise InvalidParameterError("too many non-empty layers in History section")
    for diff_id in diff_ids:
        if not is_sha256(diff_id):
            raise InvalidParameterError(f"invalid image config: diff id {diff_id[:80]!r}")
    return diff_ids


async def unpack_layer(
    stores: Stores, digest: str, chain: str, diff_id: str, progress: ReadProgress = unwatched
) -> int:
    """Have a stored blob unpacked as the layer `chain`; returns the bytes of its files."""
    facts = await stores.layers.ensure(
        chain, diff_id, lambda: stores.content.open(digest), progress
    )
    return facts.size


def _ingest(
    archive: Archive, layer: ArchivedLayer, content: ContentStore, stop: threading.Event
) -> Blob:
    with archive.open(layer.member) as source:
        return content.ingest(Stoppable(source, stop), layer.digest)


def losers(images: Catalogue, image: ImageRecord) -> Iterable[str]:
    """What is said of those images whose names another one gets."""
    for reference in image.references:
        other = images.named(reference)
        if other is not None and other.id != image.id:
            yield (
                f"The image {parse(reference).familiar} already exists, "
                f"renaming the old one with ID {other.id} to empty string\n"
            )


def told(image: ImageRecord, references: Sequence[str]) -> Sequence[str]:
    """What is said of an image that is here now."""
    if not references:
        return [f"Loaded image ID: {image.id}\n"]
    return [f"Loaded image: {parse(name).familiar}\n" for name in references]
