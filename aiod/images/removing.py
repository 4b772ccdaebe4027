"""How images go: one by name, with the nameless ones it was built from, or many by filters.

Owns the order of records and files: what a removal frees is collected after it. Must not know
why a container needs an image.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec

from aiod.errors import ConflictError, NotFoundError
from aiod.images import pruning, removal
from aiod.images.collect import Collector
from aiod.images.happenings import happened, pruned
from aiod.images.layers import LayerStore
from aiod.images.ledger import Ledger
from aiod.images.model import ContainerUse, DeleteItem, ImageRecord
from aiod.images.reference import parse
from aiod.images.selection import Filters
from aiod.store.records import EventRecord

Uses = Callable[[str], Iterable[ContainerUse]]
Removed = list[DeleteItem]


class Removals:
    """Removals from one ledger; `uses` and `chains_in_use` are what containers need."""

    def __init__(
        self,
        ledger: Ledger,
        layers: LayerStore,
        collector: Collector,
        uses: Uses,
        chains_in_use: Callable[[], frozenset[str]],
    ) -> None:
        self._ledger = ledger
        self._layers = layers
        self._collector = collector
        self._uses = uses
        self._chains_in_use = chains_in_use
        self._pruning = asyncio.Lock()

    async def delete(self, name: str, *, force: bool, prune: bool) -> Removed:
        """Take a name away, and with its last one the image. Raises ConflictError if used.

        With `prune` the nameless images it was built from go as well, if nothing needs them.
        """
        items = await self._remove(name, force=force, prune=prune)
        await self._collector.collect()
        return items

    async def _remove(self, name: str, *, force: bool, prune: bool) -> Removed:
        ledger = self._ledger
        async with ledger.changing():
            image = ledger.images.find(name)
            children = bool(ledger.images.children(image.id))
            decided = removal.decide(image, name, self._uses(image.id), force, children)
            config = await ledger.config_or_empty(image)
            events = [happened(image, config, "untag") for _ in decided.announced]
            items = [DeleteItem(untagged=parse(text).familiar) for text in decided.untagged]
            if decided.deleted:
                items += await self._forget(image, events)
                items += await self._forget_parents(image) if prune else []
            else:
                await ledger.put([msgspec.structs.replace(image, references=decided.kept)], events)
            return items

    async def _forget(self, image: ImageRecord, events: Iterable[EventRecord] = ()) -> Removed:
        await self._ledger.forget(image, [*events, happened(image, None, "delete")])
        orphans = [DeleteItem(deleted=chain) for chain in self._orphans(image)]
        return [DeleteItem(deleted=image.id), *orphans]

    async def _forget_parents(self, image: ImageRecord) -> Removed:
        items: Removed = []
        images = self._ledger.images
        while (
            (parent := images.get(image.parent)) is not None
            and not parent.references
            and not images.children(parent.id)
            and not list(self._uses(parent.id))
        ):
            items += await self._forget(parent)
            image = parent
        return items

    def _orphans(self, image: ImageRecord) -> Iterable[str]:
        """The layers that nothing stands on any more, top first."""
        kept = self._chains_in_use().union(*(other.chains() for other in self._ledger.images))
        for layer in reversed(image.layers):
            if layer.chain_id in kept:
                return
            yield layer.chain_id

    async def prune(self, filters: Filters) -> pruning.PruneReport:
        """Delete the images that `filters` choose and nothing uses.

        Raises ConflictError while another prune runs.
        """
        if self._pruning.locked():
            raise ConflictError("a prune operation is already running")
        async with self._pruning:
            images = list(self._ledger.images)
            configs = {image.id: await self._ledger.config_or_empty(image) for image in images}
            chosen = pruning.choose(images, configs, filters, time.time_ns())
            chains = frozenset().union(*(image.chains() for image in images))
            sizes = await asyncio.to_thread(self._layers.sizes, chains)
            items = [item for one in chosen for item in await self._remove_unused(one)]
            await self._collector.collect()
            freed = pruning.reclaimed(items, sizes)
            async with self._ledger.changing():
                await self._ledger.put((), [pruned(freed)])
            return pruning.PruneReport(items or None, freed)

    async def _remove_unused(self, doomed: pruning.Doomed) -> Removed:
        items: Removed = []
        for name in doomed.names:
            # In use, or gone with the name before.
            with contextlib.suppress(ConflictError, NotFoundError):
                items += await self._remove(name, force=False, prune=True)
        return items
