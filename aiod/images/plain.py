"""Stored layers as the plain tars that they are compressed forms of.

Must not know images or archives. How long a plain tar is can only be learnt by unpacking
it; what was learnt is remembered, as it never changes.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import IO

from aiod.errors import InternalError
from aiod.images.compression import Limits, PlainReader, is_compressed
from aiod.images.content import CHUNK, ContentStore
from aiod.images.model import LayerRecord
from aiod.images.streaming import chunks
from aiod.images.threads import Stoppable, run_to_end

_MOST_KNOWN = 10_000


class PlainLayers:
    """The layers of one content store."""

    def __init__(self, content: ContentStore, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._sizes: OrderedDict[str, int] = OrderedDict()

    async def size(self, layer: LayerRecord) -> int:
        """Bytes of the plain tar. Raises NotFoundError and InternalError for a rotten blob."""
        if (known := self._sizes.get(layer.diff_id)) is not None:
            return known
        size = await run_to_end(lambda stop: self._measure(layer, stop))
        while len(self._sizes) >= _MOST_KNOWN:
            self._sizes.popitem(last=False)
        self._sizes[layer.diff_id] = size
        return size

    def _measure(self, layer: LayerRecord, stop: threading.Event) -> int:
        with self._content.open(layer.blob_digest) as file:
            if not is_compressed(file):
                return layer.blob_size
            reader = PlainReader(Stoppable(file, stop), self._limits, what="layer", digest=False)
            while reader.read(CHUNK):
                pass
            return reader.count

    async def stream(self, layer: LayerRecord) -> AsyncGenerator[bytes, None]:
        """The plain tar. Raises InternalError, at its end, when it is not the layer."""
        reader, file = await run_to_end(lambda stop: self._opened(layer))
        with file:
            async with contextlib.aclosing(chunks(reader)) as pieces:
                async for piece in pieces:
                    yield piece
        if reader.digest != layer.diff_id:
            raise InternalError(f"layer {layer.diff_id} is damaged: it has another digest")

    def _opened(self, layer: LayerRecord) -> tuple[PlainReader, IO[bytes]]:
        file = self._content.open(layer.blob_digest)
        try:
            return PlainReader(file, self._limits, what="layer"), file
        except BaseException:
            file.close()
            raise
