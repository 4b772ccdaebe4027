"""Puts the images of an archive into the content and layer stores.

Owns the order: body to a scratch file, blobs, layers, and only then the record, which is the
caller's. Must not know the record store or HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import IO

from aiod import failpoints
from aiod.errors import InvalidParameterError
from aiod.images.archive import Archive, ArchivedImage, ArchivedLayer
from aiod.images.compression import Limits, PlainReader
from aiod.images.config import decode_config
from aiod.images.content import CHUNK, Blob, ContentStore, write_all
from aiod.images.layers import LayerStore
from aiod.images.model import ImageRecord, LayerRecord, chain_ids

BODY_STORED = failpoints.declare("load.body-stored")
BLOB_STORED = failpoints.declare("load.blob-stored")
LAYER_UNPACKED = failpoints.declare("load.layer-unpacked")
CONFIG_STORED = failpoints.declare("load.config-stored")

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Stores:
    """Where it goes, and what one archive may unfold to."""

    content: ContentStore
    layers: LayerStore
    limits: Limits


async def spool(body: AsyncIterable[bytes], file: IO[bytes], limits: Limits) -> None:
    """Write a request's body to `file`. Raises InvalidParameterError beyond the limit."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > limits.size:
            raise InvalidParameterError(f"archive is larger than {limits.size} bytes")
        await asyncio.to_thread(write_all, file, chunk)


@contextlib.asynccontextmanager
async def opened(body: AsyncIterable[bytes], stores: Stores) -> AsyncIterator[Archive]:
    """The archive in `body`, plain or compressed; its scratch files go afterwards."""
    with contextlib.ExitStack() as files:
        packed = files.enter_context(stores.content.ingest_file())
        await spool(body, packed, stores.limits)
        plain = files.enter_context(stores.content.ingest_file())
        await asyncio.to_thread(_unpack, packed, plain, stores.limits)
        failpoints.reach(BODY_STORED)
        archive = await asyncio.to_thread(Archive, plain)
        files.callback(archive.close)
        yield archive


def _unpack(packed: IO[bytes], plain: IO[bytes], limits: Limits) -> None:
    packed.seek(0)
    reader = PlainReader(packed, limits, what="archive", digest=False)
    while chunk := reader.read(CHUNK):
        write_all(plain, chunk)
    plain.flush()
    plain.seek(0)


async def store(image: ArchivedImage, archive: Archive, stores: Stores) -> ImageRecord:
    """Store one image's blobs and layers; the record is for the caller to commit.

    Raises InvalidParameterError if the archive is not what it says it is.
    """
    config = decode_config(image.config)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(image.layers):
        raise InvalidParameterError(
            f"image has {len(image.layers)} layers, its config says {len(diff_ids)}"
        )
    chains = chain_ids(diff_ids)
    layers: list[LayerRecord] = []
    size = 0
    for layer, diff_id, chain in zip(image.layers, diff_ids, chains, strict=True):
        blob = await asyncio.to_thread(_ingest, archive, layer, stores.content)
        failpoints.reach(BLOB_STORED)
        facts = await unpack_layer(stores, blob.digest, chain, diff_id)
        failpoints.reach(LAYER_UNPACKED)
        size += facts
        layers.append(LayerRecord(diff_id, chain, blob.digest, _LAYER_TYPE, blob.size))
    stored = await asyncio.to_thread(stores.content.write, image.config)
    manifest = None
    if image.manifest is not None:
        manifest = (await asyncio.to_thread(stores.content.write, image.manifest)).digest
    failpoints.reach(CONFIG_STORED)
    now = time.time_ns()
    return ImageRecord(
        stored.digest, manifest, stored.size, size, tuple(layers), image.references, now, now
    )


async def unpack_layer(stores: Stores, digest: str, chain: str, diff_id: str) -> int:
    """Have a stored blob unpacked as the layer `chain`; returns the bytes of its files."""
    facts = await stores.layers.ensure(chain, diff_id, lambda: stores.content.open(digest))
    return facts.size


def _ingest(archive: Archive, layer: ArchivedLayer, content: ContentStore) -> Blob:
    with archive.open(layer.member) as source:
        return content.ingest(source, layer.digest)
