"""Takes images to registries: `docker push`.

Owns the order: layers in the form that the registry gets, blobs, manifest, and only then
the record of where the image is now known. Must not know HTTP or the record store.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import msgspec

from aiod import failpoints
from aiod.errors import InternalError, InvalidParameterError
from aiod.images import manifests, packing
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.board import Board
from aiod.images.config import DOCKER_MANIFEST, Descriptor, decode_manifest
from aiod.images.content import CHUNK
from aiod.images.loading import Stores
from aiod.images.model import ImageRecord, LayerRecord, ProgressMessage, Pushed
from aiod.images.reference import Reference, check_tag, parse
from aiod.images.registry import client
from aiod.images.registry.client import Repository
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.transport import Transport
from aiod.images.registry.uploads import Source, Uploads
from aiod.images.service import ImageService
from aiod.images.streaming import Span, chunks
from aiod.images.threads import run_to_end, stopped

PACKED = failpoints.declare("push.packed")
UPLOADED = failpoints.declare("push.uploaded")
MANIFEST_PUT = failpoints.declare("push.manifest-put")

T = TypeVar("T")


def push_reference(name: str, tag: str = "") -> Reference:
    """What a push names; without a tag it is all of them. Raises InvalidParameterError."""
    reference = parse(name)
    if tag:
        reference = Reference(reference.domain, reference.path, check_tag(tag))
    if reference.digest is not None:
        raise InvalidParameterError("cannot push a digest reference")
    return reference


class Pushes:
    """All pushes of a daemon: they share how many blobs are sent at once."""

    def __init__(self, images: ImageService, transport: Transport) -> None:
        self._images = images
        self._transport = transport
        self._slots = asyncio.Semaphore(transport.settings.uploads)

    async def push(
        self, reference: Reference, credentials: Credentials
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push one tag, or all of a repository.

        Raises InternalError, RegistryError, UnreachableError and UnauthorizedError.
        """
        board = Board()
        board.say(f"The push refers to repository [{reference.name}]")
        task = asyncio.ensure_future(self._push(reference, credentials, board))
        try:
            async with contextlib.aclosing(board.until(task)) as messages:
                async for message in messages:
                    yield message
            await task
        finally:
            await stopped(task)

    async def _push(self, reference: Reference, credentials: Credentials, board: Board) -> None:
        wanted = self._tags(reference)
        registry = client.origin(self._transport, reference.domain, credentials)
        repository = await registry.repository(reference.path, push=True)
        for tag in wanted:
            named = Reference(reference.domain, reference.path, tag)
            async with self._images.storing() as stores, self._images.lease() as lease:
                image = await self._images.hold(str(named), lease)
                pushing = _Pushing(self._images, stores, self._slots, repository, board)
                pushed, digest = await pushing.run(image, named)
                await self._images.ledger.pushed(pushed, named, digest)
            if pushed.layers != image.layers:  # their other blobs are not needed any more
                await self._images.collect()

    def _tags(self, reference: Reference) -> list[str]:
        here = self._images.ledger.images.tagged(reference.name)
        if reference.tag is None:
            if not here:
                raise InternalError(
                    "An image does not exist locally with the tag: " + reference.familiar_name
                )
            return list(here)
        if reference.tag not in here:
            what = "tag does not exist" if here else "An image does not exist locally with the tag"
            name = reference.familiar if here else reference.familiar_name
            raise InternalError(f"{what}: {name}")
        return [reference.tag]


@dataclass(frozen=True, slots=True)
class _Document:
    """A manifest and the image whose blobs it names."""

    image: ImageRecord
    media_type: str
    data: bytes
    config: Descriptor

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return manifests.digest(self.data)


class _Pushing:
    """Puts one image under one tag."""

    def __init__(
        self,
        images: ImageService,
        stores: Stores,
        slots: asyncio.Semaphore,
        repository: Repository,
        board: Board,
    ) -> None:
        self._images = images
        self._stores = stores
        self._slots = slots
        self._repository = repository
        self._uploads = Uploads(repository)
        self._board = board

    async def run(self, image: ImageRecord, named: Reference) -> tuple[ImageRecord, str]:
        """Do it; the image with its manifest, which is in the store, and the digest of that."""
        kept = await self._kept(image)
        unique = {layer.diff_id: layer for layer in reversed(image.layers)}
        for layer in unique.values():
            self._board.say("Preparing", _name(layer), detail=True)
        repack = kept is None
        works = (self._layer(layer, named, repack=repack) for layer in unique.values())
        sent = dict(zip(unique, await _together(works), strict=True))
        document = kept or await self._generated(image, [sent[one.diff_id] for one in image.layers])
        await self._config(document)
        tag = named.tag or ""
        await self._uploads.manifest(tag, document.media_type, document.data, document.digest)
        failpoints.reach(MANIFEST_PUT)
        size = len(document.data)
        self._board.say(f"{tag}: digest: {document.digest} size: {size}")
        self._board.conclude(Pushed(tag, document.digest, size))
        return document.image, document.digest

    async def _kept(self, image: ImageRecord) -> _Document | None:
        """The manifest that the image came with, if it is about the blobs that are here."""
        if image.manifest is None:
            return None
        data = await asyncio.to_thread(self._stores.content.read, image.manifest, LARGEST_DOCUMENT)
        found = decode_manifest(data)
        blobs = [layer.blob_digest for layer in image.layers]
        if found.config.digest != image.id or [one.digest for one in found.layers] != blobs:
            return None
        return _Document(image, found.media_type, data, found.config)

    async def _generated(self, image: ImageRecord, layers: list[LayerRecord]) -> _Document:
        data = manifests.docker(image, layers)
        blob = await asyncio.to_thread(self._stores.content.write, data)
        image = msgspec.structs.replace(image, layers=tuple(layers), manifest=blob.digest)
        config = Descriptor(manifests.DOCKER_CONFIG, image.id, image.config_size)
        return _Document(image, DOCKER_MANIFEST, data, config)

    async def _layer(self, layer: LayerRecord, named: Reference, *, repack: bool) -> LayerRecord:
        """Have one layer at the registry; as it is there."""
        name = _name(layer)
        if self._slots.locked():
            self._board.say("Waiting", name, detail=True)
        async with self._slots:
            if repack:
                layer = await self._packed(layer)
            digest, size = layer.blob_digest, layer.blob_size
            under_way = [0]
            source = Source(digest, size, lambda first, count: self._part(digest, first, count))
            others = self._images.ledger.images.repositories_with(named.domain, digest)
            mounts = [path for path in others if path != named.path]
            with self._board.gauge("Pushing", name, size, lambda: under_way[0]):
                put = await self._uploads.blob(
                    source, mounts, lambda done: under_way.__setitem__(0, done)
                )
        failpoints.reach(UPLOADED)
        said = f"Mounted from {put.mounted}" if put.mounted else "Pushed"
        self._board.say("Layer already exists" if put.existed else said, name, detail=True)
        return layer

    async def _packed(self, layer: LayerRecord) -> LayerRecord:
        """The layer with a blob that every registry takes, which is recorded at once."""
        reached = [0]

        def pack(stop: threading.Event) -> LayerRecord:
            stores = self._stores
            return packing.pack(
                stores.content, layer, stores.limits, lambda n: reached.__setitem__(0, n), stop
            )

        with self._board.gauge("Preparing", _name(layer), layer.blob_size, lambda: reached[0]):
            packed = await run_to_end(pack)
        if packed != layer:
            await self._images.ledger.repacked(layer, packed)
            failpoints.reach(PACKED)
        return packed

    async def _part(self, digest: str, first: int, count: int) -> AsyncGenerator[bytes, None]:
        """A part of a blob."""
        file = await run_to_end(lambda stop: self._opened(digest, first))
        with file:
            async with contextlib.aclosing(chunks(Span(file, count), CHUNK)) as pieces:
                async for piece in pieces:
                    yield piece

    def _opened(self, digest: str, first: int) -> IO[bytes]:
        file = self._stores.content.open(digest)
        file.seek(first)
        return file

    async def _config(self, document: _Document) -> None:
        one = document.config
        source = Source(
            one.digest, one.size, lambda first, count: self._part(one.digest, first, count)
        )
        await self._uploads.blob(source, (), lambda done: None)


def _name(layer: LayerRecord) -> str:
    """What progress messages call a layer: as Docker, the beginning of its diff id."""
    return layer.diff_id.removeprefix("sha256:")[:12]


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them at the same time; when one fails, the others end before its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            await stopped(task)
