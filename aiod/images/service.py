"""Images: what there is, under which names, and how they come and go.

Owns the records in memory and their consistency with the stores; must not know HTTP, SQL or
how containers run. Files are written before the record that owns them, and deleted after it.
"""

import asyncio
import platform
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.errors import ConflictError, InvalidParameterError, NotFoundError, UnsupportedError
from aiod.images import base, importing, loading
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.collect import Collector
from aiod.images.compression import Limits
from aiod.images.config import ImageConfig, RunConfig, decode_config
from aiod.images.content import ContentStore
from aiod.images.layers import LayerStore
from aiod.images.model import (
    ContainerUse,
    DeleteItem,
    ImageInspect,
    ImageRecord,
    ImageSummary,
    ProgressMessage,
)
from aiod.images.records import ImageRecords
from aiod.images.reference import is_hex64, normalize, parse
from aiod.images.views import Filters, inspected, selected
from aiod.store.records import EventRecord

RECORDED = failpoints.declare("load.recorded")
IMPORT_RECORDED = failpoints.declare("import.recorded")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SHORTEST_ID = 1

Uses = Callable[[str], Iterable[ContainerUse]]
Removal = list[DeleteItem]


class ImageService:
    """The images of one root."""

    def __init__(self, paths: Paths, records: ImageRecords) -> None:
        limits = Limits()
        self._paths = paths
        self._records = records
        self._content = ContentStore(paths)
        self._layers = LayerStore(paths, limits)
        self._stores = loading.Stores(self._content, self._layers, limits)
        self._images: dict[str, ImageRecord] = {}
        self._changing = asyncio.Lock()
        self._collector = Collector(self._sweep)
        self.architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        self.uses: Uses = lambda image_id: ()
        self.layers_in_use: Callable[[], Iterable[str]] = lambda: ()

    async def start(self) -> None:
        """Read the records; drop what an interrupted operation left."""
        await asyncio.to_thread(self._content.prepare)
        await asyncio.to_thread(self._layers.prepare)
        self._images = {image.id: image for image in await self._records.all()}

    async def close(self) -> None:
        """Nothing is under way: the server has ended its requests."""

    async def collect(self) -> None:
        """Delete blobs and layers that no image and no container stands on."""
        await self._collector.collect()

    async def _sweep(self) -> None:
        images = list(self._images.values())
        blobs = {image.id for image in images} | {i.manifest for i in images if i.manifest}
        blobs |= {layer.blob_digest for image in images for layer in image.layers}
        chains = {layer.chain_id for image in images for layer in image.layers}
        chains |= set(self.layers_in_use())
        await asyncio.to_thread(self._content.sweep, frozenset(blobs))
        await asyncio.to_thread(self._layers.sweep, frozenset(chains))

    # what there is

    def find(self, name: str) -> ImageRecord:
        """The image of a reference, an id or its beginning. Raises NotFoundError."""
        digest = name.removeprefix("sha256:")
        if is_hex64(digest) and f"sha256:{digest}" in self._images:
            return self._images[f"sha256:{digest}"]
        normal = ""
        try:
            normal = normalize(name)
        except InvalidParameterError:
            if not name.startswith("sha256:"):
                raise
        for image in self._images.values():
            if normal and normal in image.references:
                return image
        found = [i for i in self._images.values() if i.id[7:].startswith(digest)]
        if len(digest) >= _SHORTEST_ID and len(found) == 1:
            return found[0]
        raise NotFoundError(
            f"No such image: {parse(name).with_default_tag().familiar if normal else name}"
        )

    async def resolve(self, name: str) -> ImageRecord:
        """As `find`; `base` is made at first need."""
        try:
            return self.find(name)
        except NotFoundError:
            if normalize(name) != base.NAME:
                raise
        return await self.ensure_base()

    async def config(self, image: ImageRecord) -> ImageConfig:
        """The image's config blob, verified."""
        data = await asyncio.to_thread(self._content.read, image.id, LARGEST_DOCUMENT)
        return decode_config(data)

    def layer_directory(self, chain_id: str) -> Path:
        """Where a layer is unpacked."""
        return self._layers.diff(chain_id)

    async def size_of(self, image_id: str) -> int:
        """Unpacked bytes; 0 for an image that is gone."""
        image = self._images.get(image_id)
        return image.size if image else 0

    async def list(
        self, filters: Filters, *, all_images: bool = False, shared_size: bool = False
    ) -> list[ImageSummary]:
        """The rows of `GET /images/json`, the newest first."""
        configs = {i.id: await self.config(i) for i in self._images.values()}
        return selected(list(self._images.values()), configs, filters, self.uses)

    async def inspect(self, name: str) -> ImageInspect:
        """One image. Raises NotFoundError."""
        image = await self.resolve(name)
        return inspected(image, await self.config(image), self._paths.overlay)

    # how they come

    async def load(
        self, body: AsyncIterable[bytes], *, quiet: bool = False
    ) -> AsyncIterator[ProgressMessage]:
        """Take in an archive; one message for each image and name."""
        async with self._collector.operation(), loading.opened(body, self._stores) as archive:
            images = await asyncio.to_thread(archive.images, self.architecture)
            for archived in images:
                image = await loading.store(archived, archive, self._stores)
                await self._record(image, "load")
                failpoints.reach(RECORDED)
                for line in _loaded(image):
                    yield ProgressMessage(stream=line)

    async def import_root(
        self,
        body: AsyncIterable[bytes],
        reference: str,
        *,
        message: str = "",
        changes: tuple[str, ...] = (),
        platform: str = "",
    ) -> AsyncIterator[ProgressMessage]:
        """Take in a root filesystem; the one message's status is the image's id."""
        importing.refuse_changes(changes)
        if platform not in ("", "linux", f"linux/{self.architecture}"):
            raise UnsupportedError(f"images/create: platform {platform!r} is not this machine's")
        references = (normalize(reference),) if reference else ()
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        async with self._collector.operation():
            image = await importing.import_tar(
                body, self._stores, RunConfig(), self.architecture,
                message=message or "Imported from -", references=references, created=created,
            )  # fmt: skip
            await self._record(image, "import")
            failpoints.reach(IMPORT_RECORDED)
        yield ProgressMessage(status=image.id)

    async def ensure_base(self) -> ImageRecord:
        """The built-in image, made if it is not there. Raises NotFoundError without busybox."""
        tar = await asyncio.to_thread(base.build)

        async def body() -> AsyncIterator[bytes]:
            yield tar

        run = RunConfig(cmd=list(base.COMMAND), env=[base.PATH])
        async with self._collector.operation():
            image = await importing.import_tar(
                body(), self._stores, run, self.architecture,
                message="this machine's busybox", references=(base.NAME,), created=None,
            )  # fmt: skip
            return await self._record(image, "import")

    async def _record(self, image: ImageRecord, action: str) -> ImageRecord:
        """Commit an image; its names are taken from images that had them."""
        async with self._changing:
            for other in list(self._images.values()):
                kept = tuple(r for r in other.references if r not in image.references)
                if other.id != image.id and kept != other.references:
                    await self._put(msgspec.structs.replace(other, references=kept), ())
            known = self._images.get(image.id)
            if known is not None:
                names = dict.fromkeys((*known.references, *image.references))
                image = msgspec.structs.replace(known, references=tuple(names))
            await self._put(image, (_event(image, action),))
            return image

    async def _put(self, image: ImageRecord, events: Iterable[EventRecord]) -> None:
        await self._records.put(image, events)
        self._images[image.id] = image

    # how they go

    async def delete(self, name: str, *, force: bool = False, prune: bool = True) -> Removal:
        """Take a name away, and with its last one the image. Raises ConflictError if used."""
        items: Removal = []
        async with self._changing:
            image = self.find(name)
            by_id = image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
            names = image.references if by_id else (normalize(name),)
            if by_id and len(names) > 1 and not force:
                short = image.id[7:19]
                raise ConflictError(
                    f"conflict: unable to delete {short} (must be forced) - "
                    "image is referenced in multiple repositories"
                )
            left = tuple(r for r in image.references if r not in names)
            if not left:
                self._refuse_used(image, name, force)
            items += [DeleteItem(untagged=parse(r).familiar) for r in names]
            if left or (self._used(image) and not by_id):
                changed = msgspec.structs.replace(image, references=left)
                await self._put(changed, (_event(image, "untag"),))
            else:
                await self._records.delete(image.id, (_event(image, "delete"),))
                del self._images[image.id]
                items.append(DeleteItem(deleted=image.id))
        await self._collector.collect()
        return items

    def _used(self, image: ImageRecord) -> bool:
        return any(True for _ in self.uses(image.id))

    def _refuse_used(self, image: ImageRecord, name: str, force: bool) -> None:
        for use in self.uses(image.id):
            if use.running or not force:
                forced = "cannot be forced" if use.running else "must be forced"
                state = "running " if use.running else ""
                raise ConflictError(
                    f'conflict: unable to remove repository reference "{name}" ({forced}) - '
                    f"container {use.container_id[:12]} is using its {state}referenced image "
                    f"{image.id[7:19]}"
                )


def _loaded(image: ImageRecord) -> list[str]:
    if not image.references:
        return [f"Loaded image ID: {image.id}\n"]
    return [f"Loaded image: {parse(name).familiar}\n" for name in image.references]


def _event(image: ImageRecord, action: str) -> EventRecord:
    name = parse(image.references[0]).familiar if image.references else image.id
    return EventRecord(0, time.time_ns(), "image", action, image.id, {"name": name})
