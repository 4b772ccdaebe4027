"""The containers of one build: made for a step, run, and taken away whatever happens.

Owns their label, by which a new daemon knows those that a dead one left. Must not know what
a Dockerfile says.
"""

import asyncio
import codecs
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import TypeVar

import msgspec

from aiod.build.output import Output
from aiod.build.workspace import Workspace
from aiod.config import Paths
from aiod.containers.files import mountpoints
from aiod.containers.options import AttachOptions
from aiod.containers.service import ContainerService
from aiod.errors import NotFoundError
from aiod.images.config import RunConfig
from aiod.images.deriving import Write
from aiod.images.model import ImageRecord
from aiod.store.models import ContainerConfig, HostConfig, LogSettings, NetworkingConfig

LABEL = "aiod.build"
T = TypeVar("T")
_OUTPUT = AttachOptions(stdin=False, stdout=True, stderr=True, logs=False, stream=True)


async def to_end(work: Awaitable[T]) -> T:
    """Await `work` to its end, even when cancelled; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        raise


class BuildContainers:
    """Makes the containers of the build called `build`."""

    def __init__(
        self,
        containers: ContainerService,
        paths: Paths,
        workspace: Workspace,
        build: str,
        host: HostConfig,
    ) -> None:
        self._containers = containers
        self._paths = paths
        self._workspace = workspace
        self._build = build
        self._host = msgspec.structs.replace(host, LogConfig=LogSettings("none"))

    @contextlib.asynccontextmanager
    async def made(
        self,
        image: ImageRecord,
        run: RunConfig,
        output: Output,
        binds: Sequence[str] = (),
        *,
        silent: bool = False,
    ) -> AsyncIterator[str]:
        """A container's id; at the end the container goes.

        `output` is told of its coming and, if the step went well and not `silent`, of its
        going.
        """
        made: list[str] = []

        async def create() -> None:
            config = _container_config(image.id, run, self._build)
            host = msgspec.structs.replace(self._host, Binds=list(binds) or None)
            created = await self._containers.create(None, config, host, NetworkingConfig())
            made.append(created.id)

        try:
            await to_end(create())
            await output.tell(f" ---> Running in {made[0][:12]}\n")
            yield made[0]
        except BaseException:
            await self._remove(made)
            raise
        await self._remove(made)
        if not silent:
            await output.tell(f"Removing intermediate container {made[0][:12]}\n")

    async def _remove(self, made: list[str]) -> None:
        for container in made:
            with contextlib.suppress(NotFoundError):
                await to_end(self._containers.remove(container, force=True, volumes=True))

    async def run(self, container: str, output: Output) -> int:
        """Start it and pass its output on; returns its exit code."""
        waiter = self._containers.open_wait(container, "next-exit")
        try:
            async with await self._containers.attach(container, _OUTPUT) as attached:
                await self._containers.start(container)
                decoders = {stream: _decoder() for stream in (1, 2, 3)}
                tell = {1: output.tell, 2: output.complain, 3: output.complain}
                async for frame in attached.frames():
                    await tell[frame.stream](decoders[frame.stream].decode(frame.data))
                for stream, decoder in decoders.items():
                    await tell[stream](decoder.decode(b"", final=True))
            return (await waiter.result()).exit_code
        finally:
            waiter.close()

    async def written(self, container: str, image: ImageRecord | None) -> Write | None:
        """What writes the layer of an ended container; None if it changed nothing."""
        record = self._containers.get(container)
        place = self._paths.container(container)
        written = place / ("upper" if record.snapshotter == "overlay" else "root")
        async with self._workspace.held(image) as layers:
            await asyncio.to_thread(mountpoints.leave_out, written, layers)
        return await asyncio.to_thread(self._containers.roots.commit, record)


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _container_config(image: str, run: RunConfig, build: str) -> ContainerConfig:
    """The image's own part comes from the image; only what differs for this step is said."""
    return ContainerConfig(
        Image=image, Cmd=run.cmd, Entrypoint=run.entrypoint, Env=run.env, User=run.user,
        WorkingDir=run.working_dir, Labels={**(run.labels or {}), LABEL: build},
        StopSignal=run.stop_signal or msgspec.UNSET,
    )  # fmt: skip


async def remove_left(containers: ContainerService, builds: Iterable[str]) -> None:
    """Take away what builds left that a dead daemon was at."""
    dead = set(builds)
    for record in containers.list():
        if (record.config.Labels or {}).get(LABEL) in dead:
            with contextlib.suppress(NotFoundError):
                await containers.remove(record.id, force=True, volumes=True)
