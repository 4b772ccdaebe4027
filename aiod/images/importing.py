"""Makes an image of one layer from a root filesystem tar, as `docker import` does.

Owns the config that such an image gets; must not know the record store or HTTP.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterable
from typing import IO

import msgspec

from aiod import failpoints
from aiod.errors import InvalidParameterError
from aiod.images.compression import PlainReader, is_compressed
from aiod.images.config import History, ImageConfig, Platform, RootFS, RunConfig
from aiod.images.content import Blob
from aiod.images.loading import Stores, spool, unpack_layer
from aiod.images.model import ImageRecord, LayerRecord
from aiod.images.reference import normalize, parse
from aiod.images.threads import Stoppable, run_to_end

LAYER_STORED = failpoints.declare("import.layer-stored")
LAYER_UNPACKED = failpoints.declare("import.layer-unpacked")
CONFIG_STORED = failpoints.declare("import.config-stored")

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def references(text: str) -> tuple[str, ...]:
    """The names of an imported image in normal form. Raises InvalidParameterError."""
    if not text:
        return ()
    if parse(text).digest is not None:
        raise InvalidParameterError("cannot import digest reference")
    return (normalize(text),)


async def import_tar(
    body: AsyncIterable[bytes],
    stores: Stores,
    run: RunConfig,
    platform: Platform,
    *,
    message: str,
    references: tuple[str, ...],
    created: str | None,
) -> ImageRecord:
    """Store a root filesystem, plain or compressed; the record is for the caller to commit.

    `created` is an RFC 3339 time, None for a config that says none. Raises
    InvalidParameterError for a hostile or damaged tar.
    """
    async with stores.content.ingest_file() as file:
        await spool(body, file, stores.limits)
        blob, diff_id = await run_to_end(lambda stop: _ingest(file, stores, stop))
    failpoints.reach(LAYER_STORED)
    size = await unpack_layer(stores, blob.digest, diff_id, diff_id)
    failpoints.reach(LAYER_UNPACKED)
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=run,
        rootfs=RootFS([diff_id]),
        history=[History(created=created, comment=message)],
        created=created,
        comment=message,
    )
    stored = await asyncio.to_thread(stores.content.write, msgspec.json.encode(config))
    failpoints.reach(CONFIG_STORED)
    layer = LayerRecord(diff_id, diff_id, blob.digest, _LAYER_TYPE, blob.size)
    now = time.time_ns()
    return ImageRecord(stored.digest, None, stored.size, size, (layer,), references, now, now)


def _ingest(file: IO[bytes], stores: Stores, stop: threading.Event) -> tuple[Blob, str]:
    """Keep the body as it came, and learn the digest of what it unpacks to."""
    if not is_compressed(file):
        blob = stores.content.ingest(Stoppable(file, stop))
        return blob, blob.digest
    plain = PlainReader(Stoppable(file, stop), stores.limits, what="root filesystem")
    plain.drain()
    file.seek(0)
    return stores.content.ingest(Stoppable(file, stop)), plain.digest
