"""Images: what there is, under which names, and how they come and go.

Owns the consistency of the records with the stores; must not know HTTP, SQL or how
containers run. Files are written before the record that owns them, and deleted after it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from aiod import failpoints
from aiod.config import Paths, RegistrySettings
from aiod.errors import AiodError, NotFoundError
from aiod.images import (
    available,
    base,
    deriving,
    importing,
    loading,
    pulling,
    saving,
    tagging,
    views,
)
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.available import ManifestSummary
from aiod.images.collect import Collector, Deletion, Lease
from aiod.images.compression import Limits
from aiod.images.config import Descriptor, ImageConfig, Platform, RunConfig, decode_manifest
from aiod.images.content import ContentStore
from aiod.images.dockerfile import runconfig
from aiod.images.files import discard
from aiod.images.history import HistoryItem, history
from aiod.images.layers import LayerStore
from aiod.images.ledger import Ledger
from aiod.images.loading import Stores
from aiod.images.model import (
    ImageInspect,
    ImageRecord,
    ImageSummary,
    ProgressMessage,
)
from aiod.images.plain import PlainLayers
from aiod.images.platform import MACHINE, choose, import_platform, shown
from aiod.images.pruning import PruneReport
from aiod.images.records import ImageRecords
from aiod.images.reference import Reference, is_hex64, normalize
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.transport import Transport
from aiod.images.removing import Removals, Removed, Uses
from aiod.images.selection import Filters, select
from aiod.images.threads import run_to_end, stopped
from aiod.images.times import format_time
from aiod.images.verify import Owners, Verifier, VerifyMessage

logger = logging.getLogger(__name__)

RECORDED = failpoints.declare("load.recorded")
DERIVED = failpoints.declare("derive.recorded")
IMPORT_RECORDED = failpoints.declare("import.recorded")
PULL_RECORDED = failpoints.declare("pull.recorded")
CONDEMNED = failpoints.declare("collect.condemned")
COLLECTED = failpoints.declare("collect.deleted")


class ImageService:
    """The images of one root."""

    def __init__(
        self,
        paths: Paths,
        records: ImageRecords,
        limits: Limits | None = None,
        registries: RegistrySettings | None = None,
    ) -> None:
        limits = limits or Limits()
        self._paths = paths
        self._content = ContentStore(paths)
        self._layers = LayerStore(paths, limits)
        self._stores = Stores(self._content, self._layers, limits)
        self._plain = PlainLayers(self._content, limits)
        self.ledger = Ledger(records, self._content)
        self._making_base = asyncio.Lock()
        self._collector = Collector(self._condemn)
        self._pulls = pulling.Pulls(
            self._content, self._collector.lease, registries or RegistrySettings()
        )
        self._first_collection: asyncio.Task[None] | None = None
        self.architecture = MACHINE.architecture
        self._removals = Removals(
            self.ledger, self._layers, self._collector,
            lambda image_id: self.uses(image_id), self._chains_in_use,
        )  # fmt: skip
        self.uses: Uses = lambda image_id: ()
        self.stacks: Callable[[], Mapping[str, Sequence[str]]] = dict
        self.unknown_stacks: Callable[[], bool] = lambda: False

    @property
    def transport(self) -> Transport:
        """The way to registries."""
        return self._pulls.transport

    async def start(self) -> None:
        """Read the records; drop what an interrupted operation left in the way."""
        await asyncio.to_thread(self._content.prepare)
        await asyncio.to_thread(self._layers.prepare)
        await self.ledger.load()

    def collect_soon(self) -> None:
        """Collect in the background; for when the containers are known, after a start."""
        self._first_collection = asyncio.create_task(self._collect_first(), name="collect images")

    async def _collect_first(self) -> None:
        """What fails here costs disk space alone, and the next collection tries it again."""
        try:
            await self.collect()
        except (AiodError, OSError) as error:
            logger.error("collect images: %s", error)

    async def close(self) -> None:
        """End what is in the background; the server has ended its requests."""
        if self._first_collection is not None:
            await asyncio.wait((self._first_collection,))
        await self._pulls.close()

    async def collect(self) -> None:
        """Delete blobs and layers that no image and no container stands on."""
        await self._collector.collect()

    def lease(self) -> AbstractAsyncContextManager[Lease]:
        """For a reader or a maker of something: what is held in it does not go until it ends."""
        return self._collector.lease()

    @contextlib.asynccontextmanager
    async def storing(self) -> AsyncIterator[Stores]:
        """The stores for an operation that ends with a record; what it touches is held.

        Failure leaves nothing: what it wrote and nobody owns is collected.
        """
        async with self._collector.operation() as lease:
            yield self._stores.leased(lease)

    async def hold(self, name: str, lease: Lease) -> ImageRecord:
        """As `resolve`, with all that the image needs held in `lease`."""
        while True:
            image = await self.resolve(name)
            lease.hold(*image.needs())
            if self.ledger.images.get(image.id) is not None:  # not removed between the two
                return image

    async def _condemn(self) -> Deletion:
        # A record that cannot be read may stand on anything.
        if self.ledger.unreadable or self.unknown_stacks():
            return _nothing
        images = list(self.ledger.images)
        blobs = frozenset().union(*(image.blobs() for image in images))
        chains = self._chains_in_use().union(*(image.chains() for image in images))
        holds = self._collector.holds
        doomed = await asyncio.to_thread(self._content.condemn, blobs, holds)
        doomed += await asyncio.to_thread(self._layers.condemn, chains, holds)
        failpoints.reach(CONDEMNED)

        async def delete() -> None:
            await run_to_end(lambda stop: discard(doomed))
            failpoints.reach(COLLECTED)

        return delete

    def _chains_in_use(self) -> frozenset[str]:
        return frozenset(chain for stack in self.stacks().values() for chain in stack)

    async def verify(self, *, repair: bool = False) -> AsyncGenerator[VerifyMessage, None]:
        """Check everything in the stores; one message for each thing, at the end the summary.

        What is left over is collected before, so that only what resists is reported.
        """
        await self.collect()
        verifier = Verifier(self._stores, self._collector, self._owners, repair)
        async with contextlib.aclosing(verifier.run()) as messages:
            async for message in messages:
                yield message

    def _owners(self) -> Owners:
        images = tuple(self.ledger.images)
        return Owners(images, self.stacks(), self.ledger.unreadable, self.unknown_stacks())

    # what there is

    def find(self, name: str) -> ImageRecord:
        """The image of a reference, an id or its beginning. Raises NotFoundError."""
        return self.ledger.images.find(name)

    async def resolve(self, name: str) -> ImageRecord:
        """As `find`; `base` is made at first need."""
        try:
            return self.find(name)
        except NotFoundError:
            if not self._is_base(name):
                raise
        return await self.ensure_base()

    def _is_base(self, name: str) -> bool:
        return not is_hex64(name) and normalize(name) == base.NAME

    async def config(self, image: ImageRecord) -> ImageConfig:
        """The image's config blob, verified when read; configs never change."""
        return await self.ledger.config(image)

    def layer_directory(self, chain_id: str) -> Path:
        """Where a layer is unpacked."""
        return self._layers.diff(chain_id)

    async def size_of(self, image_id: str) -> int:
        """Unpacked bytes; 0 for an image that is gone."""
        image = self.ledger.images.get(image_id)
        return image.size if image else 0

    async def list(
        self,
        filters: Filters,
        *,
        all_images: bool = False,
        shared_size: bool = False,
        count_containers: bool = False,
    ) -> "Sequence[ImageSummary]":
        """The rows of `GET /images/json`, the newest first.

        Without `all_images`, nameless steps on the way to others are left out.
        """
        parents = set() if all_images else {image.parent for image in self.ledger.images}
        images = [
            image for image in self.ledger.images if image.references or image.id not in parents
        ]
        configs = {image.id: await self.ledger.config_or_empty(image) for image in images}
        shown = select(images, configs, filters, self.find, time.time_ns())
        sizes = await self._shared_sizes(images) if shared_size else {}
        return [
            views.row(
                one,
                len(list(self.uses(one.image.id))) if count_containers else views.NOT_COMPUTED,
                sizes.get(one.image.id, views.NOT_COMPUTED),
            )
            for one in shown
        ]

    async def _shared_sizes(self, images: Sequence[ImageRecord]) -> dict[str, int]:
        return views.shared_sizes(images, await self._layer_sizes(images))

    async def inspect(self, name: str) -> ImageInspect:
        """One image. Raises NotFoundError."""
        image = await self.resolve(name)
        return views.inspected(image, await self.config(image), self._paths.overlay)

    async def manifests(self, name: str) -> "Sequence[ManifestSummary]":
        """The manifest that an image came with or was given, if any. Raises NotFoundError."""
        image = await self.resolve(name)
        if image.manifest is None:
            return []
        data = await asyncio.to_thread(self._content.read, image.manifest, LARGEST_DOCUMENT)
        descriptor = Descriptor(decode_manifest(data).media_type, image.manifest, len(data))
        containers = [use.container_id for use in self.uses(image.id)]
        return [available.summary(image, await self.config(image), descriptor, containers)]

    async def require_platform(self, name: str, wanted: Platform) -> None:
        """Raises NotFoundError unless the image is for this platform; no image is for two."""
        config = await self.config(await self.resolve(name))
        actual = Platform(config.architecture, config.os, config.variant)
        if choose([Descriptor("", "", 0, platform=actual)], wanted) is None:
            raise NotFoundError(
                f"image with reference {name} was found but its platform ({shown(actual)}) "
                f"does not match the specified platform ({shown(wanted)})"
            )

    async def history(self, name: str) -> "Sequence[HistoryItem]":
        """How an image came to be, the newest step first. Raises NotFoundError."""
        image = await self.resolve(name)
        sizes = await self._layer_sizes((image,))
        return history(self.ledger.images, image, await self.config(image), sizes)

    async def layers_size(self) -> int:
        """Unpacked bytes of every layer, each counted once."""
        return sum((await self._layer_sizes(list(self.ledger.images))).values())

    async def _layer_sizes(self, images: Iterable[ImageRecord]) -> dict[str, int]:
        chains = {layer.chain_id for image in images for layer in image.layers}
        return await asyncio.to_thread(self._layers.sizes, chains)

    # how they come

    async def load(
        self, body: AsyncIterable[bytes], *, quiet: bool = False
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Take in an archive; one message for each name or, without names, for each image."""
        async with self.storing() as stores, loading.opened(body, stores) as archive:
            images = await asyncio.to_thread(archive.images, MACHINE)
            for archived in images:
                storing = loading.Storing(archived, archive, stores)
                async for progress in storing.run():
                    if not quiet:
                        yield progress
                for renamed in loading.losers(self.ledger.images, storing.record):
                    yield ProgressMessage(stream=renamed)
                image = await self.ledger.record(storing.record, ("load",))
                failpoints.reach(RECORDED)
                for line in loading.told(image, archived.references):
                    yield ProgressMessage(stream=line)

    async def pull(
        self, reference: Reference, platform: Platform | None, credentials: Credentials
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Bring an image, or with neither tag nor digest all of a repository's.

        Whoever stops listening ends it, and nothing is left of what was not finished.
        """
        async with self._collector.operation() as lease:
            here = pulling.Here(self._stores.leased(lease), lease, self.ledger.images)
            pull = pulling.Pull(
                self._pulls, here, reference, platform, credentials, self._record_pulled
            )
            task = asyncio.ensure_future(pull.run())
            try:
                async for message in pull.board.until(task):
                    yield message
                await task
            finally:
                await stopped(task)

    async def _record_pulled(self, image: ImageRecord, pulled: Reference | None) -> bool:
        known = self.ledger.images.get(image.id)
        new = known is None or image.references[0] not in known.references
        await self.ledger.record(image, (), pulled)
        failpoints.reach(PULL_RECORDED)
        return new

    async def import_root(
        self,
        body: AsyncIterable[bytes],
        reference: str,
        *,
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Take in a root filesystem; the one message's status is the image's id.

        Raises InvalidParameterError for what cannot be applied, before the body is read.
        """
        target = import_platform(platform)
        run = runconfig.changed(RunConfig(), changes)
        references = importing.references(reference)
        async with self.storing() as stores:
            image = await importing.import_tar(
                body, stores, run, target, message=message or "Imported from -",
                references=references, created=format_time(time.time_ns()),
            )  # fmt: skip
            await self.ledger.record(image, ("tag", "import") if references else ("import",))
            failpoints.reach(IMPORT_RECORDED)
        yield ProgressMessage(status=image.id)

    async def derive(
        self,
        base: ImageRecord | None,
        step: deriving.Step,
        write: deriving.Write | None = None,
    ) -> ImageRecord:
        """An image without a name, made by one step from `base` or from nothing.

        `write` writes its layer, in a thread.
        """
        async with self.lease() as lease, self.storing() as stores:
            if base is not None:
                await self.hold(base.id, lease)
            known = deriving.Base(base, await self.config(base)) if base else None
            image = await deriving.derive(stores, known, step, write)
            image = await self.ledger.record(image, ("create",))
            failpoints.reach(DERIVED)
            return image

    def line_of(self, name: str) -> frozenset[str]:
        """The ids of the image that `name` means and of all built on it; none for no image."""
        return self.ledger.images.line_of(name)

    async def children(self, parent: str) -> "Sequence[tuple[ImageRecord, ImageConfig]]":
        """The images made here by one step from the image of this id, the newest first."""
        found = sorted(
            self.ledger.images.children(parent), key=lambda i: i.created_ns, reverse=True
        )
        return [(image, await self.ledger.config_or_empty(image)) for image in found]

    async def ensure_base(self) -> ImageRecord:
        """The built-in image, made if it is not there. Raises NotFoundError without busybox."""
        async with self._making_base:
            if (known := self.ledger.images.named(base.NAME)) is not None:
                return known
            tar = await asyncio.to_thread(base.build)

            async def body() -> AsyncIterator[bytes]:
                yield tar

            run = RunConfig(cmd=list(base.COMMAND), env=[base.PATH])
            async with self.storing() as stores:
                image = await importing.import_tar(
                    body(), stores, run, MACHINE, message="this machine's busybox",
                    references=(base.NAME,), created=None,
                )  # fmt: skip
                return await self.ledger.record(image, ("tag", "import"))

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name. Raises NotFoundError and InvalidParameterError."""
        reference = tagging.target(repository, tag)
        async with self._collector.lease():
            image = await self.resolve(name)
            named = msgspec.structs.replace(
                image, references=(str(reference),), tagged_ns=time.time_ns()
            )
            await self.ledger.record(named, ("tag",))

    # how they leave

    async def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """An archive of all that `names` mean.

        Raises NotFoundError and InvalidParameterError before the first piece.
        """
        if any(self._is_base(name) for name in names):
            await self.ensure_base()
        async with self._collector.lease() as lease:
            chosen = saving.choose(self.ledger.images, names)
            for one in chosen:
                lease.hold(*one.image.needs())
            archive = saving.Saving(self._plain)
            for one in chosen:
                blob = await self.ledger.config_blob(one.image)
                await archive.add(one, await self.config(one.image), blob)
            async with contextlib.aclosing(archive.stream()) as pieces:
                async for piece in pieces:
                    yield piece
            await self.ledger.saved([one.image for one in chosen])

    # how they go

    async def delete(self, name: str, *, force: bool = False, prune: bool = True) -> Removed:
        """Take a name away, and with its last one the image. Raises ConflictError if used.

        With `prune` the nameless images it was built from go as well, if nothing needs them.
        """
        return await self._removals.delete(name, force=force, prune=prune)

    async def prune(self, filters: Filters) -> PruneReport:
        """Delete the images that `filters` choose and nothing uses.

        Raises ConflictError while another prune runs.
        """
        return await self._removals.prune(filters)


async def _nothing() -> None:
    pass
