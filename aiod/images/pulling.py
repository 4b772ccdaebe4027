"""Brings images from registries: `docker pull`.

Owns the order: manifest, config, layers (arriving and being unpacked at the same time),
and only then the record, which is the caller's. Must not know the record store or HTTP.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, TypeVar, cast

from aiod import failpoints
from aiod.config import RegistrySettings
from aiod.errors import (
    AiodError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
    UnauthorizedError,
)
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.board import Board
from aiod.images.catalogue import Catalogue
from aiod.images.collect import Lease
from aiod.images.config import Descriptor, ImageConfig, Platform, decode_config
from aiod.images.content import ContentStore
from aiod.images.downloads import Downloads, NewLease, Transfer
from aiod.images.layers import LayerFacts
from aiod.images.loading import Stores
from aiod.images.model import ImageRecord, LayerRecord, chain_ids
from aiod.images.platform import MACHINE, shown
from aiod.images.reference import Reference, check_tag, is_sha256, parse
from aiod.images.registry import client, errors
from aiod.images.registry.client import Registry, Repository
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.errors import RegistryError, UnreachableError
from aiod.images.registry.transport import Transport
from aiod.images.resolving import Resolved, resolve
from aiod.images.threads import Cancelled, stopped

logger = logging.getLogger(__name__)

LAYER_STORED = failpoints.declare("pull.layer-stored")
CONFIG_STORED = failpoints.declare("pull.config-stored")

_UNPACKED_AT_ONCE = 2  # more would not be faster, as each keeps a processor busy

T = TypeVar("T")
Record = Callable[[ImageRecord, Reference | None], Awaitable[bool]]
_Stored = tuple[LayerRecord, int]  # with the bytes of its files


def pull_reference(name: str, tag: str = "") -> Reference:
    """What `fromImage` and `tag` name together; without tag and digest it is every tag.

    Raises InvalidParameterError.
    """
    reference = parse(name)
    if not tag:
        return reference
    if tag.startswith("sha256:"):
        return parse(f"{reference.name}@{tag}")
    return Reference(reference.domain, reference.path, check_tag(tag))


class Pulls:
    """What all pulls of a daemon share."""

    def __init__(self, content: ContentStore, lease: NewLease, settings: RegistrySettings) -> None:
        self.transport = Transport(settings)
        self.downloads = Downloads(content, lease, settings)
        self.unpacking = asyncio.Semaphore(_UNPACKED_AT_ONCE)

    async def close(self) -> None:
        """End the connections; every pull has ended."""
        await self.transport.close()


@dataclass(frozen=True, slots=True)
class Here:
    """What is here already, and where the rest goes."""

    stores: Stores
    lease: Lease
    catalogue: Catalogue


class Pull:
    """One pull: of one image, or of all the tags of a repository.

    `record` commits an image, with the event of a pull of that reference if one is given, and
    says whether the first of its names is new to it.
    """

    def __init__(
        self,
        pulls: Pulls,
        here: Here,
        reference: Reference,
        platform: Platform | None,
        credentials: Credentials,
        record: Record,
    ) -> None:
        self._pulls = pulls
        self._here = here
        self._reference = reference
        self._platform = platform
        self._credentials = credentials
        self._record = record
        self._warning = ""
        self.board = Board()

    async def run(self) -> None:
        """Do it, telling the board. Raises what the user shall read."""
        reference = self._reference
        try:
            news = await self._from_sources()
        except RegistryError as error:
            raise _explained(error, reference) from error
        except UnauthorizedError as error:  # a 401 would make Docker's client ask for a login
            raise InternalError(error.message) from error
        what = "Downloaded newer image for" if news else "Image is up to date for"
        self.board.say(f"Status: {what} {reference.familiar}")
        if self._warning:
            self.board.say(self._warning)

    async def _from_sources(self) -> bool:
        """Ask the mirrors, then the registry itself; whether anything is new."""
        *mirrors, origin = client.sources(self._pulls.transport, self._reference, self._credentials)
        for mirror in mirrors:
            try:
                return await self._from(mirror)
            except AiodError as error:
                logger.info("mirror %s: %s", mirror.domain, error.message)
        return await self._from(origin)

    async def _from(self, registry: Registry) -> bool:
        repository = await registry.repository(self._reference.path)
        if self._reference.tag or self._reference.digest:
            return await self._one(repository, self._reference)
        news, tags = False, await repository.tags()
        for number, tag in enumerate(tags, 1):
            named = Reference(self._reference.domain, self._reference.path, check_tag(tag))
            news |= await self._one(repository, named, last=number == len(tags))
        return news

    async def _one(
        self, repository: Repository, reference: Reference, *, last: bool = True
    ) -> bool:
        wanted = reference.digest or reference.tag or ""
        resolved = await resolve(repository, wanted, self._platform or MACHINE)
        # As dockerd: the whole reference where there is no tag alone to show.
        name = reference.familiar if reference.digest else wanted
        self.board.say(f"Pulling from {reference.path}", name)
        image = await _Fetching(self._pulls, self._here, self.board, repository, resolved).run()
        digest = Reference(reference.domain, reference.path, digest=resolved.digest)
        names = [digest] if reference.digest else [reference, digest]
        news = await self._record(_named(image, names), self._reference if last else None)
        self.board.say(f"Digest: {resolved.digest}")
        await self._compare(image)
        return news

    async def _compare(self, image: ImageRecord) -> None:
        """Whether the image is for the platform that was asked for; if not, the user is warned."""
        wanted, content = self._platform, self._here.stores.content
        if wanted is None:
            return
        config = decode_config(await asyncio.to_thread(content.read, image.id, LARGEST_DOCUMENT))
        found = Platform(config.architecture, config.os, config.variant)
        if (found.os, found.architecture) != (wanted.os, wanted.architecture):
            self._warning = (
                f"WARNING: image with reference {self._reference.familiar} was found but does "
                f"not match the specified platform: wanted {shown(wanted)}, actual: {shown(found)}"
            )


def _named(image: ImageRecord, names: Iterable[Reference]) -> ImageRecord:
    now = time.time_ns()
    return ImageRecord(
        image.id, image.manifest, image.config_size, image.size, image.layers,
        tuple(str(name) for name in names), now, now,
    )  # fmt: skip


def _explained(error: RegistryError, reference: Reference) -> AiodError:
    """In dockerd's words, and with its statuses: a 401 would make its client ask for a login."""
    if error.code == errors.DENIED:
        return NotFoundError(
            f"pull access denied for {reference.familiar_name}, repository does not exist or "
            f"may require 'docker login': {error.message}"
        )
    if error.code == errors.MANIFEST_UNKNOWN:
        return NotFoundError(f"manifest for {reference.familiar} not found: {error.message}")
    if error.code == errors.NAME_UNKNOWN:
        return NotFoundError(f"repository {reference.familiar_name} not found: {error.message}")
    return InternalError(error.message)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer of the image that is being fetched."""

    descriptor: Descriptor
    diff_id: str
    chain: str

    @property
    def name(self) -> str:
        """What progress messages call it."""
        return self.descriptor.digest.removeprefix("sha256:")[:12]

    def stored(self) -> LayerRecord:
        """The record of a layer whose blob came from the registry."""
        one = self.descriptor
        return LayerRecord(self.diff_id, self.chain, one.digest, one.media_type, one.size)


class _Fetching:
    """Has one image's config, manifest and layers here."""

    def __init__(
        self, pulls: Pulls, here: Here, board: Board, repository: Repository, resolved: Resolved
    ) -> None:
        self._pulls = pulls
        self._here = here
        self._board = board
        self._repository = repository
        self._resolved = resolved

    async def run(self) -> ImageRecord:
        """The image, not yet recorded, its names and times still to be filled in."""
        wanted = self._resolved.document.config
        if (known := await self._known(wanted.digest)) is not None:
            return known
        data = await self._config(wanted)
        stored = await self._layers(_planned(decode_config(data), self._resolved.document.layers))
        records = tuple(record for record, _ in stored)
        manifest = await self._store_documents(data, records)
        size = sum(size for _, size in stored)
        return ImageRecord(wanted.digest, manifest, len(data), size, records, (), 0, 0)

    async def _known(self, image_id: str) -> ImageRecord | None:
        """An image that is wholly here, and now stays while it is pulled."""
        image = self._here.catalogue.get(image_id)
        if image is None:
            return None
        self._here.lease.hold(*image.needs())
        lost = await asyncio.to_thread(self._here.stores.lacks, image.blobs(), image.chains())
        return None if lost else self._here.catalogue.get(image_id)

    async def _config(self, wanted: Descriptor) -> bytes:
        if wanted.size > LARGEST_DOCUMENT:
            raise InvalidParameterError(f"image config is larger than {LARGEST_DOCUMENT} bytes")
        return await self._repository.small_blob(wanted.digest, wanted.size)

    async def _store_documents(self, config: bytes, layers: Iterable[LayerRecord]) -> str | None:
        """Store the config, and the manifest if every blob it names is here as it names it."""
        content = self._here.stores.content
        await asyncio.to_thread(content.write, config)
        failpoints.reach(CONFIG_STORED)
        named = [layer.digest for layer in self._resolved.document.layers]
        if named != [layer.blob_digest for layer in layers]:
            return None
        return (await asyncio.to_thread(content.write, self._resolved.manifest.data)).digest

    async def _layers(self, layers: Iterable[_Layer]) -> list[_Stored]:
        """Every layer here and unpacked; those that come, come together."""
        work: list[Coroutine[Any, Any, _Stored]] = []
        for layer in layers:
            found = await self._already(layer)
            status = "Pulling fs layer" if found is None else "Already exists"
            self._board.say(status, layer.name, detail=True)
            work.append(self._layer(layer) if found is None else _ready(found))
        return await _together(work)

    async def _layer(self, layer: _Layer) -> _Stored:
        content, one = self._here.stores.content, layer.descriptor
        if await asyncio.to_thread(content.size, one.digest) == one.size:
            extraction = _Extraction(lambda stop: content.open(one.digest))
            with self._board.gauge("Extracting", layer.name, one.size, extraction.reached):
                facts = await self._unpack(layer, extraction)
        else:
            facts = await self._download(layer)
        self._board.say("Pull complete", layer.name, detail=True)
        failpoints.reach(LAYER_STORED)
        return layer.stored(), facts.size

    async def _already(self, layer: _Layer) -> _Stored | None:
        """A layer that is unpacked and belongs, with a blob, to an image that is here."""
        images = [image for image in self._here.catalogue if layer.chain in image.chains()]
        if not images:
            return None
        owned = [one for image in images for one in image.layers if one.chain_id == layer.chain]
        # As it is at this registry, if there is a choice.
        owned.sort(key=lambda one: one.blob_digest != layer.descriptor.digest)
        stores, found = self._here.stores, owned[0]
        self._here.lease.hold(layer.chain)
        if await asyncio.to_thread(stores.content.size, found.blob_digest) != found.blob_size:
            return None
        facts = await asyncio.to_thread(stores.layers.facts, layer.chain)
        return None if facts is None else (found, facts.size)

    async def _download(self, layer: _Layer) -> LayerFacts:
        while True:
            async with self._pulls.downloads.transfer(
                layer.descriptor, self._repository
            ) as transfer:
                try:
                    return await self._through(layer, transfer)
                except (RegistryError, UnreachableError):
                    # Another pull's registry failed; ours may have it.
                    if transfer.repository is self._repository:
                        raise

    async def _through(self, layer: _Layer, transfer: Transfer) -> LayerFacts:
        """Unpack what arrives while it arrives."""
        extraction = _Extraction(partial(self._open, layer, transfer))
        unpacked = asyncio.ensure_future(self._follow(layer, transfer, extraction))
        total = layer.descriptor.size
        try:
            with self._board.gauge("Downloading", layer.name, total, lambda: transfer.received):
                await self._arrival(layer, transfer, unpacked)
            self._board.say("Verifying Checksum", layer.name, detail=True)
            self._board.say("Download complete", layer.name, detail=True)
            with self._board.gauge("Extracting", layer.name, total, extraction.reached):
                return await unpacked
        finally:
            await stopped(unpacked)

    async def _arrival(
        self, layer: _Layer, transfer: Transfer, unpacked: "asyncio.Task[LayerFacts]"
    ) -> None:
        """Until the blob is here; a tar that is refused ends it early."""
        if not transfer.begun.is_set() and self._pulls.downloads.busy:
            self._board.say("Waiting", layer.name, detail=True)
        await asyncio.wait((transfer.task, unpacked), return_when=asyncio.FIRST_COMPLETED)
        if unpacked.done() and isinstance(unpacked.exception(), AiodError):
            unpacked.result()
        await asyncio.wait((transfer.task,))
        transfer.task.result()

    async def _follow(
        self, layer: _Layer, transfer: Transfer, extraction: "_Extraction"
    ) -> LayerFacts:
        await transfer.begun.wait()
        return await self._unpack(layer, extraction)

    def _open(self, layer: _Layer, transfer: Transfer, stop: threading.Event) -> IO[bytes]:
        if transfer.incoming is None:
            raise Cancelled
        if (follower := transfer.incoming.follow(stop)) is not None:
            return cast("IO[bytes]", follower)
        return self._here.stores.content.open(layer.descriptor.digest)

    async def _unpack(self, layer: _Layer, extraction: "_Extraction") -> LayerFacts:
        """Cancelled, it ends at once, though what it reads may not have arrived."""
        async with self._pulls.unpacking:
            work = asyncio.ensure_future(
                self._here.stores.layers.ensure(
                    layer.chain, layer.diff_id, extraction.open, extraction.reach
                )
            )
            try:
                return await asyncio.shield(work)
            finally:
                extraction.stop.set()
                await stopped(work)


class _Extraction:
    """Between the thread that unpacks and those who watch and end it."""

    def __init__(self, opened: Callable[[threading.Event], IO[bytes]]) -> None:
        self._opened = opened
        self._count = 0
        self.stop = threading.Event()

    def open(self) -> IO[bytes]:
        """The blob to read."""
        return self._opened(self.stop)

    def reach(self, count: int) -> None:
        """The thread has read so many bytes."""
        self._count = count

    def reached(self) -> int:
        """How many it has read."""
        return self._count


async def _ready(found: _Stored) -> _Stored:
    return found


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, which run at the same time; the first failure ends them all."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await stopped(task)


def _planned(config: ImageConfig, layers: list[Descriptor]) -> list[_Layer]:
    """The layers with what they unpack to. Raises InvalidParameterError."""
    diff_ids = config.rootfs.diff_ids
    if config.os not in ("", "linux"):
        raise InvalidParameterError(
            f'image operating system "{config.os}" cannot be used on this platform'
        )
    if len(diff_ids) != len(layers):
        raise InvalidParameterError(
            f"invalid manifest: {len(layers)} layers, but the config has {len(diff_ids)}"
        )
    for diff_id in diff_ids:
        if not is_sha256(diff_id):
            raise InvalidParameterError(f"invalid image config: diff id {diff_id[:80]!r}")
    return [
        _Layer(descriptor, diff_id, chain)
        for descriptor, diff_id, chain in zip(layers, diff_ids, chain_ids(diff_ids), strict=True)
    ]
