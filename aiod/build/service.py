"""Builds of one daemon: each in a directory of its own, which a new daemon takes away.

Owns what is left when a build ends, fails or dies: images of steps that were done, and
nothing else. Must not know HTTP.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import IO

from aiod import failpoints
from aiod.build.builder import Builder
from aiod.build.containers import BuildContainers, remove_left
from aiod.build.context import Context
from aiod.build.options import BuildOptions
from aiod.build.output import Output
from aiod.build.program import Program, parse_dockerfile
from aiod.build.workspace import Workspace
from aiod.config import Paths
from aiod.containers.service import ContainerService
from aiod.images.compression import Limits
from aiod.images.files import discard
from aiod.images.loading import spool
from aiod.images.model import ImageRecord
from aiod.images.reference import parse
from aiod.images.service import ImageService
from aiod.images.threads import run_to_end

BEGUN = failpoints.declare("build.begun")
UNPACKED = failpoints.declare("build.context-unpacked")
TAGGED = failpoints.declare("build.tagged")


class BuildService:
    """Builds images; its directory is `paths.builds`."""

    def __init__(self, paths: Paths, images: ImageService, containers: ContainerService) -> None:
        self._paths = paths
        self._images = images
        self._containers = containers
        self._limits = Limits()

    async def recover(self) -> None:
        """Take away what builds have left that a dead daemon was at; called once, at start."""
        left = await asyncio.to_thread(self._left)
        await remove_left(self._containers, (path.name for path in left))
        await run_to_end(lambda stop: discard(left))

    def _left(self) -> list[Path]:
        self._paths.builds.mkdir(mode=0o700, parents=True, exist_ok=True)
        return list(self._paths.builds.iterdir())

    async def build(
        self,
        body: AsyncIterable[bytes],
        options: BuildOptions,
        output: Output,
    ) -> ImageRecord:
        """Build the context that a client sends, a tar.

        Raises AiodError; cancelled, the step under way is ended. Either way no container and
        no directory is left.
        """
        async with self._directory() as directory:
            failpoints.reach(BEGUN)
            context = await asyncio.to_thread(Context, directory / "context")
            with contextlib.closing(context):
                text = await self._receive(body, directory, context, options.dockerfile)
                failpoints.reach(UNPACKED)
                program = parse_dockerfile(text).until(options.target).labelled(options.labels)
                image = await self._run(program, options, output, directory, context)
            await self._name(image, options, output)
            return image

    @contextlib.asynccontextmanager
    async def _directory(self) -> AsyncIterator[Path]:
        made = self._paths.builds / secrets.token_hex(16)
        await asyncio.to_thread(made.mkdir, 0o700)
        try:
            yield made
        finally:
            await run_to_end(lambda stop: discard((made,)))

    async def _receive(
        self, body: AsyncIterable[bytes], directory: Path, context: Context, name: str
    ) -> str:
        file = await asyncio.to_thread(_nameless, directory / "body")
        try:
            await spool(body, file, self._limits)
            file.seek(0)
            await run_to_end(lambda stop: context.unpack(file, self._limits, stop))
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))
        return await run_to_end(lambda stop: context.dockerfile(name))

    async def _run(
        self,
        program: Program,
        options: BuildOptions,
        output: Output,
        directory: Path,
        context: Context,
    ) -> ImageRecord:
        workspace = Workspace(self._images, directory)
        containers = BuildContainers(
            self._containers, self._paths, workspace, directory.name, options.host
        )
        builder = Builder(
            self._images, workspace, containers, context, options, output, self._limits
        )
        return await builder.build(program)

    async def _name(self, image: ImageRecord, options: BuildOptions, output: Output) -> None:
        await output.tell(f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n")
        for text in options.tags:
            reference = parse(text)
            await self._images.tag(image.id, reference.familiar_name, reference.tag or "latest")
            failpoints.reach(TAGGED)
            await output.tell(f"Successfully tagged {reference.familiar}\n")


def _nameless(place: Path) -> IO[bytes]:
    """A scratch file that is gone when it is closed."""
    file = place.open("x+b", buffering=0)
    place.unlink()
    return file
