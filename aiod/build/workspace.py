"""The directory of one build, and images' file systems to look into while it lasts.

Must not know what a Dockerfile says.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from aiod.build import overlay
from aiod.images.model import ImageRecord
from aiod.images.service import ImageService
from aiod.images.threads import run_to_end


class Workspace:
    """Scratch directories below `directory`, which is the caller's to remove."""

    def __init__(self, images: ImageService, directory: Path) -> None:
        self._images = images
        self._directory = directory

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """An empty directory for one step."""
        made = self._directory / secrets.token_hex(8)
        await asyncio.to_thread(made.mkdir, 0o700)
        try:
            yield made
        finally:
            await run_to_end(lambda stop: shutil.rmtree(made, ignore_errors=True))

    @contextlib.asynccontextmanager
    async def held(self, image: ImageRecord | None) -> AsyncIterator[list[Path]]:
        """An image's layers, the topmost first; none of them goes meanwhile."""
        if image is None:
            yield []
            return
        async with self._images.lease() as lease:
            await self._images.hold(image.id, lease)
            yield self.layers(image)

    def layers(self, image: ImageRecord) -> list[Path]:
        """Where an image's layers are, the topmost first."""
        chains = (layer.chain_id for layer in reversed(image.layers))
        return [self._images.layer_directory(chain) for chain in chains]

    @contextlib.asynccontextmanager
    async def opened(self, image: ImageRecord | None) -> AsyncIterator[int]:
        """An image's file system, to read, as a descriptor."""
        async with self.held(image) as layers, self.scratch() as scratch:
            stack = contextlib.ExitStack()
            root = overlay.mounted(layers, None, scratch / "mount")
            try:
                yield await run_to_end(lambda stop: stack.enter_context(root))
            finally:
                await run_to_end(lambda stop: stack.close())


def open_root(directory: Path) -> int:
    """A directory's descriptor, the caller's to close."""
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
