"""Makes containers: wholly or not at all.

Owns the order of the checks and the record's making; what is granted is `admission`'s. Must
not know HTTP, nor how a container is run.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aiod import failpoints
from aiod.config import Paths
from aiod.containers import admission, bundle, mountchoice, resources, sharing
from aiod.containers import networking as networks
from aiod.containers.entries import Directory
from aiod.containers.happenings import event
from aiod.containers.merge import command_of, merged
from aiod.containers.mountrequests import MountRequest
from aiod.containers.roots import Roots
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.model import ImageRecord
from aiod.images.service import ImageService
from aiod.networks import links
from aiod.networks.model import NONE
from aiod.networks.service import NetworkService
from aiod.store.containers import ContainerRepository
from aiod.store.models import (
    ContainerConfig,
    HostConfig,
    LogSettings,
    NetworkingConfig,
    RestartSettings,
)
from aiod.store.records import ContainerRecord
from aiod.volumes import happenings as volume_events
from aiod.volumes.model import Request
from aiod.volumes.service import VolumeService

DIRECTORY_MADE = failpoints.declare("create.directory-made")
CREATED = failpoints.declare("create.recorded")


@dataclass(frozen=True, slots=True)
class Created:
    """A new container's id, and what it was not given."""

    id: str
    warnings: tuple[str, ...]


class Creator:
    """Makes one daemon's containers."""

    def __init__(
        self,
        paths: Paths,
        repository: ContainerRepository,
        images: ImageService,
        networks: NetworkService,
        volumes: VolumeService,
        directory: Directory,
        roots: Roots,
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._images = images
        self._networks = networks
        self._directory = directory
        self._volumes = volumes
        self._roots = roots

    async def create(
        self,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str = "",
        read_only_below: bool = True,
    ) -> Created:
        """Make a container; wholly or not at all.

        Unless `read_only_below`, what is mounted below its read-only binds may be written to.
        """
        if name is not None:
            name = name.removeprefix("/")
            admission.check_name(name)
        if config == ContainerConfig():
            raise InvalidParameterError("config cannot be empty in order to create a container")
        if not config.Image:
            raise InvalidParameterError("no image specified")
        if platform not in ("", "linux", f"linux/{self._images.architecture}"):
            raise NotFoundError(
                f"image with reference {config.Image} was found but does not "
                f"provide the specified platform ({platform})"
            )
        admission.check(config, host, networking)
        mode = self._by_id(admission.network_mode(host))
        host = sharing.by_id(host, lambda name: self._directory.find(name).record)
        host, warnings = resources.possible(host)
        async with self._images.lease() as lease:  # until a record says which layers are needed
            image = await self._images.hold(config.Image, lease)
            return await self._create(
                image, name, config, host, networking, mode, warnings, read_only_below
            )

    def _with_targets(self, host: HostConfig, mode: str) -> HostConfig:
        """With the ids of what it links to on the default network; without one all must be there.

        Raises InvalidParameterError: "not found" would be said of the image by clients.
        """
        if not host.Links or mode not in (networks.DEFAULT, NONE):
            return host
        found = []
        for link in map(links.parse, host.Links):
            try:
                target = self._directory.find(link.target).record.id
            except NotFoundError as error:
                raise InvalidParameterError(
                    f"could not get container for {link.target}: {error.message}"
                ) from None
            found.append(f"{target}:{link.alias}")
        return msgspec.structs.replace(host, Links=found) if mode == networks.DEFAULT else host

    def _by_id(self, mode: str) -> str:
        """The mode, another container's name in it being its id, as far as there is such a one."""
        name = networks.other_container(mode)
        if not name:
            return mode
        with contextlib.suppress(NotFoundError, InvalidParameterError):
            return networks.joining(self._directory.find(name).record.id)
        return mode

    async def _create(
        self,
        image: ImageRecord,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        mode: str,
        warnings: tuple[str, ...],
        read_only_below: bool,
    ) -> Created:
        run = (await self._images.config(image)).run
        config = merged(config, run)
        path, args = command_of(config)
        host = self._with_targets(host, mode)
        chosen = mountchoice.choose(
            config,
            host,
            lambda name: self._directory.find(name).record,
            read_only_below=read_only_below,
        )
        if chosen:
            await asyncio.to_thread(mountchoice.check_sources, chosen)
        made = admission.new_id()
        of_host = sharing.HOST in (mode, host.UTSMode)
        fallback = os.uname().nodename if of_host else made[:12]
        config = msgspec.structs.replace(config, Hostname=config.Hostname or fallback)
        own = self._paths.container(made)
        record = ContainerRecord(
            id=made,
            name=name or f"c{made[:12]}",
            created_ns=time.time_ns(),
            image_id=image.id,
            image_name=config.Image,
            path=path,
            args=args,
            config=config,
            host=_with_defaults(host, mode),
            networking=networking,
            network_mode=mode,
            layers=tuple(layer.chain_id for layer in image.layers),
            hostname=config.Hostname,
            log_path=str(own / f"{made}-json.log"),
            snapshotter=self._roots.default,
            mounts=tuple(one.point for one in chosen),
        )
        await self._make(record, own, chosen)
        return Created(made, warnings)

    async def _make(
        self, record: ContainerRecord, own: Path, chosen: Sequence[MountRequest]
    ) -> None:
        ends = self._networks.endpoints_of(record)
        await asyncio.to_thread(own.mkdir, 0o710)
        failpoints.reach(DIRECTORY_MADE)
        try:
            volumes = await self._wanted_volumes(record, chosen)
            async with self._volumes.ready(volumes) as made:
                events = [*volume_events.created(made), event(record, "create")]
                await self._repository.insert(record, events, endpoints=ends, volumes=made)
                failpoints.reach(CREATED)
                await self._volumes.settle(made)
                self._networks.add(ends)
                self._directory.add(record)
        except BaseException:
            if record.id not in self._directory.by_id:
                await asyncio.to_thread(shutil.rmtree, own, True)
            raise

    async def _wanted_volumes(
        self, record: ContainerRecord, chosen: Sequence[MountRequest]
    ) -> list[Request]:
        if not chosen:
            return []
        views = self._roots.views(record)
        return await asyncio.to_thread(mountchoice.volumes, chosen, views)


def _with_defaults(host: HostConfig, mode: str) -> HostConfig:
    driver = LogSettings(host.LogConfig.Type or "json-file", host.LogConfig.Config or {})
    policy = RestartSettings(host.RestartPolicy.Name or "no", host.RestartPolicy.MaximumRetryCount)
    return msgspec.structs.replace(
        host,
        LogConfig=driver,
        RestartPolicy=policy,
        NetworkMode=mode if networks.other_container(mode) else host.NetworkMode or mode,
        ConsoleSize=host.ConsoleSize or [0, 0],
        Runtime=host.Runtime or "aiod",
        ShmSize=host.ShmSize or 64 << 20,
        IpcMode=host.IpcMode or "private",
        CgroupnsMode=bundle.cgroup_namespace(host),
        MaskedPaths=_paths(host, host.MaskedPaths, bundle.MASKED),
        ReadonlyPaths=_paths(host, host.ReadonlyPaths, bundle.READ_ONLY),
    )


def _paths(host: HostConfig, asked: list[str] | None, default: tuple[str, ...]) -> list[str] | None:
    if asked is None and not host.Privileged:
        return list(default)
    return asked
