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
from aiod.errors import AiodError, ConflictError, InvalidParameterError, NotFoundError
from aiod.images import (
    base,
    deriving,
    importing,
    loading,
    pruning,
    pulling,
    removal,
    saving,
    tagging,
    views,
)
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.catalogue import Catalogue
from aiod.images.collect import Collector, Deletion, Lease
from aiod.images.compression import Limits
from aiod.images.config import ImageConfig, Platform, RunConfig, decode_config
from aiod.images.content import ContentStore
from aiod.images.dockerfile import runconfig
from aiod.images.files import discard
from aiod.images.happenings import happened, pruned, transferred
from aiod.images.history import HistoryItem, history
from aiod.images.layers import LayerStore
from aiod.images.loading import Stores
from aiod.images.model import (
    ContainerUse,
    DeleteItem,
    ImageInspect,
    ImageRecord,
    ImageSummary,
    LayerRecord,
    ProgressMessage,
)
from aiod.images.plain import PlainLayers
from aiod.images.platform import MACHINE, import_platform
from aiod.images.records import ImageRecords
from aiod.images.reference import Reference, is_hex64, normalize, parse
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.transport import Transport
from aiod.images.selection import Filters, select
from aiod.images.threads import run_to_end, stopped, whole
from aiod.images.times import format_time
from aiod.images.verify import Owners, Verifier, VerifyMessage
from aiod.store.records import EventRecord

logger = logging.getLogger(__name__)

RECORDED = failpoints.declare("load.recorded")
DERIVED = failpoints.declare("derive.recorded")
IMPORT_RECORDED = failpoints.declare("import.recorded")
PULL_RECORDED = failpoints.declare("pull.recorded")
CONDEMNED = failpoints.declare("collect.condemned")
COLLECTED = failpoints.declare("collect.deleted")
_MOST_CACHED = 256  # configs

Uses = Callable[[str], Iterable[ContainerUse]]
Removed = list[DeleteItem]


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
        self._records = records
        self._content = ContentStore(paths)
        self._layers = LayerStore(paths, limits)
        self._stores = Stores(self._content, self._layers, limits)
        self._plain = PlainLayers(self._content, limits)
        self._images = Catalogue()
        self._configs: dict[str, ImageConfig] = {}
        self._unreadable: tuple[str, ...] = ()
        self._changing = asyncio.Lock()
        self._pruning = asyncio.Lock()
        self._making_base = asyncio.Lock()
        self._collector = Collector(self._condemn)
        self._pulls = pulling.Pulls(
            self._content, self._collector.lease, registries or RegistrySettings()
        )
        self._first_collection: asyncio.Task[None] | None = None
        self.architecture = MACHINE.architecture
        self.uses: Uses = lambda image_id: ()
        self.stacks: Callable[[], Mapping[str, Sequence[str]]] = dict

    @property
    def transport(self) -> Transport:
        """The way to registries."""
        return self._pulls.transport

    async def start(self) -> None:
        """Read the records; drop what an interrupted operation left in the way."""
        await asyncio.to_thread(self._content.prepare)
        await asyncio.to_thread(self._layers.prepare)
        loaded = await self._records.load_all()
        self._images, self._unreadable = Catalogue(loaded.images), loaded.unreadable
        for image_id in loaded.unreadable:
            logger.error("the record of image %s cannot be read; nothing is collected", image_id)

    def collect_soon(self) -> None:
        """Collect in the background; for when the containers are known, after a start."""
        self._first_collection = asyncio.create_task(self.collect(), name="collect images")

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
            if self._images.get(image.id) is not None:  # not removed between the two
                return image

    async def _condemn(self) -> Deletion:
        if self._unreadable:
            return _nothing
        images = list(self._images)
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
        return Owners(tuple(self._images), self.stacks(), self._unreadable)

    # what there is

    def find(self, name: str) -> ImageRecord:
        """The image of a reference, an id or its beginning. Raises NotFoundError."""
        return self._images.find(name)

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
        if (known := self._configs.get(image.id)) is not None:
            return known
        data = await asyncio.to_thread(self._content.read, image.id, LARGEST_DOCUMENT)
        if len(self._configs) >= _MOST_CACHED:
            self._configs.clear()
        config = self._configs[image.id] = decode_config(data)
        return config

    def layer_directory(self, chain_id: str) -> Path:
        """Where a layer is unpacked."""
        return self._layers.diff(chain_id)

    async def size_of(self, image_id: str) -> int:
        """Unpacked bytes; 0 for an image that is gone."""
        image = self._images.get(image_id)
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
        parents = set() if all_images else {image.parent for image in self._images}
        images = [image for image in self._images if image.references or image.id not in parents]
        configs = {image.id: await self._config_or_empty(image) for image in images}
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

    async def _config_or_empty(self, image: ImageRecord) -> ImageConfig:
        try:
            return await self.config(image)
        except AiodError as error:
            logger.error("image %s is listed without its config: %s", image.id, error.message)
            return ImageConfig()

    async def _shared_sizes(self, images: Sequence[ImageRecord]) -> dict[str, int]:
        return views.shared_sizes(images, await self._layer_sizes(images))

    async def inspect(self, name: str) -> ImageInspect:
        """One image. Raises NotFoundError."""
        image = await self.resolve(name)
        return views.inspected(image, await self.config(image), self._paths.overlay)

    async def history(self, name: str) -> "Sequence[HistoryItem]":
        """How an image came to be, the newest step first. Raises NotFoundError."""
        image = await self.resolve(name)
        return history(image, await self.config(image), await self._layer_sizes((image,)))

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
                for renamed in self._losing_names(storing.record):
                    yield ProgressMessage(stream=renamed)
                image = await self._record(storing.record, ("load",))
                failpoints.reach(RECORDED)
                for line in _loaded(image, archived.references):
                    yield ProgressMessage(stream=line)

    async def pull(
        self, reference: Reference, platform: Platform | None, credentials: Credentials
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Bring an image, or with neither tag nor digest all of a repository's.

        Whoever stops listening ends it, and nothing is left of what was not finished.
        """
        async with self._collector.operation() as lease:
            here = pulling.Here(self._stores.leased(lease), lease, self._images)
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
        known = self._images.get(image.id)
        new = known is None or image.references[0] not in known.references
        await self._record(image, (), pulled)
        failpoints.reach(PULL_RECORDED)
        return new

    def _losing_names(self, image: ImageRecord) -> Iterable[str]:
        for reference in image.references:
            other = self._images.named(reference)
            if other is not None and other.id != image.id:
                yield (
                    f"The image {parse(reference).familiar} already exists, "
                    f"renaming the old one with ID {other.id} to empty string\n"
                )

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
        references = _import_references(reference)
        async with self.storing() as stores:
            image = await importing.import_tar(
                body, stores, run, target, message=message or "Imported from -",
                references=references, created=format_time(time.time_ns()),
            )  # fmt: skip
            await self._record(image, ("tag", "import") if references else ("import",))
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
            image = await self._record(image, ())
            failpoints.reach(DERIVED)
            return image

    async def children(self, parent: str) -> "Sequence[tuple[ImageRecord, ImageConfig]]":
        """The images made here by one step from the image of this id, the newest first."""
        found = sorted(self._images.children(parent), key=lambda i: i.created_ns, reverse=True)
        return [(image, await self._config_or_empty(image)) for image in found]

    async def ensure_base(self) -> ImageRecord:
        """The built-in image, made if it is not there. Raises NotFoundError without busybox."""
        async with self._making_base:
            if (known := self._images.named(base.NAME)) is not None:
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
                return await self._record(image, ("tag", "import"))

    async def _record(
        self, image: ImageRecord, actions: Sequence[str], pulled: Reference | None = None
    ) -> ImageRecord:
        """Commit an image; its names are taken from images that had them."""
        config = await self.config(image)
        named = parse(image.references[0]).familiar if image.references else ""
        events = [happened(image, config, one, named if one == "tag" else "") for one in actions]
        if pulled is not None:
            events.append(transferred(config, "pull", pulled))
        return await whole(self._commit(image, events))

    async def _commit(self, image: ImageRecord, events: Sequence[EventRecord]) -> ImageRecord:
        async with self._changing:
            changed = tagging.losing(self._images, image.id, image.references)
            if (known := self._images.get(image.id)) is not None:
                names = tuple(dict.fromkeys((*known.references, *image.references)))
                tagged_ns = known.tagged_ns if names == known.references else image.tagged_ns
                image = msgspec.structs.replace(known, references=names, tagged_ns=tagged_ns)
            await self._records.put_all((*changed, image), events)
            for one in (*changed, image):
                self._images.put(one)
            return image

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name. Raises NotFoundError and InvalidParameterError."""
        reference = tagging.target(repository, tag)
        async with self._collector.lease():
            image = await self.resolve(name)
            named = msgspec.structs.replace(
                image, references=(str(reference),), tagged_ns=time.time_ns()
            )
            await self._record(named, ("tag",))

    # how they leave

    async def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """An archive of all that `names` mean.

        Raises NotFoundError and InvalidParameterError before the first piece.
        """
        if any(self._is_base(name) for name in names):
            await self.ensure_base()
        async with self._collector.lease() as lease:
            chosen = saving.choose(self._images, names)
            for one in chosen:
                lease.hold(*one.image.needs())
            archive = saving.Saving(self._plain)
            for one in chosen:
                blob = await asyncio.to_thread(self._content.read, one.image.id, LARGEST_DOCUMENT)
                await archive.add(one, await self.config(one.image), blob)
            async with contextlib.aclosing(archive.stream()) as pieces:
                async for piece in pieces:
                    yield piece

    def tagged(self, repository: str) -> dict[str, ImageRecord]:
        """The images of a repository, by tag; its name is in normal form."""
        return self._images.tagged(repository)

    def repositories_with(self, domain: str, blob: str) -> "Sequence[str]":
        """Paths of a registry's repositories that an image with this blob came from or went to."""
        found = (
            parse(text) for image in self._images if blob in image.blobs()
            for text in image.references
        )  # fmt: skip
        return tuple(dict.fromkeys(o.path for o in found if o.domain == domain and o.digest))

    async def repacked(self, old: LayerRecord, new: LayerRecord) -> None:
        """Have a layer's other blob instead, wherever no manifest names the old one."""
        await whole(self._repacked(old, new))

    async def _repacked(self, old: LayerRecord, new: LayerRecord) -> None:
        async with self._changing:
            changed = [
                msgspec.structs.replace(
                    image, layers=tuple(new if one == old else one for one in image.layers)
                )
                for image in self._images
                if image.manifest is None and old in image.layers
            ]
            await self._put(changed, ())

    async def pushed(self, image: ImageRecord, tagged: Reference, digest: str) -> None:
        """Record that an image, with its manifest `digest`, is now known under a name elsewhere."""
        event = transferred(await self.config(image), "push", tagged)
        reference = str(Reference(tagged.domain, tagged.path, digest=digest))
        await whole(self._pushed(image, reference, event))

    async def _pushed(self, image: ImageRecord, reference: str, event: EventRecord) -> None:
        async with self._changing:
            known = self._images.get(image.id)
            if known is None:  # removed meanwhile
                await self._put((), [event])
                return
            if known.manifest is None and known.layers == image.layers:
                known = msgspec.structs.replace(known, manifest=image.manifest)
            names = tuple(dict.fromkeys((*known.references, reference)))
            await self._put([msgspec.structs.replace(known, references=names)], [event])

    async def _put(self, images: Sequence[ImageRecord], events: Sequence[EventRecord]) -> None:
        await self._records.put_all(images, events)
        for image in images:
            self._images.put(image)

    # how they go

    async def delete(self, name: str, *, force: bool = False, prune: bool = True) -> Removed:
        """Take a name away, and with its last one the image. Raises ConflictError if used.

        `prune` is about parents, which no image here has.
        """
        items = await self._remove(name, force=force)
        await self._collector.collect()
        return items

    async def _remove(self, name: str, *, force: bool) -> Removed:
        async with self._changing:
            image = self.find(name)
            config = await self._config_or_empty(image)
            decided = removal.decide(image, name, self.uses(image.id), force)
            events = [happened(image, config, "untag") for _ in decided.announced]
            items = [DeleteItem(untagged=parse(text).familiar) for text in decided.untagged]
            if not decided.deleted:
                changed = msgspec.structs.replace(image, references=decided.kept)
                await self._records.put_all((changed,), events)
                self._images.put(changed)
                return items
            await self._records.delete(image.id, [*events, happened(image, None, "delete")])
            self._images.remove(image.id)
            self._configs.pop(image.id, None)
            items.append(DeleteItem(deleted=image.id))
            items += [DeleteItem(deleted=chain) for chain in self._orphans(image)]
        return items

    async def prune(self, filters: Filters) -> pruning.PruneReport:
        """Delete the images that `filters` choose and nothing uses.

        Raises ConflictError while another prune runs.
        """
        if self._pruning.locked():
            raise ConflictError("a prune operation is already running")
        async with self._pruning:
            images = list(self._images)
            configs = {image.id: await self._config_or_empty(image) for image in images}
            chosen = pruning.choose(images, configs, filters, time.time_ns())
            sizes = await self._layer_sizes(one.image for one in chosen)
            items = [item for one in chosen for item in await self._remove_unused(one)]
            await self._collector.collect()
            freed = pruning.reclaimed(items, sizes)
            await self._records.put_all((), [pruned(freed)])
            return pruning.PruneReport(items or None, freed)

    async def _remove_unused(self, doomed: pruning.Doomed) -> Removed:
        items: Removed = []
        for name in doomed.names:
            # In use, or gone with the name before.
            with contextlib.suppress(ConflictError, NotFoundError):
                items += await self._remove(name, force=False)
        return items

    def _orphans(self, image: ImageRecord) -> Iterable[str]:
        """The layers that nothing stands on any more, top first."""
        kept = {layer.chain_id for other in self._images for layer in other.layers}
        kept |= self._chains_in_use()
        for layer in reversed(image.layers):
            if layer.chain_id in kept:
                return
            yield layer.chain_id


async def _nothing() -> None:
    pass


def _import_references(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    if parse(text).digest is not None:
        raise InvalidParameterError("cannot import digest reference")
    return (normalize(text),)


def _loaded(image: ImageRecord, references: Sequence[str]) -> "Sequence[str]":
    if not references:
        return [f"Loaded image ID: {image.id}\n"]
    return [f"Loaded image: {parse(name).familiar}\n" for name in references]
