"""The images there are, and the changes of their records.

Owns that memory and records agree, that a name is one image's only, and that a change is
made whole. Must not know how images come, nor what their layers are.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from aiod.errors import AiodError
from aiod.images import tagging
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.catalogue import Catalogue
from aiod.images.config import ImageConfig, decode_config
from aiod.images.content import ContentStore
from aiod.images.happenings import happened, transferred
from aiod.images.model import ImageRecord, LayerRecord
from aiod.images.records import ImageRecords
from aiod.images.reference import Reference, parse
from aiod.images.threads import whole
from aiod.store.records import EventRecord

logger = logging.getLogger(__name__)

_MOST_CACHED = 256  # configs


class Ledger:
    """The images of one root; `unreadable` are the ids of records of another form."""

    def __init__(self, records: ImageRecords, content: ContentStore) -> None:
        self._records = records
        self._content = content
        self._configs: dict[str, ImageConfig] = {}
        self._changing = asyncio.Lock()
        self.images = Catalogue()
        self.unreadable: tuple[str, ...] = ()

    async def load(self) -> None:
        """Read the records."""
        loaded = await self._records.load_all()
        self.images, self.unreadable = Catalogue(loaded.images), loaded.unreadable
        for image_id in loaded.unreadable:
            logger.error("the record of image %s cannot be read; nothing is collected", image_id)

    def changing(self) -> AbstractAsyncContextManager[None]:
        """A stretch in which nobody else changes anything; for `put` and `forget`."""
        return self._changing

    async def config(self, image: ImageRecord) -> ImageConfig:
        """The image's config blob, verified when read; configs never change."""
        if (known := self._configs.get(image.id)) is not None:
            return known
        config = decode_config(await self.config_blob(image))
        if len(self._configs) >= _MOST_CACHED:
            self._configs.clear()
        self._configs[image.id] = config
        return config

    async def config_blob(self, image: ImageRecord) -> bytes:
        """The config as it is stored."""
        return await asyncio.to_thread(self._content.read, image.id, LARGEST_DOCUMENT)

    async def config_or_empty(self, image: ImageRecord) -> ImageConfig:
        """The config; an empty one, and a line in the log, when it cannot be read."""
        try:
            return await self.config(image)
        except AiodError as error:
            logger.error("image %s is listed without its config: %s", image.id, error.message)
            return ImageConfig()

    async def put(self, images: Sequence[ImageRecord], events: Sequence[EventRecord] = ()) -> None:
        """Record new and changed images, or events alone, while `changing`."""
        await self._records.put_all(images, events)
        for image in images:
            self.images.put(image)

    async def forget(self, image: ImageRecord, events: Sequence[EventRecord]) -> None:
        """Take an image's record away, while `changing`."""
        await self._records.delete(image.id, events)
        self.images.remove(image.id)
        self._configs.pop(image.id, None)

    async def record(
        self, image: ImageRecord, actions: Sequence[str], pulled: Reference | None = None
    ) -> ImageRecord:
        """Commit an image; its names are taken from images that had them."""
        config = await self.config(image)
        named = parse(image.references[0]).familiar if image.references else ""
        events = [happened(image, config, one, named if one == "tag" else "") for one in actions]
        if pulled is not None:
            # As dockerd: a whole repository is no image, and has no labels.
            about = config if pulled.tag or pulled.digest else ImageConfig()
            events.append(transferred(about, "pull", pulled))
        return await whole(self._commit(image, events))

    async def _commit(self, image: ImageRecord, events: Sequence[EventRecord]) -> ImageRecord:
        async with self._changing:
            changed = tagging.losing(self.images, image.id, image.references)
            if (known := self.images.get(image.id)) is not None:
                names = tuple(dict.fromkeys((*known.references, *image.references)))
                tagged_ns = known.tagged_ns if names == known.references else image.tagged_ns
                image = msgspec.structs.replace(known, references=names, tagged_ns=tagged_ns)
            await self.put((*changed, image), events)
            return image

    async def repacked(self, old: LayerRecord, new: LayerRecord) -> None:
        """Have a layer's other blob instead, wherever no manifest names the old one."""
        await whole(self._repacked(old, new))

    async def _repacked(self, old: LayerRecord, new: LayerRecord) -> None:
        async with self._changing:
            await self.put(
                [
                    msgspec.structs.replace(
                        image, layers=tuple(new if one == old else one for one in image.layers)
                    )
                    for image in self.images
                    if image.manifest is None and old in image.layers
                ]
            )

    async def saved(self, images: Sequence[ImageRecord]) -> None:
        """Record that these images were written to an archive."""
        events = [happened(image, await self.config(image), "save") for image in images]
        async with self._changing:
            await self.put((), events)

    async def pushed(self, image: ImageRecord, tagged: Reference, digest: str) -> None:
        """Record that an image, with its manifest `digest`, is now known under a name elsewhere."""
        event = transferred(await self.config(image), "push", tagged)
        reference = str(Reference(tagged.domain, tagged.path, digest=digest))
        await whole(self._pushed(image, reference, event))

    async def _pushed(self, image: ImageRecord, reference: str, event: EventRecord) -> None:
        async with self._changing:
            known = self.images.get(image.id)
            if known is None:  # removed meanwhile
                await self.put((), [event])
                return
            if known.manifest is None and known.layers == image.layers:
                known = msgspec.structs.replace(known, manifest=image.manifest)
            names = tuple(dict.fromkeys((*known.references, reference)))
            await self.put([msgspec.structs.replace(known, references=names)], [event])
